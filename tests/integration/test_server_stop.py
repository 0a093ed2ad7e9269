"""How a server keeps deadlines, outlives its database, and stops."""

import signal
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

import vafa
from tests.harness.alone import ContactsAlone, alone_on, create, log_lines
from tests.harness.postgres import Postgres
from tests.harness.suite import RunningSuite
from tests.harness.waiting import until
from vafa.contacts.v1 import contacts_pb2
from vafa.events.v1 import events_pb2

GetContact = contacts_pb2.GetContactRequest


@contextmanager
def writes_held_up(database_url: str) -> Iterator[None]:
    """Keep the contacts of a database locked against all writers."""
    engine = create_engine(database_url, poolclass=NullPool)
    with engine.connect() as connection:
        is_sqlite = engine.dialect.name == "sqlite"
        lock = "BEGIN IMMEDIATE" if is_sqlite else "LOCK TABLE contacts IN EXCLUSIVE MODE"
        connection.exec_driver_sql(lock)
        try:
            yield
        finally:
            connection.rollback()
    engine.dispose()


class TestDeadline:
    """A caller waits as long as the caller says and not longer."""

    def test_a_deadline_shorter_than_the_work_is_kept(self, suite: RunningSuite) -> None:
        with suite.client() as client:
            create(client)
            with writes_held_up(suite.database_urls["contacts"]):
                began_at = time.monotonic()
                with pytest.raises(vafa.DeadlineExceeded):
                    create(client, timeout=0.4)
                # Held up for ever, it would be given up as UNAVAILABLE in the end.
                assert 0.2 < time.monotonic() - began_at < 3
            assert create(client).name

    def test_the_service_itself_says_that_the_deadline_passed(self, suite: RunningSuite) -> None:
        with suite.client() as client:
            create(client)

            def reason() -> str:
                with pytest.raises(vafa.DeadlineExceeded) as refused:
                    create(client, timeout=0.4)
                return refused.value.reason

            with writes_held_up(suite.database_urls["contacts"]):
                # It answers a little before the caller gives up: on a busy machine at times too
                # late.
                until(lambda: reason() == "DEADLINE_EXCEEDED")


class TestStop:
    """A service that is stopped loses no call."""

    def test_calls_are_served_while_the_service_drains(self, alone: ContactsAlone) -> None:
        alone.start("contacts", drain_delay_seconds="3", stop_grace_seconds="5")
        with alone.client() as client, ThreadPoolExecutor(1) as thread:
            name = create(client).name
            alone.signal("contacts", signal.SIGTERM)
            until(lambda: not alone.is_ready("contacts"))
            assert alone.is_ready("contacts", "liveness")
            assert not alone.is_ready("contacts", "vafa.contacts.v1.ContactService")
            assert client.contacts.GetContact(GetContact(name=name)).name == name
            assert create(client).name
            with writes_held_up(alone.database_urls["contacts"]):
                in_flight = thread.submit(create, client)
                until(lambda: not listens(alone.addresses["contacts"]))
                assert not in_flight.done()
            assert in_flight.result(timeout=5).name
        assert alone.exit_code() == 0
        assert '"event": "stopped"' in alone.log("contacts")

    def test_the_line_of_every_call_is_written_before_the_end(self, alone: ContactsAlone) -> None:
        alone.start("contacts")
        subject = str(uuid.uuid4())
        with alone.client(subject=subject) as client:
            for _ in range(20):
                client.contacts.ListContacts(contacts_pb2.ListContactsRequest())
            alone.signal("contacts", signal.SIGTERM)
        assert alone.exit_code() == 0
        lines = [line for line in log_lines(alone) if line.get("principal") == subject]
        assert [line["method"] for line in lines] == ["ListContacts"] * 20

    def test_no_call_fails_while_one_of_two_replicas_is_restarted(
        self, tmp_path: Path, postgres: Postgres
    ) -> None:
        # Longer than a client takes to find a replica that is back.
        settings = {"drain_delay_seconds": "1.5", "stop_grace_seconds": "5"}
        with alone_on(postgres.create("server_replicas"), tmp_path) as suite:
            suite.start("contacts", "contacts-2", **settings)
            both = f"ipv4:{suite.addresses['contacts']},{suite.addresses['contacts-2']}"
            with (
                vafa.connect({"contacts": both}, token=suite.token) as client,
                steady_calls(client) as failures,
            ):
                suite.signal("contacts", signal.SIGTERM)
                assert suite.exit_code("contacts") == 0
                suite.start("contacts", **settings)
            assert failures == []

    def test_a_caller_who_waits_is_served_by_the_next_process(self, alone: ContactsAlone) -> None:
        alone.start("contacts")
        with alone.client() as client, ThreadPoolExecutor(1) as thread:
            name = create(client).name
            alone.kill("contacts")
            waiting: Future[contacts_pb2.Contact] = thread.submit(
                client.contacts.GetContact, GetContact(name=name), wait_for_ready=True, timeout=20
            )
            alone.start("contacts")
            assert waiting.result(timeout=20).name == name


