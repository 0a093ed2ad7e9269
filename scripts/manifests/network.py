"""Whether the network lets through what the settings make the services call, and nothing else."""

from collections.abc import Iterator
from typing import Any

from scripts.manifests.objects import (
    EDGE,
    Labels,
    Manifest,
    Manifests,
    environment_of,
    pod_labels,
    pod_of,
    ports_of,
    selects,
)
from services.chassis.contract import SERVICES

Call = tuple[str, str, str]


def problems(manifests: Manifests) -> list[str]:
    """Return the addresses that lead nowhere, the calls that would be dropped, and those that
    would go through though nobody makes them.
    """
    found = list(_of_addresses(manifests))
    if not _denies_by_default(manifests):
        found.append("no policy denies what no other allows")
    needed, allowed = _needed(manifests), _allowed(manifests)
    found += [f"{a} cannot reach {b} at {port}" for a, b, port in sorted(needed - allowed)]
    found += [f"{a} may reach {b} at {port}" for a, b, port in sorted(allowed - needed)]
    return found


def addresses_of(service: str, container: Manifest) -> dict[str, str]:
    """Return the addresses of other services that a service is told, by their names."""
    prefix, suffix = f"VAFA_{service.upper()}_", "_ADDRESS"
    return {
        name.removeprefix(prefix).removesuffix(suffix).lower(): value
        for name, value in environment_of(container).items()
        if name.startswith(prefix) and name.endswith(suffix)
    }


def serves_at(manifests: Manifests, address: str) -> str | None:
    """Return the service whose gRPC port an address is; None if it is none."""
    name, _, port = address.partition(":")
    served = manifests.find("Service", name)
    ports = served["spec"]["ports"] if served else []
    matching = [one for one in ports if one["name"] == "grpc" and str(one["port"]) == port]
    return name if matching else None


def _of_addresses(manifests: Manifests) -> Iterator[str]:
    for service, _, container in manifests.service_pods():
        for other, address in addresses_of(service, container).items():
            if serves_at(manifests, address) != other:
                yield f"{service} looks for {other} at {address}, where it is not"


def _denies_by_default(manifests: Manifests) -> bool:
    nothing = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    return any(policy["spec"] == nothing for policy in manifests.of_kind("NetworkPolicy"))


def _needed(manifests: Manifests) -> set[Call]:
    calls = {(EDGE, service, "grpc") for service in SERVICES}
    for service, _, container in manifests.service_pods():
        calls |= {(service, other, "grpc") for other in addresses_of(service, container)}
    return calls


def _allowed(manifests: Manifests) -> set[Call]:
    """Return every call between pods that both ends allow."""
    workloads = {one["metadata"]["name"]: one for one in manifests.workloads()}
    return {
        (caller, called, port)
        for caller, source in workloads.items()
        for called, target in workloads.items()
        for port, number in ports_of(pod_of(target)["containers"][0]).items()
        if _let(manifests, "egress", source, target, port, number)
        and _let(manifests, "ingress", target, source, port, number)
    }


def _let(
    manifests: Manifests,
    direction: str,
    workload: Manifest,
    peer: Manifest,
    port: str,
    number: int,
) -> bool:
    """Whether a rule for a workload's pods allows a peer's."""
    rules = [
        rule
        for policy in manifests.of_kind("NetworkPolicy")
        if selects(policy["spec"]["podSelector"], pod_labels(workload))
        for rule in policy["spec"].get(direction, ())
    ]
    side = "to" if direction == "egress" else "from"
    return any(
        _is_of(rule.get(side), pod_labels(peer)) and _has_port(rule.get("ports"), port, number)
        for rule in rules
    )


def _is_of(peers: list[Any] | None, labels: Labels) -> bool:
    """Whether pods of this namespace with these labels are among the peers of a rule."""
    if peers is None:
        return True
    # What names a namespace means another one here.
    own = [one for one in peers if "namespaceSelector" not in one]
    return any(selects(one["podSelector"], labels) for one in own)


def _has_port(ports: list[Any] | None, name: str, number: int) -> bool:
    return ports is None or any(one["port"] in (name, number) for one in ports)
