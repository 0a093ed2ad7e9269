"""What one caller may take at the edge: calls, connections, time; and what it serves besides."""

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from typing import Any

import grpc
import pytest

from tests.harness.attacks import bearer
from tests.harness.edge import Edge
from tests.harness.edge_calls import call_grpc, call_http
from tests.harness.suite import RunningSuite
from tests.harness.waiting import until
from tests.harness.witness import Witness

LIST_CONTACTS = "/vafa.contacts.v1.ContactService/ListContacts"
CREATE_CONTACT = "/vafa.contacts.v1.ContactService/CreateContact"
CALLS_PER_SECOND = 10
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, RST_STREAM, SETTINGS = 1, 3, 4
CANCEL = 8
END_STREAM_AND_HEADERS = 5


@pytest.fixture
def suite(sqlite_suite: RunningSuite) -> RunningSuite:
    """The edge is one and the same before either database."""
    return sqlite_suite


@pytest.fixture(scope="module")
def strict(sqlite_suite: RunningSuite) -> Iterator[Edge]:
    """An edge that is strict with its callers."""
    values: dict[str, dict[str, Any]] = {
        "callers": {
            "requests_per_second": CALLS_PER_SECOND,
            "requests_per_second_per_address": CALLS_PER_SECOND,
        },
        "connections": {
            "max_connections": 8,
            "first_bytes_timeout_seconds": 0.3,
            "premature_resets_max": 20,
        },
        "requests": {"headers_timeout_seconds": 0.3},
    }
    with Edge(sqlite_suite, values) as started:
        yield started


def call(edge: Edge, subject: str, *, as_json: bool) -> tuple[bool, str]:
    """Make a call as a subject; return whether it was let through, and else the reason."""
    headers = bearer(edge.suite.token(subject=subject))
    if as_json:
        answer = call_http(edge.address, "GET", "/v1/contacts", headers)
        if answer.status == 200:
            return True, ""
        assert (answer.status, answer.json["code"]) == (429, 8)
        assert answer.headers["retry-after"] == "1"
        (retry,) = (d for d in answer.json["details"] if d["@type"].endswith("RetryInfo"))
        assert retry["retryDelay"] == "1s"
        return False, answer.reason
    ended = call_grpc(edge.address, LIST_CONTACTS, headers)
    if ended.code is grpc.StatusCode.OK:
        return True, ""
    assert ended.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    return False, ended.reason


def test_json_and_grpc_of_one_caller_are_counted_together_and_callers_apart(
    strict: Edge,
) -> None:
    began = time.monotonic()
    outcomes = [call(strict, "ada", as_json=n % 2 == 0) for n in range(40)]
    took = time.monotonic() - began
    let_through = sum(through for through, _ in outcomes)
    # The bucket, and what flowed in meanwhile; two buckets would have let twice as many through.
    assert CALLS_PER_SECOND <= let_through <= CALLS_PER_SECOND * (1 + took) + 1
    refused = [reason for through, reason in outcomes if not through]
    assert refused
    assert set(refused) == {"OVERLOADED"}
    # Both kinds were refused, and nobody else was.
    assert {n % 2 for n, (through, _) in enumerate(outcomes) if not through} == {0, 1}
    assert call(strict, "grace", as_json=True) == (True, "")


def test_a_public_method_is_counted_by_address(strict: Edge) -> None:
    target = "/.well-known/jwks.json"
    answers = [call_http(strict.address, "GET", target) for _ in range(40)]
    statuses = [answer.status for answer in answers]
    assert statuses[:CALLS_PER_SECOND] == [200] * CALLS_PER_SECOND
    assert 429 in statuses
    # Who has a token is counted by it.
    assert call(strict, "joan", as_json=True) == (True, "")


def test_callers_take_nothing_from_what_the_edge_answers_by_itself(suite: RunningSuite) -> None:
    with Edge(suite, {"callers": {"requests_per_second_answered_here": 1}}) as edge:
        assert {call(edge, "ada", as_json=n % 2 == 0) for n in range(20)} == {(True, "")}


def test_a_public_method_is_counted_for_each_address_apart(strict: Edge) -> None:
    host, _, port = strict.address.partition(":")

    def status(address: str) -> int:
        """Ask from an address of this machine for the keys."""
        source = (address, 0)
        with closing(http.client.HTTPConnection(host, int(port), 5, source)) as connection:
            connection.request("GET", "/.well-known/jwks.json")
            return connection.getresponse().status

    assert 429 in [status("127.0.0.2") for _ in range(40)]
    assert [status("127.0.0.3") for _ in range(CALLS_PER_SECOND)] == [200] * CALLS_PER_SECOND


def test_connections_beyond_the_limit_are_closed(strict: Edge) -> None:
    host, _, port = strict.address.partition(":")
    # Those of the test before count until Envoy has seen that they are closed.
    until(lambda: open_connections(strict) == 0, "nobody connected")
    with ExitStack() as stack:
        held = [
            stack.enter_context(closing(socket.create_connection((host, int(port)), timeout=5)))
            for _ in range(16)
        ]
        served = [is_served(one) for one in held]
        assert sum(served) == 8
    until_served(strict)


def open_connections(edge: Edge) -> int:
    found: str = edge.admin("GET", "/stats?filter=^http.callers.downstream_cx_active$")
    return int(found.rpartition(":")[2])


def is_served(connection: socket.socket) -> bool:
    """Whether a request over a connection is answered."""
    try:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: edge\r\n\r\n")
        return connection.recv(100).startswith(b"HTTP/1.1 200")
    except ConnectionError:
        return False


