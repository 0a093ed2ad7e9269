"""What the contract tells the edge: calls, their paths as JSON, and the descriptors."""

from collections.abc import Iterator
from dataclasses import dataclass

from google.api import annotations_pb2
from google.longrunning import operations_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor
from google.rpc import error_details_pb2

from services.chassis.operations import operations_methods
from services.chassis.policy import Method, methods_of
from vafa.contacts.v1 import contacts_pb2, interactions_pb2
from vafa.events.v1 import events_pb2
from vafa.feedback.v1 import responses_pb2, surveys_pb2
from vafa.gateway.v1 import access_pb2, customers_pb2
from vafa.loyalty.v1 import ledger_pb2, members_pb2, orders_pb2, programs_pb2

SERVICES = ("contacts", "loyalty", "feedback", "gateway")
OWNED: dict[str, tuple[FileDescriptor, ...]] = {
    "contacts": (contacts_pb2.DESCRIPTOR, interactions_pb2.DESCRIPTOR),
    "loyalty": (
        programs_pb2.DESCRIPTOR,
        members_pb2.DESCRIPTOR,
        orders_pb2.DESCRIPTOR,
        ledger_pb2.DESCRIPTOR,
    ),
    "feedback": (surveys_pb2.DESCRIPTOR, responses_pb2.DESCRIPTOR),
    "gateway": (customers_pb2.DESCRIPTOR, access_pb2.DESCRIPTOR),
}
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
    return tuple(_calls())


def _calls() -> Iterator[EdgeCall]:
    for service, files in OWNED.items():
        for file in files:
            for descriptor in file.services_by_name.values():
                for method in methods_of(descriptor):
                    yield EdgeCall(method, (service,))
    for descriptor in events_pb2.DESCRIPTOR.services_by_name.values():
        for method in methods_of(descriptor):
            yield EdgeCall(method, SERVICES)
    for method in operations_methods():
        yield EdgeCall(method, SERVICES)


def grpc_services() -> tuple[str, ...]:
    """Return the full names of the gRPC services, sorted."""
    return tuple(sorted({call.method.service for call in calls()}))


def descriptor_set() -> bytes:
    """Return the descriptors by which JSON is turned into messages and back, those of the
    details of errors among them.
    """
    found: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    files = [file for files in OWNED.values() for file in files]
    for file in (*files, events_pb2.DESCRIPTOR, operations_pb2.DESCRIPTOR):
        _add(file, found)
    _add(error_details_pb2.DESCRIPTOR, found)
    return descriptor_pb2.FileDescriptorSet(file=found.values()).SerializeToString()


def _add(file: FileDescriptor, found: dict[str, descriptor_pb2.FileDescriptorProto]) -> None:
    for dependency in file.dependencies:
        _add(dependency, found)
    if file.name not in found:
        found[file.name] = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(found[file.name])
