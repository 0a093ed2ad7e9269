"""JSON and gRPC are two ways to the same answer and the same refusal, for every RPC that has a
mapping to HTTP.
"""

import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, cast

import grpc
import pytest
from google.protobuf.message import Message
from sqlalchemy import create_engine, insert

import vafa
from services.chassis.policy import Method, method_of
from services.gateway.edge.contract import calls
from services.loyalty.schema import metadata
from tests.contract.refusals import NEVER_REFUSED, REFUSED
from tests.contract.resources import EXAMPLES, World, process_of
from tests.harness.edge import Edge
from tests.harness.json_client import JsonClient
from tests.harness.suite import RunningSuite
from vafa.contacts.v1 import contacts_pb2
from vafa.errors import error_from_call
from vafa.events.v1 import events_pb2

MAPPED = {call.method.path: call for call in calls() if call.mappings}
REDRIVE = "/vafa.events.v1.EventService/RedriveEvents"
LIST_OPERATIONS = "/google.longrunning.Operations/ListOperations"
STREAM_EVENTS = "/vafa.events.v1.EventService/StreamEvents"
ATTEMPTS = 20
# What is told anew each time: of a repeat, the answer leaves the secret out.
VOLATILE: Mapping[str, set[str]] = {
    "CreateApiKeyResponse": {"secret", "secret_withheld"},
    "AccessToken": {"token", "expire_time"},
}
# Sealed with chance, so that no two are equal: what counts is whether there is one.
SEALED = "next_page_token"


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """A suite on SQLite behind its edge, which only the tests of this module call."""
    suite = RunningSuite(tmp_path_factory.mktemp("json"))
    suite.start()
    try:
        with Edge(suite) as started:
            yield started
    finally:
        suite.stop()


@pytest.fixture(scope="module")
def token(edge: Edge) -> str:
    """A token with all permissions."""
    return edge.suite.token()


@pytest.fixture(scope="module")
def as_json(edge: Edge, token: str) -> JsonClient:
    """A client that speaks JSON."""
    return JsonClient(edge.address, lambda: token)


@pytest.fixture(scope="module")
def as_grpc(edge: Edge, token: str) -> Iterator["GrpcClient"]:
    """A client that speaks gRPC."""
    with grpc.insecure_channel(edge.address) as channel:
        yield GrpcClient(channel, token)


@pytest.fixture
def world(edge: Edge) -> Iterator[World]:
    """What the requests of one test are about."""
    with edge.suite.client() as client:
        yield World(client)


class GrpcClient:
    """Calls any method, by its descriptor, as the JSON client does."""

    def __init__(self, channel: grpc.Channel, token: str) -> None:
        self._channel: Any = channel
        self._token = token

    def call(self, method: Method, request: Message, service: str = "") -> Message:
        """Return the answer of a method, of a stream the first; raises a VafaError."""
        metadata = [("authorization", f"Bearer {self._token}")]
        metadata += [("vafa-service", service)] if service else []
        kind = "unary_stream" if method.descriptor.server_streaming else "unary_unary"
        call = getattr(self._channel, kind)(
            method.path, method.request_class.SerializeToString, method.response_class.FromString
        )
        try:
            answer = call(request, metadata=metadata, timeout=10)
            if not method.descriptor.server_streaming:
                return answer  # type: ignore[no-any-return]
            first: Message = next(iter(answer))
            answer.cancel()
        except grpc.RpcError as error:
            raise error_from_call(error, method.path) from error
        return first


def park_an_event(suite: RunningSuite, subject: str) -> None:
    """Put away an event of a contact as if loyalty had failed to apply it."""
    event = events_pb2.Event(uid=str(uuid.uuid4()), position=1, type="contact.created")
    event.subject = subject
    event.create_time.FromDatetime(datetime.now(UTC))
    row = {
        "source": "feeds/contacts",
        "epoch": str(uuid.uuid4()),
        "position": event.position,
        "subject": subject,
        "payload": event.SerializeToString(),
        "attempts": 3,
        "last_error": "Broken",
        "park_time": datetime.now(UTC),
    }
    engine = create_engine(suite.database_urls["loyalty"])
    with engine.begin() as connection:
        connection.execute(insert(metadata.tables["parked_events"]), [row])
    engine.dispose()


@pytest.fixture(scope="module")
def furnished(edge: Edge) -> Iterator[World]:
    """A world in which there is something of everything, for those who only read."""
    with edge.suite.client() as client:
        world = World(client)
        made = [
            getattr(world, name)
            for name, value in vars(World).items()
            if isinstance(value, cached_property)
        ]
        assert all(made)
        park_an_event(edge.suite, f"contacts/parked-{world.tag}")
        yield world


