"""Whether all that a manifest names is there, and selectors select what they are meant to."""

from collections.abc import Iterator

from scripts.manifests.objects import (
    EDGE,
    NAME_LABEL,
    NAMESPACE,
    Labels,
    Manifest,
    Manifests,
    containers_of,
    pod_labels,
    pod_of,
    ports_of,
    selects,
    title,
)
from services.chassis.contract import SERVICES

# What is made by hand once, as docs/deploy.md tells, with the keys that it has.
SECRETS = {
    "signing-key": {"signing.pem"},
    **{f"{service}-database": {"url"} for service in SERVICES},
    **{f"{service}-database-owner": {"url"} for service in SERVICES},
}
CONFIG_MAPS = {
    "token-keys": {"jwks.json"},
    # In every namespace, by Kubernetes itself.
    "kube-root-ca.crt": {"ca.crt"},
}


def problems(manifests: Manifests) -> list[str]:
    """Return what is named and not there, and what is there and not selected."""
    found = [
        f"{title(one)} is not in the namespace {NAMESPACE}"
        for one in manifests.all
        if one["kind"] != "Namespace" and one["metadata"].get("namespace") != NAMESPACE
    ]
    names = [title(one) for one in manifests.all]
    found += [f"{name} is there twice" for name in sorted({n for n in names if names.count(n) > 1})]
    for workload in manifests.workloads():
        found += [f"{title(workload)}: {one}" for one in _of_pod(manifests, workload)]
    for service in manifests.of_kind("Service"):
        found += [f"{title(service)}: {one}" for one in _of_service(manifests, service)]
    found += list(_of_selectors(manifests))
    found += list(_of_parts(manifests))
    return found


def files_of(manifests: Manifests, pod: Manifest, container: Manifest) -> set[str]:
    """Return the paths of all files that a container finds in its volumes, claims left out."""
    paths = set()
    for mount in container.get("volumeMounts", ()):
        volumes = [one for one in pod["volumes"] if one["name"] == mount["name"]]
        names = {name for volume in volumes for name in _files_in(manifests, volume)}
        paths |= {f"{mount['mountPath']}/{name}" for name in names}
    return paths


def _files_in(manifests: Manifests, volume: Manifest) -> set[str]:
    sources = volume.get("projected", {}).get("sources", [volume])
    files: set[str] = set()
    for source in sources:
        if "serviceAccountToken" in source:
            files.add(source["serviceAccountToken"]["path"])
        for kind, field in (("configMap", "name"), ("secret", "secretName")):
            if kind in source:
                items = source[kind].get("items")
                keys = _keys_of(manifests, kind, source[kind].get(field, "")) or set()
                files |= {item["path"] for item in items} if items else keys
    return files


def _keys_of(manifests: Manifests, kind: str, name: str) -> set[str] | None:
    """Return the keys of a ConfigMap or Secret; None if there is none of that name."""
    if kind == "secret":
        return SECRETS.get(name)
    made = manifests.find("ConfigMap", name)
    return set(made["data"]) if made else CONFIG_MAPS.get(name)


def _of_pod(manifests: Manifests, workload: Manifest) -> Iterator[str]:
    pod = pod_of(workload)
    account = pod.get("serviceAccountName", "")
    if manifests.find("ServiceAccount", account) is None:
        yield f"there is no ServiceAccount {account!r}"
    for volume in pod.get("volumes", ()):
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim and manifests.find("PersistentVolumeClaim", claim) is None:
            yield f"there is no PersistentVolumeClaim {claim}"
        for source in volume.get("projected", {}).get("sources", [volume]):
            yield from _of_source(manifests, source)
    volumes = {volume["name"] for volume in pod.get("volumes", ())}
    mounted: set[str] = set()
    for container in containers_of(workload):
        for mount in container.get("volumeMounts", ()):
            mounted.add(mount["name"])
            if mount["name"] not in volumes:
                yield f"there is no volume {mount['name']}"
    for name in sorted(volumes - mounted):
        yield f"the volume {name} is mounted nowhere"


def _of_source(manifests: Manifests, source: Manifest) -> Iterator[str]:
    for kind, field in (("configMap", "name"), ("secret", "secretName")):
        if kind not in source:
            continue
        name = source[kind].get(field, "")
        keys = _keys_of(manifests, kind, name)
        if keys is None:
            yield f"there is no {kind} {name!r}"
            continue
        wanted = {item["key"] for item in source[kind].get("items", ())}
        for key in sorted(wanted - keys):
            yield f"the {kind} {name} has no key {key}"


def _of_service(manifests: Manifests, service: Manifest) -> Iterator[str]:
    selected = _selected(manifests, service["spec"]["selector"])
    if len(selected) != 1:
        yield f"it selects {len(selected)} workloads"
        return
    ports = ports_of(pod_of(selected[0])["containers"][0])
    for port in service["spec"]["ports"]:
        if port["targetPort"] not in ports:
            yield f"{title(selected[0])} has no port {port['targetPort']}"


def _selected(manifests: Manifests, labels: Labels) -> list[Manifest]:
    selector = {"matchLabels": labels}
    return [one for one in manifests.workloads() if selects(selector, pod_labels(one))]


def _of_selectors(manifests: Manifests) -> Iterator[str]:
    for deployment in manifests.of_kind("Deployment"):
        labels = deployment["spec"]["selector"]["matchLabels"]
        if [title(one) for one in _selected(manifests, labels)] != [title(deployment)]:
            yield f"{title(deployment)} does not select its own pods alone"
    for budget in manifests.of_kind("PodDisruptionBudget"):
        labels = budget["spec"]["selector"]["matchLabels"]
        if len(_selected(manifests, labels)) != 1:
            yield f"{title(budget)} does not select one Deployment"


def _of_parts(manifests: Manifests) -> Iterator[str]:
    """Every service has all the parts that the overlay gives to any."""
    for name in (*SERVICES, EDGE):
        for kind in ("Deployment", "Service", "ServiceAccount"):
            if manifests.find(kind, name) is None:
                yield f"there is no {kind} {name}"
    budgets = manifests.of_kind("PodDisruptionBudget")
    replicated = [d for d in manifests.of_kind("Deployment") if d["spec"]["replicas"] > 1]
    for deployment in replicated:
        protecting = [b for b in budgets if _selects_pods(b, deployment)]
        if len(protecting) != 1:
            yield f"{title(deployment)} has {len(protecting)} PodDisruptionBudgets"
    monitors = manifests.of_kind("ServiceMonitor")
    for service in manifests.of_kind("Service") if monitors else ():
        watching = [m for m in monitors if _watches(m, service)]
        if len(watching) != 1:
            yield f"{title(service)} is watched by {len(watching)} ServiceMonitors"
    for monitor in monitors:
        if monitor["spec"].get("jobLabel") != NAME_LABEL:
            yield f"{title(monitor)} does not name its jobs by {NAME_LABEL}"


def _selects_pods(budget: Manifest, deployment: Manifest) -> bool:
    return selects(budget["spec"]["selector"], pod_labels(deployment))


def _watches(monitor: Manifest, service: Manifest) -> bool:
    ports = {port["name"] for port in service["spec"]["ports"]}
    wanted = {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]}
    labels = service["metadata"].get("labels", {})
    return selects(monitor["spec"]["selector"], labels) and wanted <= ports
