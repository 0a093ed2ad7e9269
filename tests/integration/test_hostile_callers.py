"""What a caller cannot do to others by calls that are slow, broken or for ever."""

import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

import vafa
from services.command import keys
from tests.harness.attacks import bearer, good_token
from tests.harness.edge import Edge
from tests.harness.edge_calls import DETAILS, call_grpc, call_http
from tests.harness.issuers import ForeignIssuer, KeyServer, replace_file
from tests.harness.roles import write_roles
from tests.harness.suite import RunningSuite
from tests.harness.waiting import until
from tests.harness.witness import Witness
from vafa.contacts.v1 import contacts_pb2
from vafa.events.v1 import events_pb2

CONTACTS = "/vafa.contacts.v1.ContactService"
GET_KEYS = "/vafa.gateway.v1.AccessService/GetJsonWebKeySet"
EXCHANGE = "/vafa.gateway.v1.AccessService/ExchangeApiKey"
STREAM_EVENTS = "/vafa.events.v1.EventService/StreamEvents"
CALLS = 12


@pytest.fixture
def suite(sqlite_suite: RunningSuite) -> RunningSuite:
    """No database has to do with it."""
    return sqlite_suite


# Requests that do not come


def refusal(
    address: str,
    path: str,
    messages: Iterator[bytes],
    headers: Sequence[tuple[str, str]] = (),
) -> tuple[str, str]:
    """Make a call with these messages; return the code and the reason with which it ends."""
    with grpc.insecure_channel(address) as channel:
        stub: Any = channel.stream_unary(path)
        with pytest.raises(grpc.RpcError) as raised:
            stub(messages, metadata=headers, timeout=8)
    ended: Any = raised.value
    status = status_pb2.Status.FromString(dict(ended.trailing_metadata()).get(DETAILS, b""))
    info = error_details_pb2.ErrorInfo()
    if status.details:
        status.details[0].Unpack(info)
    return ended.code().name, info.reason


@contextmanager
def never() -> Iterator[Callable[[], Iterator[bytes]]]:
    """Messages that do not come as long as the context is open."""
    over = threading.Event()

    def messages() -> Iterator[bytes]:
        over.wait()
        yield from ()

    try:
        yield messages
    finally:
        over.set()


@pytest.mark.parametrize("path", [f"{CONTACTS}/ListContacts", STREAM_EVENTS])
def test_a_call_without_a_message_is_answered(suite: RunningSuite, path: str) -> None:
    headers = bearer(suite.token())
    told = refusal(suite.addresses["contacts"], path, iter(()), headers)
    assert told == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE")


def test_a_call_of_no_method_is_answered_without_a_message(suite: RunningSuite) -> None:
    told = refusal(suite.addresses["contacts"], f"{CONTACTS}/DropContacts", iter(()))
    assert told == ("UNIMPLEMENTED", "METHOD_UNKNOWN")


@pytest.mark.parametrize(
    ("roles", "told"),
    [
        ((), ("UNAUTHENTICATED", "UNAUTHENTICATED")),
        (("brand",), ("PERMISSION_DENIED", "PERMISSION_DENIED")),
    ],
    ids=["a stranger", "one who may not"],
)
def test_who_may_not_call_is_not_waited_for(
    suite: RunningSuite, roles: tuple[str, ...], told: tuple[str, str]
) -> None:
    headers = bearer(suite.token(*roles)) if roles else ()
    with never() as messages:
        address = suite.addresses["contacts"]
        assert refusal(address, f"{CONTACTS}/ListContacts", messages(), headers) == told


def test_a_stranger_who_does_not_finish_holds_no_service(suite: RunningSuite) -> None:
    with (
        Witness() as witness,
        Edge(suite, gateway_addresses=witness.address) as edge,
        never() as messages,
        grpc.insecure_channel(edge.address) as channel,
    ):
        edge.wait_healthy(witness.address)
        stub: Any = channel.stream_unary(GET_KEYS)
        unfinished = [stub.future(messages(), timeout=20) for _ in range(CALLS)]
        # Once all of them have begun at the edge, one that is whole has not waited for them.
        until(lambda: active_requests(edge) >= CALLS, "all have begun")
        assert call_grpc(edge.address, GET_KEYS).code is grpc.StatusCode.OK
        assert [seen.path for seen in witness.seen] == [GET_KEYS]
        for one in unfinished:
            one.cancel()


def active_requests(edge: Edge) -> int:
    found: str = edge.admin("GET", "/stats?filter=^http.callers.downstream_rq_active$")
    return int(found.rpartition(":")[2])


