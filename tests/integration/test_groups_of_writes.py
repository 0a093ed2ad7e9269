"""Storms of writes over one replica or two: whoever hangs up, freezes, dies or comes back, each
request that is answered has had one effect, and nothing else has happened.
"""

import asyncio
import signal
import time
from collections.abc import Iterator

import grpc
import psycopg
import pytest

from tests.conftest import DATABASES
from tests.harness.loyalty_asks import Club
from tests.harness.loyalty_storm import IN_FLIGHT, REPLICAS, Weather
from tests.harness.postgres import Postgres
from tests.harness.storm import Impatience, Storm, overtakers
from tests.harness.suite import RunningSuite

LIVE, OTHER = REPLICAS
HALF_HANG_UP = Impatience(0.5)
VOLLEYS = 600
UNAVAILABLE, DEADLINE_EXCEEDED = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
)
# Freezes of a replica, each at a moment when it holds locks.
FREEZES, FREEZE_SECONDS = 3, 3.0
# A transaction that is frozen is ended after one second, and whoever waited for it goes on.
HELD_UP_SECONDS = 2.5
# Transactions that hold locks, and whose client says nothing more.
LEFT_OPEN = """
SELECT 1 FROM pg_stat_activity
WHERE datname = current_database() AND backend_xid IS NOT NULL AND wait_event = 'ClientRead'
    AND state_change < clock_timestamp() - interval '50 ms'
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A PostgreSQL that may be killed, and that finds a deadlock before a wait for a lock ends."""
    server = Postgres(settings=["deadlock_timeout=50ms"])
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="module")
def on_postgresql(
    server: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningSuite]:
    """Two replicas of loyalty over one database."""
    urls = {"loyalty": server.create("groups")}
    running = RunningSuite(tmp_path_factory.mktemp("groups"), urls)
    running.start(*REPLICAS)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    """One loyalty on SQLite."""
    running = RunningSuite(tmp_path_factory.mktemp("groups-sqlite"))
    running.start("loyalty")
    yield running
    running.stop()


@pytest.fixture(params=DATABASES)
def running(request: pytest.FixtureRequest) -> RunningSuite:
    """Loyalty, once on each database."""
    found: RunningSuite = request.getfixturevalue(f"on_{request.param}")
    return found


@pytest.fixture(scope="module")
def clubs() -> dict[RunningSuite, Club]:
    """The club of each suite that has one."""
    return {}


def weather_over(running: RunningSuite, clubs: dict[RunningSuite, Club], seed: int) -> Weather:
    """Return the club of a suite, founded if it has none, before a storm."""
    if running not in clubs:
        with running.client() as client:
            clubs[running] = Club(client)
    return Weather(running, clubs[running], seed)


def deadlocks(server: Postgres) -> int:
    """Return how many deadlocks there have been."""
    return (server.folder / "log").read_text().count("deadlock detected")


def test_half_of_the_callers_hang_up_and_each_request_has_one_effect(
    running: RunningSuite, clubs: dict[RunningSuite, Club], server: Postgres
) -> None:
    weather = weather_over(running, clubs, seed=1)
    storm = weather.storm(VOLLEYS, HALF_HANG_UP)
    # Of those who had no answer, some requests had been carried out and some had not.
    replayed = {"idempotency-replayed" in one.trailers for one in storm.repeats if not one.error}
    assert replayed == {True, False}
    assert {"REQUEST_ID_REUSED", "INSUFFICIENT_POINTS"} <= {one.reason for one in storm.repeats}
    weather.require_one_effect_each(storm)
    assert deadlocks(server) == 0


