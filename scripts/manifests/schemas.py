"""Whether Kubernetes would take the manifests: by its own schemas, no unknown field let through."""

import functools
import json
from typing import Annotated, Literal

import kubernetes_validate  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scripts.manifests.objects import Manifest, Manifests, title

VERSIONS = tuple(f"1.{minor}" for minor in range(30, 38))
# What one ConfigMap can hold.
CONFIG_MAP_BYTES = 1024 * 1024


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Metadata(_Strict):
    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    namespace: str
    labels: dict[str, str] = {}


class _Selector(_Strict):
    matchLabels: Annotated[dict[str, str], Field(min_length=1)]  # noqa: N815


Duration = Annotated[str, Field(pattern=r"^[1-9][0-9]*(ms|s|m|h)$")]


class _Endpoint(_Strict):
    port: str
    path: Annotated[str, Field(pattern="^/")]
    interval: Duration
    scrapeTimeout: Duration  # noqa: N815


class _Spec(_Strict):
    jobLabel: str  # noqa: N815
    selector: _Selector
    endpoints: Annotated[list[_Endpoint], Field(min_length=1)]


class ServiceMonitor(_Strict):
    """What is used of a ServiceMonitor, and nothing more. The kind is not Kubernetes' own, so
    its schemas do not know it.
    """

    apiVersion: Literal["monitoring.coreos.com/v1"]  # noqa: N815
    kind: Literal["ServiceMonitor"]
    metadata: _Metadata
    spec: _Spec


def problems(manifests: Manifests) -> list[str]:
    """Return what one of the versions would refuse."""
    found: list[str] = []
    for manifest in manifests.all:
        if manifest["kind"] == "ServiceMonitor":
            found += _of_monitor(manifest)
        else:
            found += _of_kubernetes(title(manifest), json.dumps(manifest))
        if manifest["kind"] == "ConfigMap":
            found += _of_size(manifest)
    return found


def _of_monitor(manifest: Manifest) -> list[str]:
    try:
        ServiceMonitor.model_validate(manifest)
    except ValidationError as error:
        return [
            f"{title(manifest)}: {'.'.join(map(str, one['loc']))}: {one['msg']}"
            for one in error.errors()
        ]
    return []


@functools.cache
def _of_kubernetes(name: str, text: str) -> list[str]:
    """Overlays have most manifests in common, and each version reads its schemas anew."""
    manifest, found = json.loads(text), []
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            path = ".".join(map(str, error.path))
            found.append(f"{name}: {version}: {path}: {error.message}")
        except kubernetes_validate.SchemaNotFoundError as error:
            found.append(f"{name}: {error.message}")
    return found


def _of_size(config_map: Manifest) -> list[str]:
    size = sum(len(name) + len(text.encode()) for name, text in config_map["data"].items())
    if size < CONFIG_MAP_BYTES:
        return []
    return [f"{title(config_map)} has {size} bytes, of {CONFIG_MAP_BYTES} that it may have"]
