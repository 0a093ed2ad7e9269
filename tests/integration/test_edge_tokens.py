"""Whom the edge lets in: attacks by JSON and by gRPC, rotation of keys, issuers elsewhere."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from services.command import keys
from tests.harness.attacks import (
    ATTACKS,
    IDENTITY_HEADERS,
    Headers,
    bearer,
    good_token,
    token_of_size,
)
from tests.harness.edge import Edge
from tests.harness.edge_calls import call_grpc, call_grpc_web, call_http
from tests.harness.issuers import ForeignIssuer, KeyServer, replace_file
from tests.harness.suite import RunningSuite
from tests.harness.waiting import until
from tests.harness.witness import Witness

LIST_CONTACTS = "/vafa.contacts.v1.ContactService/ListContacts"
FETCH_FAILED = "Jwks async fetching"
GET_KEYS = "/vafa.gateway.v1.AccessService/GetJsonWebKeySet"


@pytest.fixture
def suite(sqlite_suite: RunningSuite) -> RunningSuite:
    """The edge is one and the same before either database."""
    return sqlite_suite


def lets_in(edge: Edge, token: str) -> bool:
    """Whether the edge lets a call pass, be it refused by the service behind it or not."""
    answer = call_http(edge.address, "GET", "/v1/contacts", bearer(token))
    # A refusal of a service has the id that its log knows the call by.
    return answer.status == 200 or "request-id" in answer.headers


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_unauthenticated_by_json_and_by_grpc(edge: Edge, attack: str) -> None:
    headers = ATTACKS[attack](edge.suite.folder)
    as_json = call_http(edge.address, "GET", "/v1/contacts", headers)
    assert (as_json.status, as_json.reason) == (401, "UNAUTHENTICATED")
    assert as_json.json["message"] == "a valid token is needed"
    as_grpc = call_grpc(edge.address, LIST_CONTACTS, headers)
    assert (as_grpc.code.name, as_grpc.reason) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
    assert as_grpc.message == "a valid token is needed"


def test_a_good_token_is_let_in_by_json_grpc_and_grpc_web(edge: Edge) -> None:
    headers = bearer(good_token(edge.suite.folder))
    assert call_http(edge.address, "GET", "/v1/contacts", headers).status == 200
    assert call_grpc(edge.address, LIST_CONTACTS, headers).code is grpc.StatusCode.OK
    web = call_grpc_web(edge.address, LIST_CONTACTS, headers)
    assert b"grpc-status:0\r\n" in web.body


def test_a_token_of_a_mebibyte_is_refused_before_it_is_read(edge: Edge) -> None:
    headers = bearer(token_of_size(edge.suite.folder, 1024 * 1024))
    assert call_http(edge.address, "GET", "/v1/contacts", headers).status == 431
    # The connection is closed on it, since HTTP/2 must not skip headers.
    assert call_grpc(edge.address, LIST_CONTACTS, headers).code is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("headers", [(), bearer("a.b.c")], ids=["no token", "a bad token"])
def test_a_public_method_needs_no_token(edge: Edge, headers: Headers) -> None:
    found = call_http(edge.address, "GET", "/.well-known/jwks.json", headers)
    assert found.status == 200
    assert call_grpc(edge.address, GET_KEYS, headers).code is grpc.StatusCode.OK


@pytest.fixture
def witness() -> Iterator[Witness]:
    with Witness() as started:
        yield started


def test_headers_by_which_a_caller_calls_itself_somebody_do_not_arrive(
    suite: RunningSuite, witness: Witness
) -> None:
    token = bearer(suite.token())
    spoofed = tuple((name, "admin") for name in IDENTITY_HEADERS)
    with Edge(suite, contacts_addresses=witness.address) as edge:
        edge.wait_healthy(witness.address)
        call_http(edge.address, "GET", "/v1/contacts", (*token, *spoofed))
        call_grpc(edge.address, LIST_CONTACTS, (*token, *spoofed))
    by_json, by_grpc = witness.seen
    for seen in (by_json, by_grpc):
        assert seen.path == LIST_CONTACTS
        arrived = dict(seen.headers)
        assert arrived["authorization"] == token[0][1]
        assert not arrived.keys() & set(IDENTITY_HEADERS)


def test_the_subject_that_is_logged_is_that_of_the_token(suite: RunningSuite) -> None:
    with Edge(suite) as edge:
        headers = (*bearer(suite.token(subject="ada")), ("x-principal", "admin"))
        answer = call_http(edge.address, "GET", "/v1/contacts?filter=ada%40example.org", headers)
        edge_request_id = answer.headers["x-request-id"]
        until(lambda: edge_request_id in edge.log(), "the line of the call")
    (line,) = (line for line in edge.log().splitlines() if edge_request_id in line)
    logged = json.loads(line)
    assert (logged["principal"], logged["issuer"]) == ("ada", "vafa-local")
    assert "example" not in edge.log()
    assert suite.token(subject="ada").partition(".")[0] not in edge.log()


@pytest.fixture
def folder_of_keys(suite: RunningSuite, tmp_path: Path) -> Path:
    """The keys of the suite, in a folder that the test may change."""
    shutil.copytree(suite.folder / "keys", tmp_path / "keys")
    return tmp_path


def test_a_key_that_is_published_beside_the_old_one_is_taken_within_seconds(
    suite: RunningSuite, folder_of_keys: Path
) -> None:
    former = keys.mint_token(folder_of_keys, subject="ada", roles=["admin"])
    with Edge(suite, jwks_file=str(folder_of_keys / "keys" / "jwks.json")) as edge:
        keys.publish_next_key(folder_of_keys)
        following = keys.mint_token_of_next_key(folder_of_keys, subject="ada", roles=["admin"])
        until(lambda: lets_in(edge, following), "the next key taken")
        assert lets_in(edge, former)


def test_a_key_that_was_withdrawn_is_refused_within_seconds(
    suite: RunningSuite, folder_of_keys: Path
) -> None:
    jwks_file = folder_of_keys / "keys" / "jwks.json"
    revoked = good_token(suite.folder)
    with Edge(suite, jwks_file=str(jwks_file)) as edge:
        assert lets_in(edge, revoked)
        replace_file(jwks_file, ForeignIssuer("another", "EdDSA").jwks())
        until(lambda: not lets_in(edge, revoked), "the old key refused")


def test_a_broken_file_of_keys_lets_nobody_in_until_it_is_whole_again(
    suite: RunningSuite, folder_of_keys: Path
) -> None:
    jwks_file = folder_of_keys / "keys" / "jwks.json"
    with Edge(suite, jwks_file=str(jwks_file)) as edge:
        replace_file(jwks_file, "{")
        until(lambda: not lets_in(edge, good_token(suite.folder)), "nobody let in")
        replace_file(jwks_file, (suite.folder / "keys" / "jwks.json").read_text())
        until(lambda: lets_in(edge, good_token(suite.folder)), "the good keys again")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[KeyServer]:
    with KeyServer(tmp_path, tls=True) as started:
        yield started


def test_the_keys_of_an_issuer_elsewhere_are_fetched_with_the_token_that_it_wants(
    suite: RunningSuite, tmp_path: Path, server: KeyServer
) -> None:
    cluster = ForeignIssuer("https://kubernetes.example", "RS256")
    server.body = cluster.jwks().encode()
    replace_file(tmp_path / "cluster-token", "of the pod")
    stated = {
        "issuer": cluster.name,
        "audiences": ["vafa"],
        "algorithms": ["RS256"],
        "jwks_url": server.url,
        "ca_file": str(server.ca_file),
        "bearer_token_file": "cluster-token",
        "refresh_seconds": 1,
    }
    issuers = replace_file(
        tmp_path / "issuers.json", json.dumps({"version": "1", "issuers": [stated]})
    )
    with Edge(suite, issuers_file=str(issuers)) as edge:
        until(lambda: lets_in(edge, cluster.token()), "a token of the cluster let in")
        assert lets_in(edge, good_token(suite.folder))
        assert not lets_in(edge, ForeignIssuer(cluster.name, "RS256").token())
        assert not lets_in(edge, cluster.token(aud="another"))
        # The token of the pod is renewed all the time.
        replace_file(tmp_path / "cluster-token", "of the pod, renewed")
        renewed = "Bearer of the pod, renewed"
        until(lambda: server.requests[-1]["authorization"] == renewed, "the new token shown")
        # Its keys outlast an outage.
        server.stop()
        failed = edge.log().count(FETCH_FAILED)
        until(lambda: edge.log().count(FETCH_FAILED) > failed, "a fetch that failed")
        assert lets_in(edge, cluster.token())
    assert server.requests[0]["authorization"] == "Bearer of the pod"