def test_nobody_waits_behind_a_caller_who_has_hung_up(
    running: RunningSuite, clubs: dict[RunningSuite, Club]
) -> None:
    weather = weather_over(running, clubs, seed=2)
    calm = weather.storm(VOLLEYS // 3)
    storm = weather.storm(VOLLEYS // 3, HALF_HANG_UP)
    for patient in (calm.patient(), storm.patient()):
        assert len(patient) > VOLLEYS // 10
        assert all(reply.settled for reply in patient)
    at_once = IN_FLIGHT * len(weather.replicas)
    assert overtakers(storm.patient()) <= overtakers(calm.patient()) + 2 * at_once


class Freezes:
    """Freezes a replica several times in the middle of its work, and notes when."""

    def __init__(self, running: RunningSuite, name: str, server: Postgres) -> None:
        self._running = running
        self._name = name
        self._conninfo = server.conninfo("groups")
        self._periods: list[tuple[float, float]] = []

    async def happen(self, storm: Storm) -> None:
        """Freeze it and thaw it, again and again, once it has answered some each time."""
        for _ in range(FREEZES):
            await storm.grow(2 * IN_FLIGHT, self._name)
            try:
                await asyncio.to_thread(self._freeze_in_a_transaction)
                began_at = time.monotonic()
                await asyncio.sleep(FREEZE_SECONDS)
                self._periods.append((began_at, time.monotonic()))
            finally:
                self._running.signal(self._name, signal.SIGCONT)
        await storm.grow(2 * IN_FLIGHT, self._name)

    def covered(self, at: float) -> bool:
        """Whether it was frozen at that time."""
        return any(first <= at <= last for first, last in self._periods)

    def _freeze_in_a_transaction(self) -> None:
        """Stop it at a moment when it holds locks."""
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            for _ in range(200):
                self._running.signal(self._name, signal.SIGSTOP)
                time.sleep(0.07)
                if connection.execute(LEFT_OPEN).fetchall():
                    return
                self._running.signal(self._name, signal.SIGCONT)
                time.sleep(0.01)
        raise AssertionError("never stopped within a transaction")


def test_a_frozen_replica_holds_nobody_up_for_long(
    on_postgresql: RunningSuite, clubs: dict[RunningSuite, Club], server: Postgres
) -> None:
    weather = weather_over(on_postgresql, clubs, seed=3)
    freezes = Freezes(on_postgresql, OTHER, server)
    storm = weather.storm_while(freezes.happen)
    meanwhile = [
        reply
        for reply in storm.replies
        if reply.replica == LIVE and freezes.covered(reply.began_at)
    ]
    assert len(meanwhile) > FREEZES * IN_FLIGHT
    assert all(reply.settled for reply in meanwhile)
    longest = max(meanwhile, key=lambda reply: reply.ended_at - reply.began_at)
    assert longest.ended_at - longest.began_at < HELD_UP_SECONDS
    # Whoever asked the frozen one has lost three of five seconds.
    unsettled = {reply.code for reply in storm.replies if not reply.settled}
    assert unsettled <= {UNAVAILABLE, DEADLINE_EXCEEDED}
    weather.require_one_effect_each(storm)
    assert deadlocks(server) == 0


def test_a_replica_killed_while_it_commits_loses_nothing_and_doubles_nothing(
    running: RunningSuite, clubs: dict[RunningSuite, Club]
) -> None:
    weather = weather_over(running, clubs, seed=4)
    victim = weather.replicas[-1]

    async def kill_and_start(storm: Storm) -> None:
        await storm.grow(2 * IN_FLIGHT, victim)
        await asyncio.to_thread(running.kill, victim)
        await asyncio.to_thread(running.start, victim)
        await storm.grow(2 * IN_FLIGHT, victim)

    storm = weather.storm_while(kill_and_start)
    assert {reply.code for reply in storm.replies if not reply.settled} == {UNAVAILABLE}
    weather.require_one_effect_each(storm)


def test_a_postgresql_that_is_killed_loses_nothing_and_doubles_nothing(
    on_postgresql: RunningSuite, clubs: dict[RunningSuite, Club], server: Postgres
) -> None:
    weather = weather_over(on_postgresql, clubs, seed=5)

    async def kill_and_start(storm: Storm) -> None:
        await storm.grow(2 * IN_FLIGHT, OTHER)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await storm.grow(2 * IN_FLIGHT, OTHER)

    storm = weather.storm_while(kill_and_start, HALF_HANG_UP)
    unsettled = {reply.code for reply in storm.patient() if not reply.settled}
    assert UNAVAILABLE in unsettled
    assert unsettled <= {UNAVAILABLE, DEADLINE_EXCEEDED}
    weather.require_one_effect_each(storm)