def test_a_stranger_sends_no_more_than_a_secret_needs(suite: RunningSuite, edge: Edge) -> None:
    body = json.dumps({"secret": "x" * 17_000}).encode()
    as_json = call_http(edge.address, "POST", "/v1/apiKeys:exchange", (), body)
    assert (as_json.status, as_json.reason) == (413, "MALFORMED_MESSAGE")
    as_grpc = call_grpc(edge.address, EXCHANGE, (), bytes(17_000))
    assert (as_grpc.code.name, as_grpc.reason) == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE")
    # What fits is left to the service.
    short = json.dumps({"secret": "x" * 15_000}).encode()
    assert (
        "request-id" in call_http(edge.address, "POST", "/v1/apiKeys:exchange", (), short).headers
    )


# Streams that go on


Change = Callable[[RunningSuite], None]


def take_the_role_away(suite: RunningSuite) -> None:
    write_roles(suite.folder / "roles.json", {"admin": ["contacts.*"]})


def take_the_key_away(suite: RunningSuite) -> None:
    published = suite.folder / "keys" / "jwks.json"
    _, following = json.loads(published.read_bytes())["keys"]
    replace_file(published, json.dumps({"keys": [following]}))


def let_time_pass(_suite: RunningSuite) -> None:
    pass


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (take_the_role_away, "PERMISSION_DENIED"),
        (take_the_key_away, "UNAUTHENTICATED"),
        (let_time_pass, "UNAUTHENTICATED"),
    ],
)
def test_a_stream_brings_nothing_more_to_who_may_not_see_it_any_more(
    tmp_path: Path, change: Change, code: str
) -> None:
    suite = RunningSuite(tmp_path, {"contacts": f"sqlite:///{tmp_path}/contacts.db"})
    roles_file = write_roles(tmp_path / "roles.json", {"admin": ["*"]})
    keys.publish_next_key(tmp_path)
    suite.start("contacts", roles_file=str(roles_file))
    # It is taken for five seconds more.
    now = int(time.time())
    short = {"iat": now - 100, "nbf": now - 100, "exp": now - 25} if change is let_time_pass else {}
    reader_token = good_token(tmp_path, **short)
    writer_token = keys.mint_token_of_next_key(tmp_path, subject="writer", roles=["admin"])
    request = events_pb2.StreamEventsRequest(parent="feeds/contacts")
    with (
        vafa.connect(suite.addresses, token=writer_token) as writer,
        vafa.connect(suite.addresses, token=reader_token) as reader,
    ):
        stream = reader.events("contacts").StreamEvents(request)
        next(stream)
        ended: list[str] = []

        def read() -> None:
            try:
                for _part in stream:
                    pass
            except vafa.VafaError as error:
                ended.append(error.code.name)

        reading = threading.Thread(target=read)
        reading.start()
        change(suite)
        ends_at = time.monotonic() + 20
        while not ended:
            assert time.monotonic() < ends_at, "the stream goes on"
            create(writer)
            time.sleep(0.05)
        reading.join()
    suite.stop()
    assert ended == [code]


def create(client: vafa.Suite) -> None:
    contact = contacts_pb2.Contact(display_name="Ada")
    client.contacts.CreateContact(contacts_pb2.CreateContactRequest(contact=contact))


# Replicas that callers would put out


@pytest.mark.parametrize("answer", ["late", "unavailable"])
def test_a_replica_is_not_put_out_by_what_callers_bring_about(
    suite: RunningSuite, answer: str
) -> None:
    with (
        Witness(answer) as witness,
        Witness() as other,
        Edge(suite, contacts_addresses=f"{witness.address},{other.address}") as edge,
    ):
        edge.wait_healthy(witness.address)
        edge.wait_healthy(other.address)
        call_often(edge)
        assert ejections(edge) == 0
        assert len(witness.seen) > CALLS // 2


def test_a_replica_that_does_not_answer_is_put_out(suite: RunningSuite) -> None:
    with (
        Witness("silent") as silent,
        Witness() as other,
        Edge(
            suite,
            {"requests": {"grace_seconds": 0.1}},
            gateway_addresses=f"{silent.address},{other.address}",
        ) as edge,
        ThreadPoolExecutor(2 * CALLS) as callers,
    ):
        edge.wait_healthy(silent.address)
        edge.wait_healthy(other.address)

        def call(_: int) -> grpc.StatusCode:
            # Of all methods it has the shortest deadline, 3 s.
            return call_grpc(edge.address, GET_KEYS).code

        before, after = (set(callers.map(call, range(2 * CALLS))) for _ in range(2))
    assert before == {grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED}
    assert after == {grpc.StatusCode.OK}


def call_often(edge: Edge) -> list[grpc.StatusCode]:
    headers = bearer(edge.suite.token())
    path = f"{CONTACTS}/ListContacts"
    return [call_grpc(edge.address, path, headers).code for _ in range(2 * CALLS)]


