"""Groups of hot writes when something fails: it fails alone, and the others are answered."""

import asyncio
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy import Connection, event, func, select
from sqlalchemy.exc import DBAPIError, OperationalError

from services.chassis import errors
from services.chassis.batch import BatchCommand
from services.chassis.call import Call
from services.chassis.database import Database
from services.chassis.identity import Principal
from services.chassis.metrics import Metrics
from services.chassis.migrate import migrate
from services.chassis.policy import method_of
from services.chassis.settings import ServiceSettings
from services.chassis.writes import Writes
from services.loyalty.schema import chassis, known_contacts
from tests.conftest import DATABASES
from tests.harness.postgres import Postgres
from vafa.loyalty.v1 import ledger_pb2

METHOD = method_of(
    ledger_pb2.DESCRIPTOR.services_by_name["LedgerService"].methods_by_name["AwardPoints"]
)
Request = ledger_pb2.AwardPointsRequest
Answer = ledger_pb2.LedgerTransaction


def a_call(request_id: str = "", principal: str = "tester", seconds: float = 10) -> Call:
    return Call(
        method=METHOD,
        principal=Principal(principal, ("admin",)),
        token="",
        request_id=request_id or str(uuid.uuid4()),
        request_hash=b"",
        ends_at=time.monotonic() + seconds,
    )


