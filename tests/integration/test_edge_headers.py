"""What a caller writes into headers breaks neither the call nor a replica."""

import http.client
import json
from http import HTTPStatus
from typing import Any

import pytest

from tests.harness.edge import Edge

JSON_PATH, GRPC_PATH = (
    "/.well-known/jwks.json",
    "/vafa.gateway.v1.AccessService/GetJsonWebKeySet",
)


def call(
    edge: Edge, verb: str, path: str, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection(edge.address, timeout=10)
    try:
        connection.request(verb, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def reason(body: bytes) -> str:
    refusal: dict[str, Any] = json.loads(body)
    return str(refusal["details"][0]["reason"])


def resets(edge: Edge) -> int:
    """Return how many calls the replicas of the gateway have reset, by which Envoy would judge
    that a replica fails.
    """
    stat = "cluster.gateway.upstream_rq_rx_reset"
    found: str = edge.admin("GET", f"/stats?filter=^{stat}$&usedonly")
    return int(found.rpartition(":")[2]) if found.strip() else 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x'y", "1"),
        ("x&y", "1"),
        ("x-bin", "not base64!"),
        ("grpc-timeout", "soon"),
        ("grpc-timeout", "1n"),
        ("grpc-encoding", "unknown"),
    ],
)
def test_a_header_that_grpc_cannot_carry_is_passed_over_for_json(
    edge: Edge, name: str, value: str
) -> None:
    token = edge.suite.token()
    headers = {"authorization": f"Bearer {token}", name: value}
    status, _, body = call(edge, "GET", "/v1/programs", **headers)
    assert status == HTTPStatus.OK, body


def test_a_transfer_coding_that_nobody_knows_is_malformed(edge: Edge) -> None:
    status, headers, body = call(edge, "GET", JSON_PATH, **{"transfer-encoding": "unknown"})
    assert status == HTTPStatus.BAD_REQUEST
    assert headers["content-type"] == "application/json"
    assert reason(body) == "MALFORMED_MESSAGE"


@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc-web+proto"])
@pytest.mark.parametrize(
    ("verb", "path"),
    [("GET", JSON_PATH), ("POST", JSON_PATH), ("GET", GRPC_PATH), ("PUT", GRPC_PATH)],
)
def test_what_is_not_quite_grpc_does_not_reach_a_service(
    edge: Edge, content_type: str, verb: str, path: str
) -> None:
    before = resets(edge)
    _, headers, _ = call(edge, verb, path, **{"content-type": content_type})
    assert headers["grpc-status"] == "12"
    assert resets(edge) == before


def test_json_needs_no_content_type(edge: Edge) -> None:
    status, _, body = call(edge, "GET", JSON_PATH)
    assert status == HTTPStatus.OK
    assert json.loads(body)["keys"]
