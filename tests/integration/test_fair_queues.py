"""A caller who floods a service holds up itself, and nobody else; what is too much is refused.

Each flood comes while nobody can write, so that all of it waits; then the writers are let go on,
and what is judged is the order in which the calls end.
"""

import asyncio
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from tests.conftest import DATABASES
from tests.harness.loyalty_asks import Club, award
from tests.harness.loyalty_books import Books
from tests.harness.postgres import Postgres
from tests.harness.storm import Ask, Replica, Reply
from tests.harness.suite import RunningSuite
from vafa.loyalty.v1 import members_pb2

# How many may wait, and how many a flood is that is too much.
CALLS_LIMIT, BATCHES_LIMIT = 200, 20
TOO_MANY_CALLS, TOO_MANY_BATCHES = 300, 60
# A group takes so many at most: one is under way, and those who come later are in the next.
LARGEST_GROUP = 64
TURNS = 2 * LARGEST_GROUP
# Batches that are under way, each on a connection, and one whose turn it is.
BATCHES_BEFORE = 4 + 1
FLOODER, PASSER_BY = "flooder", "passer-by"
PATIENCE_SECONDS = 20.0


@pytest.fixture(scope="module", params=DATABASES)
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningSuite]:
    """One loyalty that waits long for locks, once on each database."""
    urls = None
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        urls = {"loyalty": postgres.create("fair_queues")}
    running = RunningSuite(tmp_path_factory.mktemp("fair-queues"), urls)
    running.start(
        "loyalty",
        lock_timeout_seconds="30",
        waiting_calls=str(CALLS_LIMIT),
        waiting_batches=str(BATCHES_LIMIT),
    )
    yield running
    running.stop()


@pytest.fixture(scope="module")
def club(running: RunningSuite) -> Club:
    """A club on it."""
    with running.client() as client:
        return Club(client)


@contextmanager
def writes_held_up(running: RunningSuite) -> Iterator[None]:
    """Let nobody write to the members."""
    engine = create_engine(running.database_urls["loyalty"], poolclass=NullPool)
    with engine.connect() as connection:
        is_sqlite = engine.dialect.name == "sqlite"
        lock = "BEGIN IMMEDIATE" if is_sqlite else "LOCK TABLE members IN EXCLUSIVE MODE"
        connection.exec_driver_sql(lock)
        try:
            yield
        finally:
            connection.rollback()
    engine.dispose()


def taken_up(running: RunningSuite) -> float:
    """Return how many requests loyalty has ever read and let in."""
    url = f"http://{running.metrics_addresses['loyalty']}/metrics"
    with urllib.request.urlopen(url, timeout=5) as page:
        families = list(text_string_to_metric_families(page.read().decode()))
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == "grpc_server_msg_received_total"
        and sample.labels["grpc_service"].startswith("vafa.loyalty")
    )


class Calls:
    """Calls that are under way, in the order in which they end."""

    def __init__(self, running: RunningSuite, subject: str) -> None:
        self._running = running
        self._subject = subject
        self._tasks: list[asyncio.Task[None]] = []
        self.ended: list[Reply] = []

    async def begin(self, asks: Sequence[Ask]) -> None:
        """Ask all of it, and return once the service has taken it up."""
        before = await asyncio.to_thread(taken_up, self._running)
        token = self._running.token(subject=self._subject)
        self._replica = Replica("loyalty", self._running.addresses["loyalty"], token)
        self._tasks = [asyncio.create_task(self._ask(ask)) for ask in asks]
        ends_at = time.monotonic() + PATIENCE_SECONDS
        while await asyncio.to_thread(taken_up, self._running) < before + len(asks):
            assert time.monotonic() < ends_at, "not all of it was taken up"
            await asyncio.sleep(0.05)

    async def _ask(self, ask: Ask) -> None:
        self.ended.append(await self._replica.ask(ask, timeout_seconds=PATIENCE_SECONDS))

    async def end(self) -> list[Reply]:
        """Wait until all have ended."""
        await asyncio.gather(*self._tasks)
        await self._replica.close()
        return self.ended


