"""Rendered manifests, and finding one's way in them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from services.chassis.contract import SERVICES

Manifest = dict[str, Any]
Labels = Mapping[str, str]
NAME_LABEL = "app.kubernetes.io/name"
NAMESPACE = "vafa"
EDGE = "edge"


@dataclass(frozen=True)
class Manifests:
    """The manifests of an overlay."""

    all: list[Manifest]

    def of_kind(self, *kinds: str) -> list[Manifest]:
        """Return the manifests of these kinds."""
        return [one for one in self.all if one["kind"] in kinds]

    def find(self, kind: str, name: str) -> Manifest | None:
        """Return the manifest of a kind and a name."""
        found = [one for one in self.of_kind(kind) if one["metadata"]["name"] == name]
        return found[0] if found else None

    def workloads(self) -> list[Manifest]:
        """Return what makes pods."""
        return self.of_kind("Deployment", "Job")

    def service_pods(self) -> Iterator[tuple[str, Manifest, Manifest]]:
        """Return each service with its pod's spec and the container that it runs in."""
        for service in SERVICES:
            deployment = self.find("Deployment", service)
            if deployment is not None:
                pod = pod_of(deployment)
                yield service, pod, pod["containers"][0]


def title(manifest: Manifest) -> str:
    """Return how a manifest is called in a message."""
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def pod_of(workload: Manifest) -> Manifest:
    """Return the spec of the pods of a workload."""
    spec: Manifest = workload["spec"]["template"]["spec"]
    return spec


def pod_labels(workload: Manifest) -> Labels:
    """Return the labels of the pods of a workload."""
    labels: Labels = workload["spec"]["template"]["metadata"]["labels"]
    return labels


def containers_of(workload: Manifest) -> list[Manifest]:
    """Return all containers of a workload's pods, those that run first included."""
    pod = pod_of(workload)
    return [*pod.get("initContainers", ()), *pod["containers"]]


def environment_of(container: Manifest) -> dict[str, str]:
    """Return the environment that a container is given."""
    return {one["name"]: one.get("value", "") for one in container.get("env", ())}


def ports_of(container: Manifest) -> dict[str, int]:
    """Return the ports of a container by their names."""
    return {port["name"]: port["containerPort"] for port in container.get("ports", ())}


def selects(selector: Mapping[str, Any], labels: Labels) -> bool:
    """Whether a label selector selects these labels; an empty one selects all."""
    wanted: Labels = selector.get("matchLabels", {})
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_holds(one, labels) for one in selector.get("matchExpressions", ()))


def _holds(expression: Mapping[str, Any], labels: Labels) -> bool:
    if expression["operator"] != "In":
        raise ValueError(f"the operator {expression['operator']} is not read here")
    return labels.get(expression["key"]) in expression["values"]
