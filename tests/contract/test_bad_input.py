"""Whatever comes over the wire, the answer says what is wrong with it and nothing breaks."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vafa
from tests.contract.resources import (
    EXAMPLES,
    METHODS,
    SERVED,
    Wire,
    World,
    process_of,
    refused,
    require_declared,
)
from tests.harness.suite import RunningSuite

TEXT, MARK = FieldDescriptor.CPPTYPE_STRING, "mark-of-a-text"
WHOLE = {
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), -1, 2**63 - 1),
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), -1, 2**31 - 1),
}
UNARY = [path for path in EXAMPLES if not METHODS[path].descriptor.server_streaming]
EVERY_RPC = [
    pytest.param(process, method.path, id=f"{process}-{method.name}")
    for process, methods in SERVED.items()
    for method in methods
]
# Who may call is decided before any database is asked.
on_one_database = pytest.mark.parametrize("suite", ["sqlite"], indirect=True)
every_rpc = pytest.mark.parametrize(("process", "path"), EVERY_RPC)
# How deep a message within a message is still filled: a Struct holds itself.
NESTING = 6

# The way to a field from the request: names, of repeated fields their first element.
Way = tuple[FieldDescriptor, ...]


@pytest.fixture
def wire(suite: RunningSuite) -> Iterator[Wire]:
    """The suite by its bytes."""
    with Wire(suite) as connected:
        yield connected


def ways(descriptor: Descriptor, wanted: Callable[[FieldDescriptor], bool]) -> Iterator[Way]:
    """Yield the ways to the fields that are wanted, not through maps."""
    yield from _ways(descriptor, wanted, ())


def _ways(descriptor: Descriptor, wanted: Callable[[FieldDescriptor], bool], way: Way) -> Any:
    for field in descriptor.fields:
        if field.message_type is None:
            if wanted(field):
                yield (*way, field)
        elif not field.message_type.GetOptions().map_entry and len(way) < NESTING:
            yield from _ways(field.message_type, wanted, (*way, field))


def put(message: Any, way: Way, value: object) -> str:
    """Set the field at the end of the way and return its path as a caller writes it."""
    parts = []
    for field in way[:-1]:
        message, name = getattr(message, field.name), field.name
        if field.is_repeated:
            message = message[0] if message else message.add()
            name += "[0]"
        parts.append(name)
    last = way[-1]
    if last.is_repeated:
        del getattr(message, last.name)[:]
        getattr(message, last.name).append(value)
        return ".".join([*parts, f"{last.name}[0]"])
    setattr(message, last.name, value)
    return ".".join([*parts, last.name])


def is_text(field: FieldDescriptor) -> bool:
    return bool(field.cpp_type == TEXT)


def is_whole_number(field: FieldDescriptor) -> bool:
    return field.cpp_type in WHOLE


# Bytes that are no message


@every_rpc
@on_one_database
def test_bytes_that_are_no_message_are_refused(wire: Wire, process: str, path: str) -> None:
    with refused(vafa.InvalidArgument, "MALFORMED_MESSAGE"):
        wire.call(process, path, b"\xff\xff")


@on_one_database
@pytest.mark.parametrize("process", list(SERVED))
@pytest.mark.parametrize(
    "path", ["/vafa.contacts.v1.ContactService/EatContact", "/no.such.Service/Get", "/"]
)
def test_a_method_that_is_not_there_is_unimplemented(wire: Wire, process: str, path: str) -> None:
    with pytest.raises(vafa.Unimplemented) as caught:
        wire.call(process, path, b"")
    assert caught.value.reason == "METHOD_UNKNOWN"


@on_one_database
@pytest.mark.parametrize("path", UNARY)
def test_text_that_is_not_utf_8_is_refused(client: vafa.Suite, wire: Wire, path: str) -> None:
    example = EXAMPLES[path](World(client))
    for way in ways(METHODS[path].descriptor.input_type, is_text):
        request = type(example).FromString(example.SerializeToString())
        put(request, way, MARK)
        raw = request.SerializeToString().replace(MARK.encode(), b"\xc3\x28" * (len(MARK) // 2))
        with refused(vafa.InvalidArgument, "MALFORMED_MESSAGE"):
            wire.call(process_of(path), path, raw)


# Fields


@pytest.mark.parametrize("path", UNARY)
def test_a_nul_character_is_refused_wherever_it_stands(
    client: vafa.Suite, wire: Wire, path: str
) -> None:
    example = EXAMPLES[path](World(client))
    for way in ways(METHODS[path].descriptor.input_type, is_text):
        request = type(example).FromString(example.SerializeToString())
        field = put(request, way, "a\0b")
        with refused(vafa.InvalidArgument, "INVALID_FIELD") as refusal:
            wire.call(process_of(path), path, request.SerializeToString())
        assert field in refusal.fields


def answer_or_refusal(wire: Wire, path: str, raw: bytes) -> None:
    """Fail unless the call is answered, or refused as its method declares."""
    error = None
    try:
        wire.call(process_of(path), path, raw)
    except vafa.VafaError as caught:
        error = caught
    if error is not None:
        assert error.code not in (vafa.Unknown.code, vafa.Internal.code), str(error)
        assert "Traceback" not in error.message
        require_declared(error)


@pytest.mark.parametrize("path", UNARY)
def test_a_text_that_is_far_too_long_is_answered_or_refused_in_order(
    client: vafa.Suite, wire: Wire, path: str
) -> None:
    example = EXAMPLES[path](World(client))
    for way in ways(METHODS[path].descriptor.input_type, is_text):
        request = type(example).FromString(example.SerializeToString())
        put(request, way, "گ" * 100_000)
        answer_or_refusal(wire, path, request.SerializeToString())


@pytest.mark.parametrize("path", UNARY)
def test_the_edges_of_whole_numbers_are_answered_or_refused_in_order(
    client: vafa.Suite, wire: Wire, path: str
) -> None:
    world = World(client)
    for way in ways(METHODS[path].descriptor.input_type, is_whole_number):
        for edge in WHOLE[way[-1].cpp_type]:
            request = EXAMPLES[path](world)
            put(request, way, edge)
            answer_or_refusal(wire, path, request.SerializeToString())


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -0.0, 5e-324, 1.7e308])
def test_the_edges_of_other_numbers_are_answered_or_refused_in_order(
    client: vafa.Suite, wire: Wire, number: float
) -> None:
    path = "/vafa.contacts.v1.ContactService/CreateContact"
    request: Any = EXAMPLES[path](World(client))
    request.contact.custom_fields.fields["size"].number_value = number
    answer_or_refusal(wire, path, request.SerializeToString())


def test_custom_fields_beyond_their_bound_are_refused(client: vafa.Suite) -> None:
    path = "/vafa.contacts.v1.ContactService/CreateContact"
    request: Any = EXAMPLES[path](World(client))
    request.contact.custom_fields.update({"notes": "x" * 16_384})
    with refused(vafa.InvalidArgument, "INVALID_FIELD") as refusal:
        client.contacts.CreateContact(request)
    assert refusal.fields == ["contact.custom_fields"]


def test_only_what_an_update_leaves_out_of_a_resource_is_not_asked_for(
    client: vafa.Suite,
) -> None:
    path = "/vafa.contacts.v1.ContactService/UpsertContact"
    request: Any = EXAMPLES[path](World(client))
    request.external_id.ClearField("system")
    with refused(vafa.InvalidArgument, "INVALID_FIELD") as refusal:
        client.contacts.UpsertContact(request)
    assert refusal.fields == ["external_id.system"]


def test_a_batch_in_which_everything_is_wrong_is_refused_in_order(
    client: vafa.Suite, wire: Wire
) -> None:
    path = "/vafa.contacts.v1.ContactService/BatchCreateContacts"
    request: Any = EXAMPLES[path](World(client))
    for _ in range(999):
        spoilt = request.requests.add()
        spoilt.contact.display_name = "گ" * 201
        spoilt.contact.locale = "?"
    with refused(vafa.InvalidArgument, "INVALID_FIELD") as refusal:
        wire.call("contacts", path, request.SerializeToString())
    assert refusal.fields[0] == "requests[1].contact.display_name"


@pytest.mark.parametrize("process", list(SERVED))
@on_one_database
def test_a_message_that_is_too_large_is_refused(wire: Wire, process: str) -> None:
    path = SERVED[process][0].path
    with pytest.raises(vafa.ResourceExhausted):
        wire.call(process, path, bytes(5 * 1024 * 1024))


# Fuzz

FUZZED = [path for path in UNARY if METHODS[path].name != "WaitOperation"]


def mutate_field(request: Any, chance: random.Random) -> None:
    """Put something unlikely into one field."""
    found = list(ways(request.DESCRIPTOR, lambda field: is_text(field) or is_whole_number(field)))
    if not found:
        return
    way = chance.choice(found)
    values: list[object] = ["", "-", "contacts/-", "a" * 5000, "؟", "{", "'", '"', "%", "\\", "*"]
    if not is_text(way[-1]):
        values = [0, 1, *WHOLE[way[-1].cpp_type]]
    put(request, way, chance.choice(values))


def mutate_bytes(raw: bytes, chance: random.Random) -> bytes:
    """Change, drop, repeat or insert some bytes."""
    place = chance.randrange(len(raw) + 1)
    some = raw[place : place + chance.randrange(1, 8)]
    return chance.choice(
        [
            raw[:place] + chance.randbytes(1) + raw[place + 1 :],
            raw[:place] + raw[place + len(some) :],
            raw[:place] + some * 3 + raw[place:],
            raw[:place] + chance.randbytes(3) + raw[place:],
            raw[:place],
        ]
    )


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    path=st.sampled_from(FUZZED),
    chance=st.randoms(use_true_random=False),
    fields=st.integers(0, 3),
    splices=st.integers(0, 3),
)
def test_a_damaged_request_is_answered_or_refused_in_order(
    client: vafa.Suite, wire: Wire, path: str, chance: random.Random, fields: int, splices: int
) -> None:
    request = EXAMPLES[path](World(client))
    for _ in range(fields):
        mutate_field(request, chance)
    raw = request.SerializeToString()
    for _ in range(splices):
        raw = mutate_bytes(raw, chance)
    answer_or_refusal(wire, path, raw)
