"""The policy of each method, read from the descriptors of the contract."""

from dataclasses import dataclass
from functools import cached_property

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from vafa.api.v1 import policy_pb2


class PolicyMissing(Exception):
    """A method of the contract states no complete policy: it cannot be served."""


@dataclass(frozen=True)
class Method:
    """A method as it is served; a public one needs no token, and so has no permission."""

    descriptor: MethodDescriptor
    permission: str
    deadline_seconds: float
    writes: bool
    failures: frozenset[str]

    @property
    def service(self) -> str:
        """The full name of the service, such as `vafa.contacts.v1.ContactService`."""
        return str(self.descriptor.containing_service.full_name)

    @property
    def name(self) -> str:
        """The name of the method, such as `GetContact`."""
        return str(self.descriptor.name)

    @property
    def public(self) -> bool:
        """Whether anybody may call it, without a token."""
        return not self.permission

    @cached_property
    def path(self) -> str:
        """The path by which it is called, such as `/vafa.contacts.v1.ContactService/GetContact`."""
        return f"/{self.service}/{self.name}"

    @cached_property
    def is_batch(self) -> bool:
        """Whether it does many things in one call, as BatchCreateContacts does."""
        return self.name.startswith("Batch")

    @cached_property
    def request_class(self) -> type[Message]:
        """The class of its request."""
        return GetMessageClass(self.descriptor.input_type)

    @cached_property
    def response_class(self) -> type[Message]:
        """The class of its response."""
        return GetMessageClass(self.descriptor.output_type)

    @cached_property
    def has_request_id(self) -> bool:
        """Whether its request has a request_id."""
        return "request_id" in self.descriptor.input_type.fields_by_name


def method_of(descriptor: MethodDescriptor) -> Method:
    """Return the method with its stated policy; raises PolicyMissing without a whole one, and
    for a public method that writes.
    """
    policy = descriptor.GetOptions().Extensions[policy_pb2.policy]
    seconds = policy.deadline.seconds + policy.deadline.nanos / 1e9
    stated = policy.effect and policy.failures
    if not stated or seconds <= 0 or policy.public == bool(policy.permission):
        raise PolicyMissing(f"{descriptor.full_name} states no complete policy")
    writes = policy.effect == policy_pb2.EFFECT_WRITE
    if policy.public and writes:
        # Its answers would stand under request ids that all strangers share.
        raise PolicyMissing(f"{descriptor.full_name} lets everybody write")
    return Method(
        descriptor=descriptor,
        permission=policy.permission,
        deadline_seconds=seconds,
        writes=writes,
        failures=frozenset(policy.failures) - {"NONE"},
    )


def methods_of(service: ServiceDescriptor) -> tuple[Method, ...]:
    """Return the methods of a service in the order of the contract."""
    return tuple(method_of(descriptor) for descriptor in service.methods)
