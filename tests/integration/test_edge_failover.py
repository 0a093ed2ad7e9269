"""What the edge does when services fail: what is tried again, who is left out, who comes back."""

import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Self

import grpc
import pytest

import vafa
from tests.harness.attacks import bearer
from tests.harness.edge import Edge
from tests.harness.edge_calls import call_grpc, call_http
from tests.harness.issuers import write_certificate
from tests.harness.postgres import Postgres
from tests.harness.suite import RunningSuite
from tests.harness.waiting import until
from tests.harness.witness import Witness
from vafa.contacts.v1 import contacts_pb2

GET_CONTACT = "/vafa.contacts.v1.ContactService/GetContact"
CREATE_CONTACT = "/vafa.contacts.v1.ContactService/CreateContact"
LIST_CONTACTS = "/vafa.contacts.v1.ContactService/ListContacts"
READS = 60


@pytest.fixture
def suite(sqlite_suite: RunningSuite) -> RunningSuite:
    """The edge is one and the same before either database."""
    return sqlite_suite


@pytest.fixture
def replicated(tmp_path: Path, postgres: Postgres) -> Iterator[RunningSuite]:
    """Contacts alone, as two replicas on one database."""
    urls = {"contacts": postgres.create(f"edge_{os.getpid()}")}
    suite = RunningSuite(tmp_path, urls)
    suite.start("contacts", "contacts-2")
    yield suite
    suite.stop()


def test_every_read_survives_the_death_of_a_replica(replicated: RunningSuite) -> None:
    headers = bearer(replicated.token())
    with Edge(replicated) as edge, ThreadPoolExecutor(4) as readers:

        def reads(_: int) -> grpc.StatusCode:
            return call_grpc(edge.address, LIST_CONTACTS, headers).code

        before = set(readers.map(reads, range(READS)))
        replicated.kill("contacts-2")
        # It is not known yet that it is gone: a connection that is refused is not the end.
        after = set(readers.map(reads, range(READS)))
    assert before == after == {grpc.StatusCode.OK}


def test_a_replica_that_stands_still_is_left_out_and_taken_back(replicated: RunningSuite) -> None:
    values = {"services": {"health_check_timeout_seconds": 0.3}}
    second = replicated.addresses["contacts-2"]
    with Edge(replicated, values) as edge:
        replicated.signal("contacts-2", signal.SIGSTOP)
        edge.wait_healthy(second, healthy=False)
        headers = bearer(replicated.token())
        began = time.monotonic()
        for _ in range(10):
            assert call_grpc(edge.address, LIST_CONTACTS, headers).code is grpc.StatusCode.OK
        assert time.monotonic() - began < 4
        replicated.signal("contacts-2", signal.SIGCONT)
        edge.wait_healthy(second)


class Breaking:
    """A way to a service that hands every request on and, once `broken` is set, breaks the
    connection before the answer: the caller cannot know whether the call was carried out.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self.broken = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._sockets = [self._listening]
        self._threads = [threading.Thread(target=self._accept)]

    def _accept(self) -> None:
        host, _, port = self._target.partition(":")
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection((host, int(port)))
                self._sockets += (near, far)
                for source, sink, is_answer in ((near, far, False), (far, near, True)):
                    carrier = threading.Thread(target=self._carry, args=(source, sink, is_answer))
                    self._threads.append(carrier)
                    carrier.start()

    def _carry(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                # The answer to a call is larger than what keeps the connection going.
                if is_answer and self.broken.is_set() and len(data) > 100:
                    break
                sink.sendall(data)
        _end(source, sink)

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        # The first is that which accepts: after it there are no more.
        for one in self._threads:
            _end(*self._sockets)
            one.join()
        for each in self._sockets:
            each.close()


def _end(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("as_json", [False, True], ids=["grpc", "json"])
def test_a_write_whose_answer_is_lost_is_not_sent_again(suite: RunningSuite, as_json: bool) -> None:
    name = f"Ada of {'json' if as_json else 'grpc'} {os.getpid()}"
    headers = bearer(suite.token())
    contact = contacts_pb2.Contact(display_name=name)
    request = contacts_pb2.CreateContactRequest(contact=contact).SerializeToString()
    with (
        Breaking(suite.addresses["contacts"]) as way,
        Edge(suite, contacts_addresses=way.address) as edge,
    ):
        edge.wait_healthy(way.address)
        way.broken.set()
        if as_json:
            body = json.dumps({"displayName": name}).encode()
            refused = call_http(edge.address, "POST", "/v1/contacts", headers, body)
            assert (refused.status, refused.reason) == (503, "UNAVAILABLE")
        else:
            ended = call_grpc(edge.address, CREATE_CONTACT, headers, request)
            assert (ended.code, ended.reason) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
    with suite.client() as client:
        found = client.contacts.ListContacts(
            contacts_pb2.ListContactsRequest(filter=f'display_name = "{name}"')
        )
    assert [one.display_name for one in found.contacts] == [name]


def test_a_read_that_a_service_refuses_is_not_sent_again(suite: RunningSuite) -> None:
    with (
        Witness("unavailable") as witness,
        Edge(suite, contacts_addresses=witness.address) as edge,
    ):
        edge.wait_healthy(witness.address)
        answer = call_grpc(edge.address, GET_CONTACT, bearer(suite.token()))
    assert (answer.code, answer.message) == (grpc.StatusCode.UNAVAILABLE, "away")
    assert len(witness.seen) == 1


def test_the_edge_goes_on_when_its_services_restart(tmp_path: Path) -> None:
    suite = RunningSuite(tmp_path)
    suite.start("contacts")
    headers = bearer(suite.token())
    with Edge(suite) as edge:
        assert call_http(edge.address, "GET", "/v1/contacts", headers).status == 200
        # Three of the four are away.
        assert call_http(edge.address, "GET", "/healthz").status == 503
        for restart in range(2):
            suite.kill("contacts")
            answer = call_http(edge.address, "GET", "/v1/contacts", headers)
            assert (answer.status, answer.reason) == (503, "UNAVAILABLE"), restart
            suite.start("contacts")
            until(
                lambda: call_http(edge.address, "GET", "/v1/contacts", headers).status == 200,
                "an answer of the new process",
            )
    suite.stop()


def test_the_health_of_the_edge_is_that_of_the_suite_until_it_is_drained(
    suite: RunningSuite,
) -> None:
    with Edge(suite) as edge:
        assert call_http(edge.address, "GET", "/healthz").status == 200
        edge.admin("POST", "/healthcheck/fail")
        drained = call_http(edge.address, "GET", "/healthz")
        assert drained.status == 503
        # Who is there already is served.
        headers = bearer(suite.token())
        assert call_http(edge.address, "GET", "/v1/contacts", headers).status == 200
        edge.admin("POST", "/healthcheck/ok")
        assert call_http(edge.address, "GET", "/healthz").status == 200


def test_with_a_certificate_the_edge_speaks_tls_and_nothing_else(
    suite: RunningSuite, tmp_path: Path
) -> None:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    write_certificate(certificate, key)
    with Edge(suite, tls_certificate_file=str(certificate), tls_key_file=str(key)) as edge:
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
        token = suite.token()
        with vafa.connect(edge.address, token=token, tls=credentials) as client:
            client.contacts.ListContacts(contacts_pb2.ListContactsRequest())
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            call_http(edge.address, "GET", "/healthz")
