"""What the edge refuses by itself: told alike as JSON, by gRPC and by gRPC-Web, and in the shape
in which the services refuse.
"""

import base64
import json
from collections.abc import Iterator

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from tests.harness.attacks import bearer
from tests.harness.edge import Edge
from tests.harness.edge_calls import DETAILS, GRPC_WEB, call_grpc, call_grpc_web, call_http
from tests.harness.ports import free_port
from tests.harness.suite import RunningSuite
from tests.harness.witness import Witness

GET_CONTACT = "/vafa.contacts.v1.ContactService/GetContact"
LIST_CONTACTS = "/vafa.contacts.v1.ContactService/ListContacts"
LIST_EVENTS = "/vafa.events.v1.EventService/ListEvents"
GET_KEYS = "/vafa.gateway.v1.AccessService/GetJsonWebKeySet"
KINDS = ("json", "grpc", "grpc-web")


@pytest.fixture
def suite(sqlite_suite: RunningSuite) -> RunningSuite:
    """The edge is one and the same before either database."""
    return sqlite_suite


def refusal(
    address: str, kind: str, path: str, target: str, headers: tuple[tuple[str, str], ...]
) -> tuple[str, str]:
    """Make a call one way and return the code and the reason with which it is refused."""
    if kind == "grpc":
        answer = call_grpc(address, path, headers)
        return answer.code.name, answer.reason
    if kind == "grpc-web":
        web = call_grpc_web(address, path, headers)
        assert (web.status, web.headers["content-type"]) == (200, GRPC_WEB)
        details = web.headers[DETAILS]
        status = status_pb2.Status.FromString(base64.b64decode(details + "=="))
        assert web.headers["grpc-status"] == str(status.code)
        assert web.headers["grpc-message"] == status.message
        info = error_details_pb2.ErrorInfo()
        assert status.details[0].Unpack(info)
        return name_of(status.code), info.reason
    found = call_http(address, "GET", target, headers)
    return name_of(found.json["code"]), found.reason


def name_of(code: int) -> str:
    return next(one.name for one in grpc.StatusCode if one.value[0] == code)


@pytest.fixture
def token(suite: RunningSuite) -> tuple[tuple[str, str], ...]:
    """The header of a good token."""
    return bearer(suite.token())


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_token_the_refusal_is_that_of_a_service(edge: Edge, kind: str) -> None:
    refused = refusal(edge.address, kind, LIST_CONTACTS, "/v1/contacts", ())
    assert refused == ("UNAUTHENTICATED", "UNAUTHENTICATED")


def test_a_refusal_by_the_edge_and_by_a_service_say_the_same(edge: Edge) -> None:
    at_the_edge = call_grpc(edge.address, LIST_CONTACTS)
    at_the_service = call_grpc(edge.suite.addresses["contacts"], LIST_CONTACTS)
    assert at_the_edge == at_the_service
    assert call_http(edge.address, "GET", "/v1/contacts").status == 401


@pytest.mark.parametrize("kind", KINDS)
def test_a_method_that_there_is_not_is_refused_even_without_a_token(edge: Edge, kind: str) -> None:
    path = "/vafa.contacts.v1.ContactService/DropContacts"
    refused = refusal(edge.address, kind, path, "/v1/nothing", ())
    assert refused == ("UNIMPLEMENTED", "METHOD_UNKNOWN")


def test_a_method_that_no_service_serves_is_not_reached_by_its_path(
    edge: Edge, token: tuple[tuple[str, str], ...]
) -> None:
    health = call_grpc(edge.address, "/grpc.health.v1.Health/Check", token)
    assert (health.code.name, health.reason) == ("UNIMPLEMENTED", "METHOD_UNKNOWN")


@pytest.mark.parametrize(
    ("verb", "target", "allowed"),
    [
        ("PUT", "/v1/contacts/ada", "DELETE, GET, PATCH"),
        ("DELETE", "/v1/contacts", "GET, POST"),
        ("GET", "/v1/contacts/ada:undelete", "POST"),
        ("HEAD", "/v1/feeds/contacts/events", "GET"),
        ("OPTIONS", "/v1/surveys", "GET, POST"),
        ("POST", "/docs", "GET"),
        ("POST", "/openapi.json", "GET"),
    ],
)
def test_another_http_method_is_refused_with_those_that_there_are(
    edge: Edge, verb: str, target: str, allowed: str
) -> None:
    answer = call_http(edge.address, verb, target)
    assert (answer.status, answer.headers["allow"]) == (405, allowed)
    if verb != "HEAD":
        assert (answer.json["code"], answer.reason) == (12, "METHOD_UNKNOWN")


@pytest.mark.parametrize("kind", KINDS)
def test_a_method_of_every_service_wants_a_service_to_be_named(
    edge: Edge, token: tuple[tuple[str, str], ...], kind: str
) -> None:
    refused = refusal(edge.address, kind, LIST_EVENTS, "/v1/operations", token)
    assert refused == ("INVALID_ARGUMENT", "INVALID_FIELD")
    answer = call_grpc(edge.address, LIST_EVENTS, token)
    assert "name the service in the header vafa-service" in answer.message


def test_a_feed_of_no_service_is_not_found(edge: Edge, token: tuple[tuple[str, str], ...]) -> None:
    answer = call_http(edge.address, "GET", "/v1/feeds/nobody/events", token)
    assert (answer.status, answer.reason) == (404, "RESOURCE_NOT_FOUND")


def test_a_query_parameter_that_is_no_field_is_refused_by_its_name(
    edge: Edge, token: tuple[tuple[str, str], ...]
) -> None:
    answer = call_http(edge.address, "GET", "/v1/contacts?colour=red", token)
    assert (answer.status, answer.json["code"], answer.reason) == (400, 3, "MALFORMED_MESSAGE")
    assert '"colour"' in answer.json["message"]