def service_of(path: str) -> str:
    """Return the service whose method is meant, where every service has it."""
    return process_of(path) if MAPPED[path].shared else ""


def comparable(answer: Message) -> Message:
    """Return an answer without what is told anew each time."""
    copy: Any = type(answer)()
    copy.CopyFrom(answer)
    for name in VOLATILE.get(answer.DESCRIPTOR.name, ()):
        copy.ClearField(name)
    if SEALED in answer.DESCRIPTOR.fields_by_name and getattr(copy, SEALED):
        setattr(copy, SEALED, "sealed")
    return cast("Message", copy)


def told(error: vafa.VafaError) -> tuple[Any, ...]:
    """Return all that a refusal says."""
    violations = error.field_violations
    cause = (error.reason, error.domain, error.metadata, violations, error.retry_delay_seconds)
    return (error.code, error.message, *cause)


def good_request(path: str, world: World, suite: RunningSuite) -> Message:
    """Return a request that succeeds, under a request_id if it takes one."""
    request: Any
    if path == REDRIVE:
        subject = f"contacts/parked-{world.tag}"
        park_an_event(suite, subject)
        request = events_pb2.RedriveEventsRequest(
            parent="feeds/loyalty", source="feeds/contacts", subject=subject
        )
    else:
        request = EXAMPLES[path](world)
    if path == LIST_OPERATIONS:
        # gRPC may leave it out, a path may not.
        request.name = "operations"
    if MAPPED[path].method.has_request_id:
        request.request_id = str(uuid.uuid4())
    return cast("Message", request)


def test_every_rpc_with_a_mapping_has_a_good_and_a_refused_request() -> None:
    assert EXAMPLES.keys() | {REDRIVE} >= MAPPED.keys()
    assert REFUSED.keys() | NEVER_REFUSED == MAPPED.keys()


@pytest.mark.parametrize("path", [path for path, one in MAPPED.items() if one.method.writes])
def test_a_write_as_json_is_the_same_write_and_answered_so(
    path: str, world: World, edge: Edge, as_grpc: GrpcClient, as_json: JsonClient
) -> None:
    method, service = MAPPED[path].method, service_of(path)
    request = good_request(path, world, edge.suite)
    # The second one comes under the same request_id: it is refused unless it is the same
    # request, and otherwise answered as the first was.
    first = as_grpc.call(method, request, service)
    assert comparable(as_json.call(method, request, service)) == comparable(first)


@pytest.mark.parametrize("path", [path for path, one in MAPPED.items() if not one.method.writes])
def test_a_read_as_json_has_the_same_answer(
    path: str, furnished: World, edge: Edge, as_grpc: GrpcClient, as_json: JsonClient
) -> None:
    method, service = MAPPED[path].method, service_of(path)
    request = good_request(path, furnished, edge.suite)
    for _ in range(ATTEMPTS):
        before = comparable(as_grpc.call(method, request, service))
        answer = comparable(as_json.call(method, request, service))
        if before == comparable(as_grpc.call(method, request, service)):
            assert answer == before
            assert answer.ByteSize()
            return
    pytest.fail("what is read never stays the same for three calls")


@pytest.mark.parametrize("path", [path for path in MAPPED if path not in NEVER_REFUSED])
def test_a_refusal_as_json_says_the_same(
    path: str, world: World, as_grpc: GrpcClient, as_json: JsonClient
) -> None:
    method, service, request = MAPPED[path].method, service_of(path), REFUSED[path](world)
    with pytest.raises(vafa.VafaError) as by_grpc:
        as_grpc.call(method, request, service)
    with pytest.raises(vafa.VafaError) as by_json:
        as_json.call(method, request, service)
    assert told(by_json.value) == told(by_grpc.value)
    assert by_json.value.reason


@pytest.mark.parametrize("text", ["علی‌رضا مؤمنی", "a&b=c+d%20e/f?g#h", '"quoted" \\ back', "🎉"])
def test_text_of_any_script_arrives_as_it_was_in_a_body_and_in_a_query(
    text: str, world: World, as_json: JsonClient
) -> None:
    methods = contacts_pb2.DESCRIPTOR.services_by_name["ContactService"].methods_by_name
    contact = contacts_pb2.Contact(display_name=text, labels={"tag": world.tag})
    create = contacts_pb2.CreateContactRequest(contact=contact)
    created: Any = as_json.call(method_of(methods["CreateContact"]), create)
    assert created.display_name == text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    find = f'labels.tag = "{world.tag}" AND display_name = "{escaped}"'
    listed: Any = as_json.call(
        method_of(methods["ListContacts"]), contacts_pb2.ListContactsRequest(filter=find)
    )
    assert list(listed.contacts) == [created]
