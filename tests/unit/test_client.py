"""What an application may rely on when it calls the suite through the client.

Each test of a call serves a few methods for real and calls them through both clients.
"""

import asyncio
import functools
import importlib
import inspect
import json
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2
from google.protobuf import any_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

import vafa
from vafa.api.v1 import policy_pb2
from vafa.contacts.v1 import contacts_pb2
from vafa.errors import error_from_status
from vafa.events.v1 import events_pb2
from vafa.loyalty.v1 import ledger_pb2
from vafa.policy import CHANNEL_OPTIONS

GET_CONTACT = "/vafa.contacts.v1.ContactService/GetContact"
CREATE_CONTACT = "/vafa.contacts.v1.ContactService/CreateContact"
BATCH_CREATE_CONTACTS = "/vafa.contacts.v1.ContactService/BatchCreateContacts"
LIST_EVENTS = "/vafa.events.v1.EventService/ListEvents"
STREAM_EVENTS = "/vafa.events.v1.EventService/StreamEvents"
GET_OPERATION = "/google.longrunning.Operations/GetOperation"
CANCEL_OPERATION = "/google.longrunning.Operations/CancelOperation"

ADA = contacts_pb2.Contact(name="contacts/ada", display_name="Ada")

Context = grpc.aio.ServicerContext[Any, Any]
Handlers = dict[str, Callable[[Any, Context], Any]]

both_clients = pytest.mark.parametrize(
    "client", [pytest.param(vafa, id="blocking"), pytest.param(vafa.aio, id="aio")]
)


def in_event_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*arguments: Any, **options: Any) -> None:
        asyncio.run(test(*arguments, **options))

    return run


@asynccontextmanager
async def serving(
    handlers: Handlers, credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[str]:
    """Serve these methods, given by their paths, and yield the address."""
    services: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = defaultdict(dict)
    for path, handler in handlers.items():
        service, name = path[1:].split("/")
        method = descriptor_pool.Default().FindMethodByName(f"{service}.{name}")
        make = (
            grpc.unary_stream_rpc_method_handler
            if method.server_streaming
            else grpc.unary_unary_rpc_method_handler
        )
        services[service][name] = make(
            handler,
            message_factory.GetMessageClass(method.input_type).FromString,
            message_factory.GetMessageClass(method.output_type).SerializeToString,
        )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(name, rpcs) for name, rpcs in services.items()]
    )
    port = (
        server.add_secure_port("127.0.0.1:0", credentials)
        if credentials
        else server.add_insecure_port("127.0.0.1:0")
    )
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def connected(
    client: ModuleType, handlers: Handlers, **options: Any
) -> AsyncIterator[vafa.Suite | vafa.aio.Suite]:
    """Serve these methods and yield the suite as the client shows it."""
    async with serving(handlers) as address:
        suite = client.connect(address, **options)
        try:
            yield suite
        finally:
            await done(suite.close)