@asynccontextmanager
async def flooded(
    running: RunningSuite, flood: Sequence[Ask], others: Sequence[Ask]
) -> AsyncIterator[tuple[Calls, Calls]]:
    """Take up a flood and then the calls of a passer-by, and let all of them go on."""
    flooding, passing = Calls(running, FLOODER), Calls(running, PASSER_BY)
    with writes_held_up(running):
        await flooding.begin(flood)
        await passing.begin(others)
    yield flooding, passing
    await flooding.end()


def passed(running: RunningSuite, flood: Sequence[Ask], others: Sequence[Ask]) -> tuple[int, int]:
    """Return how many of a flood had ended before all calls of a passer-by had, and how many of
    it there were; fails unless all of them were answered.
    """

    async def both() -> tuple[int, int]:
        async with flooded(running, flood, others) as (flooding, passing):
            answers = await passing.end()
            before = len(flooding.ended)
        assert {reply.reason for reply in (*answers, *flooding.ended)} == {""}
        return before, len(flooding.ended)

    return asyncio.run(both())


def an_enrolment(club: Club) -> Ask:
    """Return a call that enrols a new contact, which goes by itself and not in a group."""
    member = members_pb2.Member(contact=f"contacts/{uuid.uuid4()}")
    return Ask(members_pb2.CreateMemberRequest(parent=club.program, member=member))


def test_a_flood_of_single_calls_is_overtaken_by_the_call_of_another(
    running: RunningSuite, club: Club
) -> None:
    flood = [Ask(award(member, 1)) for member in club.members[:CALLS_LIMIT]]
    before, count = passed(running, flood, [Ask(award(club.hot[0], 1))])
    assert before <= TURNS
    assert count == CALLS_LIMIT


def test_a_flood_of_batches_is_overtaken_by_single_calls(running: RunningSuite, club: Club) -> None:
    flood = [Ask(club.award_all(club.members[n : n + 50])) for n in range(BATCHES_LIMIT)]
    others = [Ask(award(club.hot[0], 1)), an_enrolment(club)]
    before, count = passed(running, flood, others)
    assert before <= BATCHES_BEFORE
    assert count == BATCHES_LIMIT


def require_refused(replies: Sequence[Reply]) -> None:
    """Fail unless calls were refused as too many."""
    for reply in replies:
        assert reply.error
        assert (reply.code, reply.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert reply.error.retry_delay_seconds
        assert reply.error.retry_delay_seconds > 0


@pytest.mark.parametrize("of_batches", [False, True])
def test_what_is_too_much_of_a_flood_is_refused_and_the_call_of_another_is_not(
    running: RunningSuite, club: Club, *, of_batches: bool
) -> None:
    books = Books(running.database_urls["loyalty"])
    if of_batches:
        limit, other = BATCHES_LIMIT, Ask(club.award_all(club.hot))
        flood = [Ask(club.award_all(club.hot)) for _ in range(TOO_MANY_BATCHES)]
    else:
        limit, other = CALLS_LIMIT, Ask(award(club.hot[0], 1))
        flood = [Ask(award(member, 1)) for member in club.members[:TOO_MANY_CALLS]]

    async def both() -> tuple[Sequence[Reply], Sequence[Reply]]:
        async with flooded(running, flood, [other]) as (flooding, passing):
            answers = await passing.end()
        return flooding.ended, answers

    replies, answers = asyncio.run(both())
    answered = [reply for reply in replies if not reply.error]
    require_refused([reply for reply in replies if reply.error])
    # Beside those who wait, those who are under way.
    assert limit <= len(answered) <= limit + LARGEST_GROUP + BATCHES_BEFORE
    assert {reply.reason for reply in answers} == {""}
    news = Books(running.database_urls["loyalty"]).since(books)
    acknowledged = {reply.ask.request.request_id for reply in (*answered, *answers)}
    assert {request_id for _, request_id in news.answers} == acknowledged
    assert {row.reason for row in news.transactions.values()} == acknowledged