def until_served(edge: Edge) -> None:
    ends_at = time.monotonic() + 10
    while True:
        try:
            if call_http(edge.address, "GET", "/healthz").status == 200:
                return
        except (ConnectionError, http.client.HTTPException):
            assert time.monotonic() < ends_at
            time.sleep(0.05)


@pytest.mark.parametrize(
    "sent", [b"", b"GET /v1/contacts HTTP/1.1\r\nhost: edge\r\n"], ids=["nothing", "half a request"]
)
def test_whoever_does_not_go_on_is_left(strict: Edge, sent: bytes) -> None:
    host, _, port = strict.address.partition(":")
    with closing(socket.create_connection((host, int(port)), timeout=10)) as connection:
        connection.sendall(sent)
        until_closed(connection)


def frame(kind: int, stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """Return a frame of HTTP/2."""
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


def until_closed(connection: socket.socket) -> None:
    """Wait until the other side has closed a connection, in whatever way."""
    with suppress(ConnectionError):
        while connection.recv(65_536):
            continue


def test_a_connection_that_begins_calls_and_resets_them_is_closed(suite: RunningSuite) -> None:
    # GET over http, from the static table of HPACK; path and authority as literals.
    path = b"/.well-known/jwks.json"
    request = bytes([0x82, 0x86, 0x04, len(path)]) + path + bytes([0x01, 4]) + b"edge"
    begun_and_reset = [
        frame(HEADERS, stream, request, END_STREAM_AND_HEADERS)
        + frame(RST_STREAM, stream, CANCEL.to_bytes(4, "big"))
        for stream in range(1, 400, 2)
    ]
    with (
        Witness("silent") as witness,
        Edge(
            suite, {"connections": {"premature_resets_max": 20}}, gateway_addresses=witness.address
        ) as edge,
    ):
        edge.wait_healthy(witness.address)
        host, _, port = edge.address.partition(":")
        with closing(socket.create_connection((host, int(port)), timeout=10)) as connection:
            connection.sendall(PREFACE + frame(SETTINGS, 0) + b"".join(begun_and_reset))
            until_closed(connection)
        found = edge.admin("GET", "/stats?filter=premature_resets")
        assert re.search(r"rq_too_many_premature_resets: 1$", found, re.MULTILINE)
        assert call_http(edge.address, "GET", "/openapi.json").status == 200
    assert len(witness.seen) < 40


def test_a_caller_cannot_steer_envoy_by_headers(suite: RunningSuite) -> None:
    steering = (
        ("x-envoy-retry-on", "5xx,gateway-error"),
        ("x-envoy-retry-grpc-on", "unavailable"),
        ("x-envoy-max-retries", "5"),
        ("x-envoy-upstream-rq-timeout-ms", "1"),
    )
    headers = (*bearer(suite.token()), *steering)
    with (
        Witness("unavailable") as witness,
        Edge(suite, contacts_addresses=witness.address) as edge,
    ):
        edge.wait_healthy(witness.address)
        answer = call_grpc(edge.address, CREATE_CONTACT, headers)
        assert answer.code is grpc.StatusCode.UNAVAILABLE
        assert answer.message == "away"
    assert [seen.path for seen in witness.seen] == [CREATE_CONTACT]


def test_metrics_are_served_apart_and_nothing_else_is(edge: Edge) -> None:
    found = call_http(edge.metrics_address, "GET", "/stats/prometheus")
    assert found.status == 200
    assert b'envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix="callers"}' in found.body
    for target in ("/", "/stats", "/config_dump", "/quitquitquit", "/stats/prometheus/.."):
        assert call_http(edge.metrics_address, "POST", target).status == 404


@pytest.mark.parametrize(
    "target", ["/stats", "/config_dump", "/clusters", "/quitquitquit", "/stats/prometheus"]
)
def test_the_admin_interface_is_not_reached_from_outside(edge: Edge, target: str) -> None:
    for verb in ("GET", "POST"):
        assert call_http(edge.address, verb, target, bearer(edge.suite.token())).status == 404


def test_the_documents_are_served_to_anybody(edge: Edge) -> None:
    document = call_http(edge.address, "GET", "/openapi.json")
    assert document.status == 200
    assert document.json["openapi"].startswith("3.1")
    page = call_http(edge.address, "GET", "/docs")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_a_page_of_an_allowed_origin_may_call_and_no_other(edge: Edge) -> None:
    def asked(origin: str) -> str | None:
        headers = (("origin", origin), ("access-control-request-method", "POST"))
        answer = call_http(edge.address, "OPTIONS", LIST_CONTACTS, headers)
        assert answer.status == 200
        return answer.headers.get("access-control-allow-origin")

    assert asked("http://localhost:3000") == "http://localhost:3000"
    assert asked("https://localhost.example.org") is None
    assert asked("https://example.org") is None
    called = call_http(edge.address, "GET", "/v1/contacts", (("origin", "http://localhost"),))
    assert called.headers["access-control-allow-origin"] == "http://localhost"
    assert "grpc-status-details-bin" in called.headers["access-control-expose-headers"]


def test_a_stream_comes_line_by_line_as_json(edge: Edge) -> None:
    headers = bearer(edge.suite.token())
    body = json.dumps({"displayName": "Ada"}).encode()
    created = call_http(edge.address, "POST", "/v1/contacts", headers, body).json["name"]
    connection = http.client.HTTPConnection(edge.address, timeout=20)
    with closing(connection):
        connection.request("GET", "/v1/feeds/contacts/events:stream", headers=dict(headers))
        answer = connection.getresponse()
        assert answer.status == 200
        subjects: set[str] = set()
        while created not in subjects:
            events = json.loads(answer.readline()).get("events", ())
            subjects |= {event["subject"] for event in events}