def listens(address: str) -> bool:
    """Whether somebody takes connections at an address."""
    host, port = address.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


@contextmanager
def steady_calls(client: vafa.Suite) -> Iterator[list[str]]:
    """Read and write without a pause meanwhile; the list fills with what failed."""
    failures: list[str] = []
    done = {"calls": 0, "ends": 0}

    def call() -> None:
        while not done["ends"]:
            try:
                contact = create(client)
                client.contacts.GetContact(GetContact(name=contact.name))
                done["calls"] += 1
            except vafa.VafaError as error:
                failures.append(str(error))

    with ThreadPoolExecutor(3) as threads:
        running = [threads.submit(call) for _ in range(3)]
        yield failures
        done["ends"] = 1
        for each in running:
            each.result(timeout=20)
    assert done["calls"] > 100


@pytest.fixture
def killable() -> Iterator[Postgres]:
    """A PostgreSQL of a test's own."""
    server = Postgres()
    server.start()
    yield server
    server.remove()


@contextmanager
def started_client(suite: ContactsAlone) -> Iterator[vafa.Suite]:
    """Start the service and give a client of it."""
    suite.start("contacts")
    with suite.client() as client:
        yield client


class TestOutage:
    """A service outlives its database."""

    def test_a_service_is_alive_but_not_ready_while_its_database_is_gone(
        self, tmp_path: Path, killable: Postgres
    ) -> None:
        database_url = killable.create("contacts")
        with alone_on(database_url, tmp_path) as suite, started_client(suite) as client:
            name = create(client).name
            calls: list[Callable[[], object]] = [
                lambda: create(client, timeout=2),
                lambda: client.contacts.GetContact(GetContact(name=name), timeout=2),
            ]
            codes: set[str] = set()

            def fails_and_is_not_ready() -> bool:
                for call in calls:
                    began_at = time.monotonic()
                    with pytest.raises(vafa.VafaError) as failed:
                        call()
                    assert time.monotonic() - began_at < 5
                    codes.add(failed.value.code.name)
                assert suite.is_ready("contacts", "liveness")
                return not suite.is_ready("contacts")

            killable.kill()
            until(fails_and_is_not_ready)
            assert fails_and_is_not_ready()
            assert codes == {"UNAVAILABLE"}
            killable.start()
            until(lambda: suite.is_ready("contacts"))
            assert client.contacts.GetContact(GetContact(name=name)).name == name
            assert create(client).name
            assert suite.is_running()
            events = {(line["event"], line["process"]) for line in log_lines(suite)}
            # Said by a thread of the database, and not by the event loop.
            assert ("database_transient", "contacts") in events
            assert not {"defect", "background_ended"} & {event for event, _ in events}


def test_a_read_that_a_lock_holds_up_is_given_up_and_frees_its_connection(
    postgres: Postgres, tmp_path: Path
) -> None:
    url = postgres.create("held_contacts")
    with alone_on(url, tmp_path) as alone:
        alone.start("contacts", reader_connections="1", statement_timeout_seconds="1")
        engine = create_engine(url, poolclass=NullPool)
        with alone.client() as client, engine.begin() as holder:
            holder.execute(text("LOCK TABLE contacts IN ACCESS EXCLUSIVE MODE"))
            with pytest.raises((vafa.Unavailable, vafa.DeadlineExceeded)):
                client.contacts.GetContact(GetContact(name="contacts/nobody"))
            feed = events_pb2.ListEventsRequest(parent="feeds/contacts")
            assert not client.events("contacts").ListEvents(feed, timeout=3).events
            holder.rollback()
        engine.dispose()
