"""Whether every pod keeps to the `restricted` Pod Security Standard, and to more than that."""

from collections.abc import Iterator

from scripts.manifests.objects import (
    NAMESPACE,
    Manifest,
    Manifests,
    containers_of,
    pod_of,
    title,
)

USER_ID = 65532
POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": USER_ID,
    "runAsGroup": USER_ID,
    "fsGroup": USER_ID,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
VOLUME_KINDS = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}


def problems(manifests: Manifests) -> list[str]:
    """Return what is less than restricted."""
    found = list(_of_namespace(manifests))
    for workload in manifests.workloads():
        found += [f"{title(workload)}: {problem}" for problem in _of_pod(pod_of(workload))]
        for container in containers_of(workload):
            about = f"{title(workload)}, {container['name']}"
            found += [f"{about}: {problem}" for problem in _of_container(container)]
    return found


def _of_namespace(manifests: Manifests) -> Iterator[str]:
    namespace = manifests.find("Namespace", NAMESPACE)
    labels = namespace["metadata"].get("labels", {}) if namespace else {}
    for mode in ("enforce", "audit", "warn"):
        if labels.get(f"pod-security.kubernetes.io/{mode}") != "restricted":
            yield f"the namespace does not {mode} restricted pod security"


def _of_pod(pod: Manifest) -> Iterator[str]:
    if pod.get("securityContext") != POD_SECURITY:
        yield f"its securityContext is not {POD_SECURITY}"
    if pod.get("automountServiceAccountToken") is not False:
        yield "it is given a token of the cluster unasked"
    if pod.get("enableServiceLinks") is not False:
        yield "its environment names the services of the namespace"
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if key in pod:
            yield f"it has {key}"
    for volume in pod.get("volumes", ()):
        kinds = volume.keys() - {"name"}
        if not kinds <= VOLUME_KINDS:
            yield f"the volume {volume['name']} is of the kind {', '.join(sorted(kinds))}"
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
            yield f"the volume {volume['name']} has no sizeLimit"


def _of_container(container: Manifest) -> Iterator[str]:
    if container.get("securityContext") != CONTAINER_SECURITY:
        yield f"its securityContext is not {CONTAINER_SECURITY}"
    resources = container.get("resources", {})
    for kind in ("requests", "limits"):
        for resource in ("cpu", "memory", "ephemeral-storage"):
            if resource not in resources.get(kind, {}):
                yield f"it states no {resource} in its {kind}"
    if any("hostPort" in port for port in container.get("ports", ())):
        yield "it has a port of the node"
    if any("valueFrom" in one for one in container.get("env", ())):
        yield "a secret may stand in its environment"