def test_a_field_of_a_body_that_there_is_not_is_passed_over(
    edge: Edge, token: tuple[tuple[str, str], ...]
) -> None:
    body = b'{"displayName": "Ada", "colour": "red"}'
    answer = call_http(edge.address, "POST", "/v1/contacts", token, body)
    assert (answer.status, answer.json["displayName"]) == (200, "Ada")
    assert "colour" not in answer.json


@pytest.mark.parametrize("body", [b'{"displayName": ', b"[]", b'{"displayName": 7}', b"\xff"])
def test_a_body_that_is_not_the_message_is_refused(
    edge: Edge, token: tuple[tuple[str, str], ...], body: bytes
) -> None:
    answer = call_http(edge.address, "POST", "/v1/contacts", token, body)
    assert (answer.status, answer.json["code"], answer.reason) == (400, 3, "MALFORMED_MESSAGE")
    assert answer.json["message"]


@pytest.fixture(scope="module")
def narrow(sqlite_suite: RunningSuite) -> Iterator[Edge]:
    """An edge that takes little, and before one service that is away and one that is silent."""
    requests = {
        "max_json_request_bytes": 1000,
        "max_headers_kibibytes": 4,
        "grace_seconds": 0.1,
        "body_timeout_seconds": 0.5,
    }
    away = f"127.0.0.1:{free_port()}"
    with (
        Witness("silent") as silent,
        Edge(
            sqlite_suite,
            {"requests": requests},
            loyalty_addresses=away,
            gateway_addresses=silent.address,
        ) as started,
    ):
        yield started


@pytest.fixture
def address(suite: RunningSuite, narrow: Edge) -> str:
    """Where that edge serves."""
    return narrow.address


def test_a_body_that_is_too_large_is_refused(
    address: str, token: tuple[tuple[str, str], ...]
) -> None:
    fits, too_large = (json.dumps({"displayName": "x" * n}).encode() for n in (900, 1100))
    assert call_http(address, "POST", "/v1/contacts", token, fits).status == 400
    answer = call_http(address, "POST", "/v1/contacts", token, too_large)
    assert (answer.status, answer.json["code"], answer.reason) == (413, 3, "MALFORMED_MESSAGE")


def test_a_message_that_is_too_large_for_its_service_is_refused_by_it(
    address: str, token: tuple[tuple[str, str], ...]
) -> None:
    answer = call_grpc(address, GET_CONTACT, token, bytes(4 * 1024 * 1024 + 1))
    assert answer.code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_headers_that_are_too_large_are_refused(
    address: str, token: tuple[tuple[str, str], ...]
) -> None:
    headers = (*token, ("x-large", "x" * 5000))
    answer = call_http(address, "GET", "/v1/contacts", headers)
    assert (answer.status, answer.json["code"], answer.reason) == (431, 3, "MALFORMED_MESSAGE")
    # HTTP/2 has no answer left for them but the end of the stream.
    assert call_grpc(address, LIST_CONTACTS, headers).code is grpc.StatusCode.INTERNAL


@pytest.mark.parametrize("kind", KINDS)
def test_a_service_that_cannot_be_reached_is_unavailable(
    address: str, token: tuple[tuple[str, str], ...], kind: str
) -> None:
    path = "/vafa.loyalty.v1.ProgramService/ListPrograms"
    refused = refusal(address, kind, path, "/v1/programs", token)
    assert refused == ("UNAVAILABLE", "UNAVAILABLE")
    assert call_http(address, "GET", "/v1/programs", token).status == 503


def test_a_service_that_is_silent_is_waited_for_until_the_deadline_of_the_method(
    address: str,
) -> None:
    # Of all deadlines the shortest: 3 s, and the grace.
    answer = call_http(address, "GET", "/.well-known/jwks.json")
    assert (answer.status, answer.json["code"], answer.reason) == (504, 4, "DEADLINE_EXCEEDED")


def test_a_body_that_does_not_end_is_not_waited_for(
    address: str, token: tuple[tuple[str, str], ...]
) -> None:
    slow = (*token, ("content-type", "application/json"), ("content-length", "100"))
    answer = call_http(address, "POST", "/v1/contacts", slow)
    assert (answer.status, answer.json["code"], answer.reason) == (408, 4, "DEADLINE_EXCEEDED")


@pytest.mark.parametrize(
    "target",
    ["/v1/..%2fadmin", "/v1/contacts%2Fada", "/v1/%5C..", "/v1/contacts/ada%00"],
)
def test_a_path_that_hides_another_is_refused(
    edge: Edge, token: tuple[tuple[str, str], ...], target: str
) -> None:
    answer = call_http(edge.address, "GET", target, token)
    assert (answer.status, answer.json["code"], answer.reason) == (400, 3, "MALFORMED_MESSAGE")


@pytest.mark.parametrize("target", ["/v1/x/../contacts", "//v1///contacts", "/v1/./contacts"])
def test_a_path_is_taken_in_its_plain_form(
    edge: Edge, token: tuple[tuple[str, str], ...], target: str
) -> None:
    assert call_http(edge.address, "GET", target).status == 401
    assert call_http(edge.address, "GET", target, token).status == 200


def test_a_header_with_an_underscore_is_refused(
    edge: Edge, token: tuple[tuple[str, str], ...]
) -> None:
    headers = (*token, ("x_principal", "admin"))
    answer = call_http(edge.address, "GET", "/v1/contacts", headers)
    assert (answer.status, answer.reason) == (400, "MALFORMED_MESSAGE")
    assert call_grpc(edge.address, LIST_CONTACTS, headers).code is grpc.StatusCode.INTERNAL
