"""Renews what is generated under k8s/, and checks what would be deployed.

`python scripts/kubernetes.py` renews the files; with `--check` it fails if one would change, if
an overlay cannot be rendered, or if what was rendered is not what Kubernetes and the services
take.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
# Run as a file, it finds what lies beside it but not the folder that both lie in.
sys.path.insert(0, str(ROOT))
from scripts.manifests import (  # noqa: E402
    access,
    edge,
    images,
    network,
    pod_security,
    references,
    schemas,
    settings,
)
from scripts.manifests.objects import NAMESPACE, Manifests  # noqa: E402
from services.chassis.contract import SERVICES  # noqa: E402

BASE = ROOT / "k8s" / "base"
OVERLAYS = ("dev", "production")
CHECKS: tuple[Callable[[Manifests], list[str]], ...] = (
    references.problems,
    settings.problems,
    access.problems,
    network.problems,
    pod_security.problems,
    edge.problems,
    images.problems,
)
# The services that call others of their own accord, each as its ServiceAccount.
CALLERS = ("loyalty",)
# Where Envoy listens in its pod, and where it finds what it needs.
EDGE_SETTINGS = {
    "VAFA_EDGE_LISTEN": "0.0.0.0:8080",
    "VAFA_EDGE_METRICS_LISTEN": "0.0.0.0:8180",
    "VAFA_EDGE_JWKS_FILE": "/etc/vafa/keys/jwks.json",
    # Read now, while the files that it names are read in the pod.
    "VAFA_EDGE_ISSUERS_FILE": str(BASE / "access" / "issuers.json"),
    **{
        f"VAFA_EDGE_{service.upper()}_ADDRESSES": (
            f"{service}:{settings.port_of(settings.settings_of(service).model_fields['listen'].default)}"
        )
        for service in SERVICES
    },
}


def render(overlay: str) -> Manifests:
    """Return what an overlay would deploy; raises CalledProcessError if it cannot be rendered."""
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or "kubectl"
    rendered = subprocess.run(
        [kubectl, "kustomize", str(ROOT / "k8s" / "overlays" / overlay)],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    return Manifests(list(yaml.load_all(rendered, Loader=yaml.CSafeLoader)))


def problems(manifests: Manifests) -> list[str]:
    """Return all that is wrong, a line each; of what Kubernetes refuses nothing more is asked."""
    refused = schemas.problems(manifests)
    return refused or [problem for check in CHECKS for problem in check(manifests)]


def generated() -> dict[str, str]:
    """Return the generated files by their paths under k8s/base."""
    return {"access/roles.json": _roles(), "edge/envoy.json": _envoy()}


def _roles() -> str:
    """Return the roles of the suite, and what the services may do as their ServiceAccounts."""
    roles = json.loads((ROOT / "services" / "roles.json").read_text())
    issuers = json.loads((BASE / "access" / "issuers.json").read_text())["issuers"]
    prefix = f"{issuers[0]['subject_prefix']}system:serviceaccount:{NAMESPACE}:"
    own = [{"subject": f"{prefix}{service}", "roles": ["service"]} for service in CALLERS]
    return json.dumps(roles | {"bindings": [*roles["bindings"], *own]}, indent=2) + "\n"


def _envoy() -> str:
    """Return the configuration of Envoy in the cluster."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("VAFA_EDGE_")}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "envoy.json"
        subprocess.run(
            [sys.executable, "-m", "services.gateway.edge", "--render", str(file)],
            check=True,
            cwd=ROOT,
            env=environment | EDGE_SETTINGS,
        )
        return file.read_text(encoding="utf-8")


def renew(base: Path, *, only_check: bool) -> list[str]:
    """Write the generated files that differ, unless it is only a check; return their paths."""
    stale: list[str] = []
    for name, text in generated().items():
        path = base / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not only_check:
            path.write_text(text, encoding="utf-8")
    return stale


def main(arguments: Sequence[str]) -> int:
    """Renew the files, or check everything; return the exit code."""
    only_check = list(arguments) == ["--check"]
    if arguments and not only_check:
        print("usage: python scripts/kubernetes.py [--check]", file=sys.stderr)
        return 2
    stale = renew(BASE, only_check=only_check)
    for name in stale:
        print(f"k8s/base/{name} {'differs: run `make k8s`' if only_check else 'renewed'}")
    if not only_check:
        return 0
    found = [f"{overlay}: {one}" for overlay in OVERLAYS for one in problems(render(overlay))]
    for problem in found:
        print(problem)
    return int(bool(stale or found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
