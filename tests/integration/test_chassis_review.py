"""What holds in the chassis when several things happen at once, or one of them fails."""

import asyncio
import sqlite3
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.longrunning import operations_pb2
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from sqlalchemy import create_engine, func, select, text, update
from sqlalchemy.exc import DBAPIError, OperationalError

import vafa
from services.chassis import operations, sequencer
from services.chassis.call import Call
from services.chassis.database import Database
from services.chassis.identity import Principal
from services.chassis.metrics import Metrics
from services.chassis.migrate import migrate
from services.chassis.operations import Kind, Operations, Progress
from services.chassis.parking import Parking, park
from services.chassis.policy import method_of
from services.chassis.settings import ServiceSettings
from services.chassis.transaction import Transaction
from services.loyalty.schema import chassis
from tests.harness.postgres import Postgres
from tests.harness.suite import RunningSuite
from vafa.events.v1 import events_pb2

SOURCE = "feeds/contacts"


def a_call() -> Call:
    """Return a call of RedriveEvents that has ten seconds."""
    service = events_pb2.DESCRIPTOR.services_by_name["EventService"]
    return Call(
        method=method_of(service.methods_by_name["RedriveEvents"]),
        principal=Principal("tester", ("admin",)),
        token="",
        request_id=str(uuid.uuid4()),
        request_hash=b"",
        ends_at=time.monotonic() + 10,
    )


