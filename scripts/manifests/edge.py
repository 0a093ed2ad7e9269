"""Whether the edge finds the services, its keys and its own configuration."""

import json
from collections.abc import Iterator
from typing import Any

from scripts.manifests.network import serves_at
from scripts.manifests.objects import EDGE, Manifest, Manifests, pod_of, ports_of
from scripts.manifests.references import files_of
from services.chassis.contract import SERVICES

CONFIGURATION = "envoy.json"
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
Config = dict[str, Any]


def problems(manifests: Manifests) -> list[str]:
    """Return what Envoy would miss, and where it would be missed."""
    deployment = manifests.find("Deployment", EDGE)
    made = [
        one
        for one in manifests.of_kind("ConfigMap")
        if deployment and CONFIGURATION in one["data"] and _mounts(deployment, one)
    ]
    if deployment is None or len(made) != 1:
        return [f"{len(made)} configurations of Envoy are mounted"]
    pod = pod_of(deployment)
    container = pod["containers"][0]
    config: Config = json.loads(made[0]["data"][CONFIGURATION])
    listeners = {one["name"]: _port(one) for one in _resources(config, "listeners")}
    return [
        *_of_ports(manifests, container, listeners),
        *_of_probes(config, container),
        *_of_clusters(manifests, config),
        *_of_files(config, container, files_of(manifests, pod, container)),
        *_of_stop(pod, container),
    ]


def _mounts(deployment: Manifest, config_map: Manifest) -> bool:
    volumes = pod_of(deployment)["volumes"]
    name = config_map["metadata"]["name"]
    return any(volume.get("configMap", {}).get("name") == name for volume in volumes)


def _resources(config: Config, kind: str) -> list[Config]:
    found: list[Config] = config["static_resources"][kind]
    return found


def _port(listener: Config) -> int | None:
    """Return the port of a listener; None for one that is reached within Envoy alone."""
    socket: Config = listener.get("address", {}).get("socket_address", {})
    return socket.get("port_value")


def _of_ports(
    manifests: Manifests, container: Manifest, listeners: dict[str, int | None]
) -> Iterator[str]:
    ports = ports_of(container)
    for port, listener in (("http", "callers"), ("metrics", "metrics")):
        if ports.get(port) != listeners.get(listener):
            yield f"edge: its port {port} is {ports.get(port)}, not {listeners.get(listener)}"
    served = manifests.find("Service", EDGE)
    targets = [port["targetPort"] for port in served["spec"]["ports"]] if served else []
    if targets != ["http", "metrics"]:
        yield f"edge: its Service leads to {targets}"


def _of_probes(config: Config, container: Manifest) -> Iterator[str]:
    metrics = next(one for one in _resources(config, "listeners") if one["name"] == "metrics")
    for probe in PROBES:
        asked = container.get(probe, {}).get("httpGet", {})
        path = asked.get("path", "").partition("?")[0]
        if asked.get("port") != "metrics" or not path or path not in _texts(metrics):
            yield f"edge: its {probe} asks {path!r} at {asked.get('port')}"


def _of_clusters(manifests: Manifests, config: Config) -> Iterator[str]:
    clusters = {one["name"]: one for one in _resources(config, "clusters")}
    for service in SERVICES:
        assignment = clusters.get(service, {}).get("load_assignment", {"endpoints": []})
        addresses = [
            f"{socket['address']}:{socket['port_value']}"
            for locality in assignment["endpoints"]
            for one in locality["lb_endpoints"]
            for socket in [one["endpoint"]["address"]["socket_address"]]
        ]
        if [serves_at(manifests, address) for address in addresses] != [service]:
            yield f"edge: it looks for {service} at {', '.join(addresses)}"


def _of_files(config: Config, container: Manifest, files: set[str]) -> Iterator[str]:
    arguments = container["args"]
    started_with = arguments[arguments.index("--config-path") + 1]
    for path in [started_with, *_values_of(config, "filename")]:
        if path not in files:
            yield f"edge: {path} is not mounted"


def _of_stop(pod: Manifest, container: Manifest) -> Iterator[str]:
    """Envoy does not drain when it is told to stop, so it is told later."""
    sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    if not 10 <= sleep < pod["terminationGracePeriodSeconds"]:
        yield f"edge: it stops after {sleep} s, and is killed after its grace"


def _values_of(config: Any, key: str) -> Iterator[str]:
    """Return every value of a key, wherever it stands."""
    if isinstance(config, dict):
        for name, value in config.items():
            if name == key and isinstance(value, str):
                yield value
            yield from _values_of(value, key)
    elif isinstance(config, list):
        for value in config:
            yield from _values_of(value, key)


def _texts(config: Any) -> set[str]:
    """Return every text, wherever it stands."""
    if isinstance(config, dict):
        return {text for value in config.values() for text in _texts(value)}
    if isinstance(config, list):
        return {text for value in config for text in _texts(value)}
    return {config} if isinstance(config, str) else set()