class NoteContacts:
    """A command that notes a contact for each request; what it did is told by its lists.

    A member named `refused` is refused, and one that begins with `twice` is inserted twice,
    which only the database finds out.
    """

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.command = BatchCommand[Request, None, Answer]("Note", self._gather, self._decide)

    def _gather(self, _connection: Connection, requests: Sequence[Request]) -> None:
        self.groups.append([request.member for request in requests])

    def _decide(self, _state: None, request: Request, writes: Writes) -> Answer:
        if request.member == "refused":
            raise errors.ResourceNotFound(request.member)
        row = {"contact": request.member, "confirmed": False}
        writes.insert(known_contacts, row)
        if request.member.startswith("twice"):
            writes.insert(known_contacts, row)
        writes.changed("contact.noted", request.member)
        return Answer(name=request.member)


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated database of loyalty."""
    url = f"sqlite:///{tmp_path}/loyalty.db"
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        url = postgres.create("groups")
    migrate("loyalty", url)
    return url


@asynccontextmanager
async def opened(url: str, **settings: Any) -> AsyncIterator[Database]:
    database = Database(
        ServiceSettings(database_url=url, listen="", metrics_listen="", **settings),
        chassis,
        Metrics(),
    )
    await database.open(lambda: None)
    try:
        yield database
    finally:
        await asyncio.get_running_loop().run_in_executor(None, database.close)


async def ask_all(
    database: Database, command: BatchCommand[Request, None, Answer], *asked: tuple[Call, str]
) -> list[Answer | BaseException]:
    """Ask at once, and return what each came to."""
    requests = [(call, Request(member=member)) for call, member in asked]
    return await asyncio.gather(
        *(database.batch(call, command, request) for call, request in requests),
        return_exceptions=True,
    )


async def known(database: Database) -> list[str]:
    query = select(known_contacts.c.contact).order_by(known_contacts.c.contact)
    return await database.read(lambda c: list(c.execute(query).scalars()))


async def counts(database: Database) -> list[int]:
    """How many rows stand in the idempotency table, the audit and the outbox."""
    tables = (chassis.idempotency, chassis.audit, chassis.outbox)
    return await database.read(
        lambda c: [c.execute(select(func.count()).select_from(t)).scalar_one() for t in tables]
    )


def test_a_command_that_the_database_refuses_fails_alone(database_url: str) -> None:
    async def scenario() -> None:
        notes = NoteContacts()
        async with opened(database_url) as database:
            members = ["a", "b", "twice", "c", "d"]
            asked = [(a_call(), member) for member in members]
            outcomes = await ask_all(database, notes.command, *asked)
            failed = [isinstance(outcome, DBAPIError) for outcome in outcomes]
            assert failed == [False, False, True, False, False]
            assert await known(database) == ["a", "b", "c", "d"]
            assert await counts(database) == [4, 4, 4]
        # They came together, and were asked again in halves.
        assert members in notes.groups
        assert notes.groups[-1] != members

    asyncio.run(scenario())


def test_a_refused_command_writes_nothing_and_is_not_stored(database_url: str) -> None:
    async def scenario() -> None:
        notes = NoteContacts()
        async with opened(database_url) as database:
            call = a_call()
            outcomes = await ask_all(
                database, notes.command, (a_call(), "a"), (call, "refused"), (a_call(), "b")
            )
            assert isinstance(outcomes[1], errors.ResourceNotFound)
            assert await known(database) == ["a", "b"]
            assert await counts(database) == [2, 2, 2]
            # Under the same id it may be asked again, with another outcome.
            [again] = await ask_all(database, notes.command, (call, "c"))
            assert isinstance(again, Answer)
            assert not call.replayed

    asyncio.run(scenario())


def test_a_group_whose_confirmation_was_lost_is_answered_whole(database_url: str) -> None:
    losses: list[Connection] = []

    def lose_confirmation(connection: Connection) -> None:
        if not losses:
            losses.append(connection)
            connection.connection.commit()
            lost = sqlite3.OperationalError("the connection was lost")
            raise OperationalError("COMMIT", None, lost)

    async def scenario() -> None:
        notes = NoteContacts()
        async with opened(database_url) as database:
            event.listen(database._writer, "commit", lose_confirmation)
            calls = [a_call() for _ in range(5)]
            asked = [(call, f"contact-{n}") for n, call in enumerate(calls)]
            outcomes = await ask_all(database, notes.command, *asked)
            assert [one.name for one in outcomes if isinstance(one, Answer)] == [
                member for _, member in asked
            ]
            assert not any(call.replayed for call in calls)
            assert len(losses) == 1
            assert await counts(database) == [5, 5, 5]

    asyncio.run(scenario())


def test_a_twin_that_comes_with_the_first_gets_its_answer(database_url: str) -> None:
    async def scenario() -> None:
        notes = NoteContacts()
        async with opened(database_url) as database:
            first, twin, other = a_call("one-id"), a_call("one-id"), a_call()
            outcomes = await ask_all(
                database, notes.command, (first, "a"), (twin, "a"), (other, "b")
            )
            assert [one.name for one in outcomes if isinstance(one, Answer)] == ["a", "a", "b"]
            assert [first.replayed, twin.replayed, other.replayed] == [False, True, False]
            assert first.serialized == twin.serialized is not None
            assert await counts(database) == [2, 2, 2]

    asyncio.run(scenario())


def test_callers_who_gave_up_before_their_group_began_write_nothing(database_url: str) -> None:
    async def scenario() -> None:
        notes = NoteContacts()
        async with opened(database_url) as database:
            tasks = [
                asyncio.create_task(
                    database.batch(a_call(), notes.command, Request(member=f"contact-{n}"))
                )
                for n in range(6)
            ]
            # They wait now, and none of their groups has begun.
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            given_up = [isinstance(outcome, asyncio.CancelledError) for outcome in done]
            assert given_up == [True, False] * 3
            assert await known(database) == [f"contact-{n}" for n in (1, 3, 5)]

    asyncio.run(scenario())


def test_who_has_no_time_left_is_refused_before_anything_is_done(database_url: str) -> None:
    async def scenario() -> None:
        notes = NoteContacts()
        async with opened(database_url) as database:
            late, timely = a_call(seconds=-0.01), a_call()
            outcomes = await ask_all(database, notes.command, (late, "late"), (timely, "timely"))
            assert isinstance(outcomes[0], errors.DeadlineExceeded)
            assert await known(database) == ["timely"]

    asyncio.run(scenario())


def test_more_than_may_wait_are_refused_and_told_when_to_come_back(database_url: str) -> None:
    async def scenario() -> None:
        notes = NoteContacts()
        async with opened(database_url, waiting_calls=10) as database:
            asked = [(a_call(), f"contact-{n:02}") for n in range(15)]
            outcomes = await ask_all(database, notes.command, *asked)
            refused = [one for one in outcomes if isinstance(one, errors.Overloaded)]
            assert len(refused) == 5
            assert all(one.code is grpc.StatusCode.RESOURCE_EXHAUSTED for one in refused)
            assert all(one.retry_delay_seconds for one in refused)
            assert await known(database) == [f"contact-{n:02}" for n in range(10)]

    asyncio.run(scenario())


def test_the_callers_of_a_group_take_turns(database_url: str) -> None:
    async def scenario() -> None:
        notes = NoteContacts()
        async with opened(database_url) as database:
            crowd = [(a_call(principal="crowd"), f"crowd-{n:03}") for n in range(200)]
            single = (a_call(principal="single"), "single")
            await ask_all(database, notes.command, *crowd, single)
        # In the first group, though two hundred came before.
        assert "single" in notes.groups[0]

    asyncio.run(scenario())