async def done(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Return what a function of either client gives; a blocking one runs in a thread."""
    if inspect.iscoroutinefunction(function) or isinstance(
        function, grpc.aio.UnaryUnaryMultiCallable
    ):
        return await function(*arguments, **options)
    return await asyncio.to_thread(function, *arguments, **options)


class Recorder:
    """A handler that notes each request, with its metadata and the time that is left."""

    def __init__(self, answer: Any, *, unavailable_times: int = 0) -> None:
        self.requests: list[Any] = []
        self.authorizations: list[Any] = []
        self.seconds_left: list[float | None] = []
        self._answer = answer
        self._unavailable_times = unavailable_times

    async def serve(self, request: Any, context: Context) -> Any:
        self.requests.append(request)
        metadata = context.invocation_metadata() or ()
        self.authorizations.append([value for key, value in metadata if key == "authorization"])
        self.seconds_left.append(context.time_remaining())
        if len(self.requests) <= self._unavailable_times:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "busy")
        return self._answer


def refusing(status: status_pb2.Status) -> Callable[[Any, Context], Awaitable[None]]:
    async def refuse(request: Any, context: Context) -> None:
        await context.abort_with_status(rpc_status.to_status(status))

    return refuse


def status_with(
    code: grpc.StatusCode, message: str, *details: error_details_pb2.ErrorInfo
) -> status_pb2.Status:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    return status


# Repeats


@both_clients
@in_event_loop
async def test_a_write_is_repeated_under_one_request_id(client: ModuleType) -> None:
    create = Recorder(ADA, unavailable_times=2)
    request = contacts_pb2.CreateContactRequest(contact=contacts_pb2.Contact(display_name="Ada"))
    async with connected(client, {CREATE_CONTACT: create.serve}) as suite:
        assert await done(suite.contacts.CreateContact, request) == ADA
    assert len(create.requests) == 3
    (request_id,) = {sent.request_id for sent in create.requests}
    assert uuid.UUID(request_id).version == 4
    assert request.request_id == ""


@both_clients
@in_event_loop
async def test_every_write_has_a_request_id_of_its_own(client: ModuleType) -> None:
    create = Recorder(ADA)
    request = contacts_pb2.CreateContactRequest()
    async with connected(client, {CREATE_CONTACT: create.serve}) as suite:
        await done(suite.contacts.CreateContact, request)
        await done(suite.contacts.CreateContact, request)
    first, second = create.requests
    assert first.request_id != second.request_id


@both_clients
@in_event_loop
async def test_a_request_id_of_the_caller_stays(client: ModuleType) -> None:
    create = Recorder(ADA)
    given = str(uuid.uuid4())
    async with connected(client, {CREATE_CONTACT: create.serve}) as suite:
        await done(
            suite.contacts.CreateContact, contacts_pb2.CreateContactRequest(request_id=given)
        )
    assert [sent.request_id for sent in create.requests] == [given]


@both_clients
@in_event_loop
async def test_a_batch_has_one_request_id_and_its_parts_none(client: ModuleType) -> None:
    create = Recorder(contacts_pb2.BatchCreateContactsResponse())
    request = contacts_pb2.BatchCreateContactsRequest(
        requests=[contacts_pb2.CreateContactRequest(contact=ADA)]
    )
    async with connected(client, {BATCH_CREATE_CONTACTS: create.serve}) as suite:
        await done(suite.contacts.BatchCreateContacts, request)
    (sent,) = create.requests
    assert sent.request_id
    assert [part.request_id for part in sent.requests] == [""]


@both_clients
@in_event_loop
async def test_a_request_of_a_mebibyte_is_repeated_too(client: ModuleType) -> None:
    create = Recorder(ADA, unavailable_times=1)
    large = contacts_pb2.Contact(display_name="a" * 1024 * 1024)
    async with connected(client, {CREATE_CONTACT: create.serve}) as suite:
        await done(suite.contacts.CreateContact, contacts_pb2.CreateContactRequest(contact=large))
    assert len(create.requests) == 2


@both_clients
@in_event_loop
async def test_a_call_is_tried_four_times_and_then_fails(client: ModuleType) -> None:
    get = Recorder(ADA, unavailable_times=9)
    async with connected(client, {GET_CONTACT: get.serve}) as suite:
        with pytest.raises(vafa.Unavailable, match="busy"):
            await done(suite.contacts.GetContact, contacts_pb2.GetContactRequest())
    assert len(get.requests) == 4


@both_clients
@in_event_loop
async def test_a_write_that_takes_no_request_id_is_sent_once(client: ModuleType) -> None:
    cancel = Recorder(None, unavailable_times=9)
    async with connected(client, {CANCEL_OPERATION: cancel.serve}) as suite:
        with pytest.raises(vafa.Unavailable):
            await done(
                suite.operations("loyalty").CancelOperation,
                operations_pb2.CancelOperationRequest(name="operations/1"),
            )
    assert len(cancel.requests) == 1


# Deadlines


@both_clients
@in_event_loop
async def test_a_call_without_timeout_has_the_deadline_of_its_policy(client: ModuleType) -> None:
    get, create = Recorder(ADA), Recorder(contacts_pb2.BatchCreateContactsResponse())
    async with connected(
        client, {GET_CONTACT: get.serve, BATCH_CREATE_CONTACTS: create.serve}
    ) as suite:
        await done(suite.contacts.GetContact, contacts_pb2.GetContactRequest())
        await done(suite.contacts.BatchCreateContacts, contacts_pb2.BatchCreateContactsRequest())
    assert get.seconds_left == [pytest.approx(5, abs=1)]
    assert create.seconds_left == [pytest.approx(20, abs=1)]


@both_clients
@in_event_loop
async def test_an_answer_after_the_timeout_of_the_caller_is_deadline_exceeded(
    client: ModuleType,
) -> None:
    async def answer_late(request: Any, context: Context) -> contacts_pb2.Contact:
        await asyncio.sleep(30)
        return ADA

    async with connected(client, {GET_CONTACT: answer_late}) as suite:
        with pytest.raises(vafa.DeadlineExceeded) as caught:
            await done(suite.contacts.GetContact, contacts_pb2.GetContactRequest(), timeout=0.1)
    assert caught.value.method == GET_CONTACT
    assert caught.value.reason == ""


# Errors


@both_clients
@in_event_loop
async def test_a_refusal_tells_reason_fields_and_when_to_come_again(client: ModuleType) -> None:
    status = status_with(
        grpc.StatusCode.INVALID_ARGUMENT,
        "نام is too long",
        error_details_pb2.ErrorInfo(
            reason="INVALID_FIELD", domain="vafa.api.v1", metadata={"limit": "100"}
        ),
        error_details_pb2.BadRequest(
            field_violations=[{"field": "contact.display_name", "description": "too long"}]
        ),
        error_details_pb2.RetryInfo(retry_delay={"seconds": 1, "nanos": 500_000_000}),
    )
    async with connected(client, {GET_CONTACT: refusing(status)}) as suite:
        with pytest.raises(vafa.InvalidArgument) as caught:
            await done(suite.contacts.GetContact, contacts_pb2.GetContactRequest())
    error = caught.value
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.message == "نام is too long"
    assert error.method == GET_CONTACT
    assert (error.reason, error.domain) == ("INVALID_FIELD", "vafa.api.v1")
    assert error.metadata == {"limit": "100"}
    assert error.field_violations == (("contact.display_name", "too long"),)
    assert error.retry_delay_seconds == 1.5
    assert isinstance(error.__cause__, grpc.RpcError)
    assert str(error) == (
        f"INVALID_ARGUMENT (INVALID_FIELD) {GET_CONTACT}: نام is too long"
        "; contact.display_name: too long"
    )


@both_clients
@in_event_loop
async def test_details_that_contradict_the_status_are_left_out(client: ModuleType) -> None:
    other = status_with(
        grpc.StatusCode.NOT_FOUND, "gone", error_details_pb2.ErrorInfo(reason="RESOURCE_NOT_FOUND")
    )

    async def refuse(request: Any, context: Context) -> None:
        details = (("grpc-status-details-bin", other.SerializeToString()),)
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "stopped at the edge", details)

    async with connected(client, {GET_CONTACT: refuse}) as suite:
        with pytest.raises(vafa.PermissionDenied, match="stopped at the edge") as caught:
            await done(suite.contacts.GetContact, contacts_pb2.GetContactRequest())
    assert caught.value.reason == ""


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.value[0]])
def test_every_canonical_code_has_its_class(code: grpc.StatusCode) -> None:
    error = error_from_status(status_with(code, "no"), GET_CONTACT)
    assert error.code is code
    assert type(error).__name__.upper() == code.name.replace("_", "")
    assert getattr(vafa, type(error).__name__) is type(error)


def test_a_code_of_no_error_is_unknown() -> None:
    assert type(error_from_status(status_pb2.Status(code=99), GET_CONTACT)) is vafa.Unknown


@in_event_loop
async def test_a_blocking_call_may_be_awaited_as_a_future() -> None:
    async def get(request: contacts_pb2.GetContactRequest, context: Context) -> Any:
        if request.name != ADA.name:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such contact")
        return ADA

    def scenario(suite: vafa.Suite) -> None:
        found = suite.contacts.GetContact.future(contacts_pb2.GetContactRequest(name=ADA.name))
        assert found.result(5) == ADA
        assert found.exception() is None
        missing = suite.contacts.GetContact.future(contacts_pb2.GetContactRequest())
        told: list[Exception | None] = []
        missing.add_done_callback(lambda future: told.append(future.exception()))
        with pytest.raises(vafa.NotFound):
            missing.result(5)
        assert isinstance(missing.exception(), vafa.NotFound)
        assert missing.done()

    async with serving({GET_CONTACT: get}) as address:
        with vafa.connect(address) as suite:
            await asyncio.to_thread(scenario, suite)


@in_event_loop
async def test_a_blocking_call_may_be_had_with_its_metadata() -> None:
    async def get(request: contacts_pb2.GetContactRequest, context: Context) -> Any:
        context.set_trailing_metadata((("served-by", "replica-1"),))
        if request.name != ADA.name:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such contact")
        return ADA

    def scenario(suite: vafa.Suite) -> None:
        contact, call = suite.contacts.GetContact.with_call(
            contacts_pb2.GetContactRequest(name=ADA.name)
        )
        assert contact == ADA
        assert call.code() is grpc.StatusCode.OK
        assert ("served-by", "replica-1") in [tuple(pair) for pair in call.trailing_metadata()]
        with pytest.raises(vafa.NotFound):
            suite.contacts.GetContact.with_call(contacts_pb2.GetContactRequest())

    async with serving({GET_CONTACT: get}) as address:
        with vafa.connect(address) as suite:
            await asyncio.to_thread(scenario, suite)


@in_event_loop
async def test_an_aio_call_that_is_cancelled_ends_at_the_service() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def get(request: Any, context: Context) -> contacts_pb2.Contact:
        begun.set()
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()
        return ADA

    async with serving({GET_CONTACT: get}) as address, vafa.aio.connect(address) as suite:
        call = suite.contacts.GetContact(contacts_pb2.GetContactRequest())
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(ended.wait(), 5)


# Streams


class Feed:
    """A feed that sends its events, and then fails or waits for the reader to leave."""

    def __init__(self, positions: range, failure: status_pb2.Status | None = None) -> None:
        self.left = asyncio.Event()
        self.seconds_left: float | None = 0.0
        self._positions = positions
        self._failure = failure

    async def serve(
        self, request: events_pb2.StreamEventsRequest, context: Context
    ) -> AsyncIterator[events_pb2.StreamEventsResponse]:
        self.seconds_left = context.time_remaining()
        context.add_done_callback(lambda _: self.left.set())  # type: ignore[arg-type]
        for position in self._positions:
            yield events_pb2.StreamEventsResponse(events=[events_pb2.Event(position=position)])
        if self._failure is not None:
            await context.abort_with_status(rpc_status.to_status(self._failure))
        await asyncio.sleep(30)


async def positions_read(
    suite: vafa.Suite | vafa.aio.Suite, positions: list[int], until: int
) -> None:
    """Note the positions of the feed of contacts as they come, and leave after a certain one."""
    request = events_pb2.StreamEventsRequest(parent="feeds/contacts")
    if isinstance(suite, vafa.aio.Suite):
        call = suite.events("contacts").StreamEvents(request)
        async for response in call:
            positions.extend(event.position for event in response.events)
            if positions[-1] == until:
                call.cancel()
                return

    def read(blocking: vafa.Suite) -> None:
        for response in blocking.events("contacts").StreamEvents(request):
            positions.extend(event.position for event in response.events)
            if positions[-1] == until:
                return

    assert isinstance(suite, vafa.Suite)
    await asyncio.to_thread(read, suite)


@both_clients
@in_event_loop
async def test_a_reader_may_leave_a_stream_that_has_no_deadline(client: ModuleType) -> None:
    feed, positions = Feed(range(1, 4)), list[int]()
    async with connected(client, {STREAM_EVENTS: feed.serve}) as suite:
        await positions_read(suite, positions, until=2)
        await asyncio.wait_for(feed.left.wait(), 5)
    assert positions == [1, 2]
    assert feed.seconds_left is None


@both_clients
@in_event_loop
async def test_a_stream_that_breaks_raises_after_what_came_before(client: ModuleType) -> None:
    expired = status_with(
        grpc.StatusCode.OUT_OF_RANGE,
        "too old",
        error_details_pb2.ErrorInfo(reason="CURSOR_EXPIRED", metadata={"oldest_position": "7"}),
    )
    feed, positions = Feed(range(1, 3), expired), list[int]()
    async with connected(client, {STREAM_EVENTS: feed.serve}) as suite:
        with pytest.raises(vafa.OutOfRange) as caught:
            await positions_read(suite, positions, until=9)
    assert positions == [1, 2]
    assert caught.value.reason == "CURSOR_EXPIRED"
    assert caught.value.metadata == {"oldest_position": "7"}
    assert isinstance(caught.value.__cause__, grpc.RpcError)


# Tokens


@both_clients
@in_event_loop
async def test_a_token_file_is_read_again_when_another_takes_its_place(
    client: ModuleType, tmp_path: Path
) -> None:
    get = Recorder(ADA)
    token_file = tmp_path / "token"
    token_file.write_text("first\n")
    async with connected(client, {GET_CONTACT: get.serve}, token_file=token_file) as suite:
        await done(suite.contacts.GetContact, contacts_pb2.GetContactRequest())
        (tmp_path / "next").write_text("second\n")
        (tmp_path / "next").replace(token_file)
        await done(suite.contacts.GetContact, contacts_pb2.GetContactRequest())
    assert get.authorizations == [["Bearer first"], ["Bearer second"]]


@both_clients
@in_event_loop
async def test_an_empty_token_file_is_refused_before_the_call(
    client: ModuleType, tmp_path: Path
) -> None:
    get = Recorder(ADA)
    (tmp_path / "token").touch()
    async with connected(client, {GET_CONTACT: get.serve}, token_file=tmp_path / "token") as suite:
        with pytest.raises(ValueError, match="is empty"):
            await done(suite.contacts.GetContact, contacts_pb2.GetContactRequest())
    assert get.requests == []


@both_clients
@in_event_loop
async def test_a_callable_gives_the_token_of_the_call_that_is_being_served(
    client: ModuleType,
) -> None:
    served_token = ContextVar[str]("served_token")
    get = Recorder(ADA)

    async with connected(client, {GET_CONTACT: get.serve}, token=served_token.get) as suite:
        for token in ("of-ada", "of-grace"):
            served_token.set(token)
            await done(suite.contacts.GetContact, contacts_pb2.GetContactRequest())
    assert get.authorizations == [["Bearer of-ada"], ["Bearer of-grace"]]


@both_clients
@in_event_loop
async def test_an_authorization_of_the_caller_stands_alone(client: ModuleType) -> None:
    get = Recorder(ADA)
    async with connected(client, {GET_CONTACT: get.serve}, token="own") as suite:  # noqa: S106
        await done(
            suite.contacts.GetContact,
            contacts_pb2.GetContactRequest(),
            metadata=(("authorization", "Bearer theirs"),),
        )
    assert get.authorizations == [["Bearer theirs"]]


@both_clients
@in_event_loop
async def test_without_a_token_there_is_no_authorization(client: ModuleType) -> None:
    get = Recorder(ADA)
    async with connected(client, {GET_CONTACT: get.serve}) as suite:
        await done(suite.contacts.GetContact, contacts_pb2.GetContactRequest())
    assert get.authorizations == [[]]


@both_clients
@pytest.mark.parametrize("left_out", ["token", "token_file", "api_key"])
def test_two_credentials_at_once_are_refused(client: ModuleType, left_out: str) -> None:
    given = {"token": "a", "token_file": "b", "api_key": "c"}
    del given[left_out]
    with pytest.raises(ValueError, match="not several"):
        client.connect("127.0.0.1:1", **given)


# Addresses


@both_clients
@in_event_loop
async def test_the_suite_of_this_machine_is_found_by_its_data_directory(
    client: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = Recorder(ADA)
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "admin.jwt").write_text("operator")
    monkeypatch.setenv("VAFA_DATA_DIRECTORY", str(tmp_path))
    async with serving({GET_CONTACT: get.serve}) as address:
        (tmp_path / "endpoints.json").write_text(json.dumps({"contacts": address}))
        suite = client.connect_local()
        await done(suite.contacts.GetContact, contacts_pb2.GetContactRequest())
        await done(suite.close)
    assert get.authorizations == [["Bearer operator"]]


@both_clients
@in_event_loop
async def test_a_connection_has_the_credentials_that_were_given(client: ModuleType) -> None:
    get = Recorder(ADA)
    local = grpc.LocalConnectionType.LOCAL_TCP
    async with serving({GET_CONTACT: get.serve}, grpc.local_server_credentials(local)) as address:
        suite = client.connect(address, tls=grpc.local_channel_credentials(local))
        assert await done(suite.contacts.GetContact, contacts_pb2.GetContactRequest()) == ADA
        await done(suite.close)


@both_clients
def test_a_directory_without_a_suite_is_told(client: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no suite runs in"):
        client.connect_local(tmp_path)


@both_clients
def test_a_list_of_addresses_of_another_form_is_refused(client: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "endpoints.json").write_text('{"contacts": 7101}')
    with pytest.raises(ValueError, match="not an object of addresses"):
        client.connect_local(tmp_path)


@both_clients
def test_a_service_without_an_address_is_told(client: ModuleType) -> None:
    suite = client.connect({"contacts": "127.0.0.1:1"})
    with pytest.raises(ValueError, match="no address was given for 'loyalty', only for: contacts"):
        suite.members.GetMember  # noqa: B018


# Long-running operations


def verification(**result: Any) -> operations_pb2.Operation:
    operation = operations_pb2.Operation(name="operations/1", **result)
    operation.metadata.Pack(ledger_pb2.VerifyLedgerMetadata(members_count=3))
    return operation


class Operations:
    """A service that shows an operation in one state after another, and then in the last one."""

    def __init__(self, *states: operations_pb2.Operation) -> None:
        self._states = list(states)

    async def serve(self, request: Any, context: Context) -> operations_pb2.Operation:
        assert request.name == "operations/1"
        return self._states.pop(0) if len(self._states) > 1 else self._states[0]


@both_clients
@in_event_loop
async def test_waiting_gives_the_response_of_the_operation(client: ModuleType) -> None:
    report = ledger_pb2.VerifyLedgerResponse(members_checked=3)
    response = any_pb2.Any()
    response.Pack(report)
    states = Operations(verification(), verification(done=True, response=response))
    async with connected(client, {GET_OPERATION: states.serve}) as suite:
        assert await done(suite.wait, verification(), 5) == report


@both_clients
@in_event_loop
async def test_waiting_raises_what_the_operation_failed_with(client: ModuleType) -> None:
    cancelled = status_with(
        grpc.StatusCode.CANCELLED,
        "cancelled",
        error_details_pb2.ErrorInfo(reason="OPERATION_CANCELLED"),
    )
    states = Operations(verification(done=True, error=cancelled))
    async with connected(client, {GET_OPERATION: states.serve}) as suite:
        with pytest.raises(vafa.Cancelled) as caught:
            await done(suite.wait, verification(), 5)
    assert caught.value.reason == "OPERATION_CANCELLED"


@both_clients
@in_event_loop
async def test_waiting_ends_when_the_caller_wishes_to_wait_no_longer(client: ModuleType) -> None:
    async with connected(client, {GET_OPERATION: Operations(verification()).serve}) as suite:
        with pytest.raises(vafa.DeadlineExceeded):
            await done(suite.wait, verification(), 0.2)


@both_clients
@in_event_loop
async def test_an_operation_that_does_not_tell_its_service_cannot_be_waited_for(
    client: ModuleType,
) -> None:
    async with connected(client, {}) as suite:
        with pytest.raises(ValueError, match="does not tell which service"):
            await done(suite.wait, operations_pb2.Operation(name="operations/1"), 5)


# The contract


def methods_of_the_contract() -> Iterator[MethodDescriptor]:
    """Give every RPC of every package under vafa, found by the files of the generated modules."""
    root = Path(vafa.__path__[0])
    for path in sorted(root.rglob("*_pb2.py")):
        name = ".".join(path.relative_to(root.parent).with_suffix("").parts)
        for service in importlib.import_module(name).DESCRIPTOR.services_by_name.values():
            yield from service.methods


METHODS = list(methods_of_the_contract())
SERVICE_CONFIG = json.loads(dict(CHANNEL_OPTIONS)["grpc.service_config"])


def retry_policy_of(method: MethodDescriptor) -> dict[str, Any] | None:
    """Return the retry policy of a method, which must stand in the service config once."""
    name = {"service": method.containing_service.full_name, "method": method.name}
    (config,) = [entry for entry in SERVICE_CONFIG["methodConfig"] if name in entry["name"]]
    policy: dict[str, Any] | None = config.get("retryPolicy")
    return policy


def test_the_service_config_repeats_what_is_safe_to_repeat_and_nothing_else() -> None:
    assert len(METHODS) >= 30
    for method in METHODS:
        policy = method.GetOptions().Extensions[policy_pb2.policy]
        safe = policy.effect == policy_pb2.EFFECT_READ or (
            "request_id" in method.input_type.fields_by_name
        )
        assert (retry_policy_of(method) is not None) == safe, method.full_name


def test_calls_are_repeated_only_if_the_server_was_away_or_is_going_away() -> None:
    policies = [policy for method in METHODS if (policy := retry_policy_of(method))]
    assert policies
    assert {code for policy in policies for code in policy["retryableStatusCodes"]} == {
        "UNAVAILABLE",
        "CANCELLED",
    }


def test_operations_are_read_again_but_not_cancelled_or_deleted_again() -> None:
    service = operations_pb2.DESCRIPTOR.services_by_name["Operations"]
    repeated = {method.name for method in service.methods if retry_policy_of(method)}
    assert repeated == {"ListOperations", "GetOperation", "WaitOperation"}


@both_clients
@in_event_loop
async def test_what_every_service_has_is_called_with_the_name_of_the_one_that_is_meant(
    client: ModuleType,
) -> None:
    named: dict[str, list[Any]] = {}

    def serving_as(answer: Any) -> Callable[[Any, Context], Awaitable[Any]]:
        async def serve(request: Any, context: Context) -> Any:
            metadata = context.invocation_metadata() or ()
            found = [value for key, value in metadata if key == "vafa-service"]
            named[type(request).__name__] = found
            return answer

        return serve

    handlers = {
        GET_CONTACT: serving_as(ADA),
        LIST_EVENTS: serving_as(events_pb2.ListEventsResponse()),
        GET_OPERATION: serving_as(operations_pb2.Operation()),
    }
    async with connected(client, handlers) as suite:
        await done(suite.contacts.GetContact, contacts_pb2.GetContactRequest(name=ADA.name))
        await done(suite.events("contacts").ListEvents, events_pb2.ListEventsRequest())
        loyalty = suite.operations("loyalty")
        await done(loyalty.GetOperation, operations_pb2.GetOperationRequest())
    assert named == {
        "GetContactRequest": [],
        "ListEventsRequest": ["contacts"],
        "GetOperationRequest": ["loyalty"],
    }


@both_clients
@in_event_loop
async def test_every_service_of_the_contract_has_its_stub(client: ModuleType) -> None:
    async with connected(client, {}) as suite:
        names = [name for name in dir(suite) if not name.startswith("_")]
        stubs = {type(getattr(suite, name)).__name__ for name in names}
        stubs.add(type(suite.events("contacts")).__name__)
    assert {f"{method.containing_service.name}Stub" for method in METHODS} <= stubs


@pytest.mark.parametrize("suite", [vafa.Suite, vafa.aio.Suite])
def test_the_readme_of_the_client_lists_every_stub(suite: type) -> None:
    readme = (Path(vafa.__path__[0]).parent / "README.md").read_text()
    stubs = {
        name if isinstance(member, functools.cached_property) else f"{name}(service)"
        for name, member in vars(suite).items()
        if isinstance(member, functools.cached_property) or name in ("events", "operations")
    }
    assert {name for name in stubs if f"`{name}`" not in readme} == set()
    assert len(stubs) == 12
