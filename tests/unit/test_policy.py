"""The policy that the contract states for its methods."""

from typing import Literal

import pytest
from google.longrunning import operations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.duration_pb2 import Duration

from services.chassis.policy import PolicyMissing, method_of, methods_of
from vafa.api.v1 import policy_pb2
from vafa.contacts.v1 import contacts_pb2
from vafa.events.v1 import events_pb2

CONTACTS = contacts_pb2.DESCRIPTOR.services_by_name["ContactService"]


def a_method(policy: policy_pb2.MethodPolicy) -> MethodDescriptor:
    """Return a method of a contract of its own that states the policy."""
    file = descriptor_pb2.FileDescriptorProto(name="test.proto", package="test", syntax="proto3")
    file.message_type.add(name="Nothing")
    method = file.service.add(name="Service").method.add(name="Do")
    method.input_type = method.output_type = ".test.Nothing"
    method.options.Extensions[policy_pb2.policy].CopyFrom(policy)
    pool = descriptor_pool.DescriptorPool()
    for known in (descriptor_pb2.DESCRIPTOR, Duration.DESCRIPTOR.file, policy_pb2.DESCRIPTOR):
        pool.AddSerializedFile(known.serialized_pb)
    file.dependency.append(policy_pb2.DESCRIPTOR.name)
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindMethodByName("test.Service.Do")


def a_policy() -> policy_pb2.MethodPolicy:
    """Return a whole policy."""
    return policy_pb2.MethodPolicy(
        permission="nothing.do",
        deadline=Duration(seconds=1, nanos=500_000_000),
        effect=policy_pb2.EFFECT_READ,
        failures=["NONE"],
    )


def test_a_method_is_served_as_its_policy_states() -> None:
    method = method_of(a_method(a_policy()))
    assert method.permission == "nothing.do"
    assert method.deadline_seconds == 1.5
    assert not method.writes
    assert method.failures == frozenset()
    assert method.path == "/test.Service/Do"
    assert not method.has_request_id


@pytest.mark.parametrize("left_out", ["permission", "deadline", "effect", "failures"])
def test_a_method_whose_policy_is_not_whole_is_not_served(
    left_out: Literal["permission", "deadline", "effect", "failures"],
) -> None:
    policy = a_policy()
    policy.ClearField(left_out)
    with pytest.raises(PolicyMissing, match=r"test\.Service\.Do"):
        method_of(a_method(policy))


def test_a_public_method_needs_no_permission() -> None:
    policy = a_policy()
    policy.public = True
    with pytest.raises(PolicyMissing, match="no complete policy"):
        method_of(a_method(policy))
    policy.ClearField("permission")
    method = method_of(a_method(policy))
    assert method.public
    assert method.permission == ""
    assert not method_of(a_method(a_policy())).public


def test_a_public_method_writes_nothing() -> None:
    policy = a_policy()
    policy.public, policy.permission = True, ""
    policy.effect = policy_pb2.EFFECT_WRITE
    with pytest.raises(PolicyMissing, match="lets everybody write"):
        method_of(a_method(policy))


def test_a_deadline_of_nothing_is_no_deadline() -> None:
    policy = a_policy()
    policy.deadline.Clear()
    with pytest.raises(PolicyMissing):
        method_of(a_method(policy))


def test_a_method_of_somebody_elses_contract_states_none() -> None:
    with pytest.raises(PolicyMissing):
        methods_of(operations_pb2.DESCRIPTOR.services_by_name["Operations"])


def test_the_methods_of_a_service_are_in_the_order_of_the_contract() -> None:
    methods = methods_of(CONTACTS)
    assert [method.name for method in methods] == [method.name for method in CONTACTS.methods]


def test_a_write_says_so_and_takes_a_request_id() -> None:
    create = method_of(CONTACTS.methods_by_name["CreateContact"])
    assert create.writes
    assert create.has_request_id
    assert create.permission == "contacts.write"
    assert "EXTERNAL_ID_TAKEN" in create.failures
    assert create.request_class is contacts_pb2.CreateContactRequest
    assert create.response_class is contacts_pb2.Contact


def test_a_stream_is_a_method_like_another() -> None:
    events = events_pb2.DESCRIPTOR.services_by_name["EventService"]
    assert method_of(events.methods_by_name["StreamEvents"]).permission == "events.read"
