"""What the contract tells the edge: calls, and their paths as JSON."""

from dataclasses import dataclass

from google.api import annotations_pb2

from services.chassis.contract import SERVICES, common_methods, own_methods
from services.chassis.policy import Method

VERBS = ("get", "put", "post", "delete", "patch")


@dataclass(frozen=True)
class Mapping:
    """A call as JSON: its HTTP method, and its path as a pattern of google.api.http."""

    verb: str
    template: str


@dataclass(frozen=True)
class EdgeCall:
    """A method as the edge serves it; one that every service serves has several."""

    method: Method
    services: tuple[str, ...]

    @property
    def shared(self) -> bool:
        """Whether every service serves it under one name."""
        return len(self.services) > 1

    @property
    def mappings(self) -> tuple[Mapping, ...]:
        """Return how it is called as JSON; none if it cannot be."""
        rule = self.method.descriptor.GetOptions().Extensions[annotations_pb2.http]
        rules = [rule, *rule.additional_bindings]
        stated = ((one.WhichOneof("pattern"), one) for one in rules)
        return tuple(
            Mapping(verb.upper(), getattr(one, verb)) for verb, one in stated if verb in VERBS
        )


def calls() -> tuple[EdgeCall, ...]:
    """Return every method of the contract, once."""
    own = (EdgeCall(m, (service,)) for service, of_it in own_methods().items() for m in of_it)
    return (*own, *(EdgeCall(method, SERVICES) for method in common_methods()))


def grpc_services() -> tuple[str, ...]:
    """Return the full names of the gRPC services, sorted."""
    return tuple(sorted({call.method.service for call in calls()}))