def ejections(edge: Edge) -> int:
    """Return how many replicas of contacts were put out."""
    stat = "cluster.contacts.outlier_detection.ejections_enforced_total"
    found: str = edge.admin("GET", f"/stats?filter=^{stat}$")
    return int(found.rpartition(":")[2])


# Requests that are not quite what they seem


@pytest.mark.parametrize("missing", ["origin", "access-control-request-method"])
def test_half_a_preflight_goes_nowhere(suite: RunningSuite, missing: str) -> None:
    asked = {"origin": "https://example.org", "access-control-request-method": "POST", missing: ""}
    headers = (*bearer(suite.token()), ("content-type", "application/grpc"), *asked.items())
    with Witness() as witness, Edge(suite, contacts_addresses=witness.address) as edge:
        edge.wait_healthy(witness.address)
        answer = call_http(edge.address, "OPTIONS", f"{CONTACTS}/ListContacts", headers)
        assert answer.headers["grpc-status"] == "12"
    assert witness.seen == []


def said_to(edge: Edge, request: bytes) -> tuple[int, dict[str, Any]]:
    """Send bytes; return the status and the JSON of the answer."""
    host, _, port = edge.address.partition(":")
    with closing(socket.create_connection((host, int(port)), timeout=10)) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as answer:
            status = int(answer.readline().split()[1])
            length = 0
            while line := answer.readline().strip():
                name, _, value = line.partition(b": ")
                length = int(value) if name == b"content-length" else length
            refused: dict[str, Any] = json.loads(answer.read(length))
            return status, refused


@pytest.mark.parametrize(
    ("request_text", "message"),
    [
        (b"GET /docs HTTP/1.0\r\n\r\n", "HTTP/1.1 or HTTP/2 is needed"),
        (
            b"GET /v1/contacts HTTP/1.1\r\nhost: e\r\nconnection: upgrade\r\n"
            b"upgrade: websocket\r\n\r\n",
            "the connection cannot be upgraded",
        ),
    ],
    ids=["HTTP/1.0", "an upgrade"],
)
def test_what_the_edge_does_not_speak_is_refused_for_what_it_is(
    edge: Edge, request_text: bytes, message: str
) -> None:
    status, refused = said_to(edge, request_text)
    assert (status, refused["code"], refused["message"]) == (400, 3, message)
    assert refused["details"][0]["reason"] == "MALFORMED_MESSAGE"


# Logs


def test_what_a_caller_writes_into_headers_stands_in_no_log(edge: Edge) -> None:
    subject = str(uuid.uuid4())
    headers = (
        *bearer(edge.suite.token(subject=subject)),
        ("x-note", "caf\xe9 of miss marple"),
        ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01 of miss marple"),
    )
    answer = call_http(edge.address, "GET", "/v1/contacts", headers)
    assert answer.status == 200
    until(lambda: answer.headers["x-request-id"] in edge.log(), "the line of the call")
    until(lambda: subject in edge.suite.log("contacts"), "the line of the call")
    assert f"00-{'a' * 32}-{'b' * 16}-01" in edge.log()
    assert "marple" not in edge.log()
    assert "marple" not in edge.suite.log("contacts")


# The token of the edge


def test_the_token_of_the_edge_gets_its_keys_and_nothing_else(
    suite: RunningSuite, tmp_path: Path
) -> None:
    cluster = ForeignIssuer("https://kubernetes.example", "RS256")
    replace_file(tmp_path / "token", "of the pod")
    with KeyServer(tmp_path, tls=True) as server:
        server.body = cluster.jwks().encode()
        stated = {
            "issuer": cluster.name,
            "audiences": ["vafa"],
            "algorithms": ["RS256"],
            "jwks_url": server.url,
            "ca_file": str(server.ca_file),
            "bearer_token_file": "token",
        }
        content = json.dumps({"version": "1", "issuers": [stated]})
        issuers_file = replace_file(tmp_path / "issuers.json", content)
        with Edge(suite, issuers_file=str(issuers_file)) as edge:
            pipe = f"\0vafa-edge-{edge.address.rpartition(':')[2]}-issuer-1-with-token"
            assert asked_over(pipe, urlsplit(server.url).path) == 200
            asked_for_keys = len(server.requests)
            assert asked_over(pipe, "/api/v1/secrets") == 404
            assert len(server.requests) == asked_for_keys


def asked_over(pipe: str, target: str) -> int:
    """Ask at a socket of this machine; return the status of the answer."""
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(10)
        connection.connect(pipe)
        connection.sendall(f"GET {target} HTTP/1.1\r\nhost: keys\r\n\r\n".encode())
        return int(connection.recv(4096).split()[1])