@asynccontextmanager
async def opened(url: str, told: list[str]) -> AsyncIterator[Database]:
    """A database with the tables of loyalty; `told` grows by a commit of events."""
    settings = ServiceSettings(database_url=url, listen="", metrics_listen="")
    database = Database(settings, chassis, Metrics())
    await database.open(lambda: told.append("events"))
    yield database
    await asyncio.get_running_loop().run_in_executor(None, database.close)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A migrated SQLite database."""
    url = f"sqlite:///{tmp_path}/loyalty.db"
    migrate("loyalty", url)
    return url


@pytest.fixture(scope="module")
def postgresql_url(postgres: Postgres) -> str:
    """A migrated PostgreSQL database, used by all tests of this module."""
    url = postgres.create("chassis_review")
    migrate("loyalty", url)
    return url


async def until_true(holds: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """Wait until an asynchronous question is answered with yes; fails if it is not."""
    async with asyncio.timeout(seconds):
        while not await holds():
            await asyncio.sleep(0.02)


def test_a_redrive_that_fails_tells_of_nothing(sqlite_url: str) -> None:
    def tell_and_fail(transaction: Transaction, events: Sequence[events_pb2.Event]) -> None:
        transaction.changed("member.updated", "programs/p/members/m")
        raise ValueError(events[0].subject)

    told_in = (chassis.outbox, chassis.audit)

    async def redrive() -> tuple[events_pb2.RedriveEventsResponse, int, int]:
        event = events_pb2.Event(type="contact.created", subject="contacts/ada", position=1)
        async with opened(sqlite_url, []) as database:
            await database.bulk(lambda t: park(t, chassis, SOURCE, "epoch", event, 3, "failed"))
            parking = Parking(database, {SOURCE: {"contact.created": tell_and_fail}})
            request = events_pb2.RedriveEventsRequest(source=SOURCE, subject=event.subject)
            answer = await parking.redrive(request, a_call())
            events, audit = (select(func.count()).select_from(t) for t in told_in)
            counts = await database.read(
                lambda c: (c.execute(events).scalar_one(), c.execute(audit).scalar_one())
            )
            return answer, *counts

    answer, events_count, audit_count = asyncio.run(redrive())
    assert (answer.applied_count, answer.parked_count) == (0, 1)
    assert (events_count, audit_count) == (0, 0)


def test_two_replicas_that_prune_at_once_never_move_the_pruned_position_back(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequencer, "CHUNK", 2)
    engine = create_engine(postgresql_url)
    now = datetime.now(UTC)
    old = {
        "aggregatetype": "contact",
        "aggregateid": "contacts/ada",
        "type": "contact.created",
        "payload": b"",
        "create_time": now - timedelta(days=1),
    }
    with engine.begin() as connection:
        connection.execute(chassis.outbox.insert(), [old] * 6)
        while sequencer.number_events(connection, chassis):
            pass

    def prune() -> None:
        with engine.begin() as connection:
            sequencer.prune_events(connection, chassis, now)

    second = threading.Thread(target=prune)
    with engine.begin() as first:
        for _ in range(2):
            assert sequencer.prune_events(first, chassis, now) == 2
        second.start()
        waits = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as watcher:
            ends_at = time.monotonic() + 10
            while not watcher.execute(waits).scalar_one():
                assert time.monotonic() < ends_at
                time.sleep(0.02)
    second.join()
    with engine.connect() as connection:
        lowest = connection.execute(select(func.min(chassis.outbox.c.position))).scalar_one()
        pruned = connection.execute(select(chassis.store.c.pruned_position)).scalar_one()
    engine.dispose()
    assert pruned == lowest - 1


def test_a_commit_is_told_of_though_its_caller_has_given_up(sqlite_url: str) -> None:
    begun, may_end = threading.Event(), threading.Event()
    told: list[str] = []

    def work(transaction: Transaction) -> Empty:
        transaction.changed("member.updated", "programs/p/members/m")
        begun.set()
        assert may_end.wait(10)
        return Empty()

    async def give_up() -> None:
        async with opened(sqlite_url, told) as database:
            writing = asyncio.create_task(database.write(a_call(), work))
            await asyncio.to_thread(begun.wait)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            assert not told
            may_end.set()

            async def was_told() -> bool:
                return bool(told)

            await until_true(was_told, 5)

    asyncio.run(give_up())


@asynccontextmanager
async def running(database: Database, run: Any) -> AsyncIterator[Operations]:
    """Operations of one kind, `work`, that are taken up meanwhile."""
    served = Operations("loyalty", database, {"work": Kind(Empty, run)})
    task = asyncio.create_task(served.run())
    yield served
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def begin(database: Database, served: Operations) -> operations_pb2.Operation:
    """Start an operation in a transaction of its own."""
    return await database.write(a_call(), lambda t: served.start(t, "work", Empty(), Empty()))


async def ask(served: Operations, name: str) -> operations_pb2.Operation:
    """Return how an operation stands."""
    return await served.GetOperation(operations_pb2.GetOperationRequest(name=name), a_call())


def test_an_operation_is_taken_up_at_once_though_another_call_commits_before_its_own(
    postgresql_url: str,
) -> None:
    async def at_once(_request: Message, _progress: Progress) -> Message:
        return Empty()

    async def start_amid_commits() -> None:
        async with opened(postgresql_url, []) as database, running(database, at_once) as served:
            started, may_end = threading.Event(), threading.Event()

            def start(transaction: Transaction) -> operations_pb2.Operation:
                operation = served.start(transaction, "work", Empty(), Empty())
                started.set()
                assert may_end.wait(10)
                return operation

            starting = asyncio.create_task(database.write(a_call(), start))
            await asyncio.to_thread(started.wait)
            await database.write(a_call(), lambda _: Empty())
            # One thread serves this lane: by then whoever was woken has looked.
            for _ in range(5):
                await database.upkeep(lambda c: c.execute(select(1)).scalar_one())
            may_end.set()
            name = (await starting).name

            async def is_done() -> bool:
                return bool((await ask(served, name)).done)

            await until_true(is_done, operations.LOOK_SECONDS - 2)

    asyncio.run(start_amid_commits())


def test_a_runner_whose_operation_another_took_up_ends_and_records_nothing(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "RENEW_SECONDS", 0.05)

    async def lose_the_lease() -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def until_ended(_request: Message, _progress: Progress) -> Message:
            begun.set()
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()
            return Empty()

        async with opened(sqlite_url, []) as database, running(database, until_ended) as served:
            name = (await begin(database, served)).name
            await asyncio.wait_for(begun.wait(), 5)
            taken = update(chassis.operations).values(lease_time=datetime.now(UTC))
            await database.upkeep(lambda c: c.execute(taken).rowcount)
            await asyncio.wait_for(ended.wait(), 5)
            assert not (await ask(served, name)).done

    asyncio.run(lose_the_lease())


def test_an_operation_that_runs_at_the_stop_ends_before_it_and_is_left_to_others(
    sqlite_url: str,
) -> None:
    async def stop() -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def until_ended(_request: Message, _progress: Progress) -> Message:
            begun.set()
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()
            return Empty()

        async with opened(sqlite_url, []) as database:
            async with running(database, until_ended) as served:
                name = (await begin(database, served)).name
                await asyncio.wait_for(begun.wait(), 5)
            assert ended.is_set()
            assert not (await ask(served, name)).done

    asyncio.run(stop())


def test_an_error_of_postgresql_quotes_no_row(postgresql_url: str) -> None:
    statement = text(
        "INSERT INTO cursors (source, epoch, position) VALUES ('ada@example.org', 'e', 1)"
    )

    async def fail() -> DBAPIError:
        async with opened(postgresql_url, []) as database:
            with pytest.raises(DBAPIError) as failed:
                await database.read(lambda c: c.execute(statement).rowcount)
            return failed.value

    error = asyncio.run(fail())
    assert "update_time" in str(error)
    assert "ada@example.org" not in f"{error.orig}"


def test_a_migration_that_fails_halfway_leaves_nothing_on_sqlite(tmp_path: Path) -> None:
    file = tmp_path / "loyalty.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE store (id INTEGER)")
    connection.close()
    with pytest.raises(OperationalError, match="store already exists"):
        migrate("loyalty", f"sqlite:///{file}")
    connection = sqlite3.connect(file)
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    connection.close()
    assert tables == [("store",)]


def test_a_service_that_stops_sends_its_followers_away_at_once(tmp_path: Path) -> None:
    suite = RunningSuite(tmp_path, {"contacts": f"sqlite:///{tmp_path}/contacts.db"})
    suite.start("contacts", stop_grace_seconds="12")
    with suite.client() as client:
        request = events_pb2.StreamEventsRequest(parent=SOURCE)
        stream = client.events("contacts").StreamEvents(request)
        next(iter(stream))
        began = time.monotonic()
        suite.stop()
        assert time.monotonic() - began < 6
        with pytest.raises(vafa.Unavailable):
            list(stream)
