"""The numbering of events: dense, each once, in the order of ids as far as they are committed."""

import random
import threading
import uuid
from collections.abc import Iterator, Sequence

import pytest
from sqlalchemy import Connection, Engine, create_engine, select, text

from services.chassis.migrate import migrate
from services.chassis.rows import EPOCH
from services.chassis.sequencer import (
    NUMBERED_EVENTS,
    Numbered,
    number_committed,
    number_events,
)
from services.contacts.schema import chassis
from tests.conftest import DATABASES
from tests.harness.postgres import Postgres

outbox, store = chassis.outbox, chassis.store


@pytest.fixture
def engine(postgres: Postgres) -> Iterator[Engine]:
    """A database of PostgreSQL whose feed is empty."""
    url = postgres.create("numbering")
    migrate("contacts", url)
    engine = create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture(params=DATABASES)
def connection(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Connection]:
    """A connection to an empty feed, once on each database."""
    if request.param == "postgresql":
        engine: Engine = request.getfixturevalue("engine")
    else:
        url = f"sqlite:///{tmp_path_factory.mktemp('numbering')}/contacts.db"
        migrate("contacts", url)
        engine = create_engine(url)
    with engine.connect() as connection:
        yield connection


def insert(connection: Connection, count: int = 1) -> list[bytes]:
    """Insert events without positions; return their payloads."""
    payloads = [uuid.uuid4().bytes for _ in range(count)]
    rows = [
        {
            "aggregatetype": "contact",
            "aggregateid": "contacts/ada",
            "type": "contact.updated",
            "payload": payload,
            "create_time": EPOCH,
        }
        for payload in payloads
    ]
    connection.execute(outbox.insert(), rows)
    return payloads


def number(engine: Engine) -> Numbered | None:
    """Number once, in a transaction."""
    with engine.begin() as connection:
        return number_committed(connection, chassis)


def feed(connection: Connection) -> list[tuple[int, bytes]]:
    """Return the numbered events, after checking that the head is behind the last."""
    query = select(outbox.c.position, outbox.c.payload).order_by(outbox.c.position)
    rows = connection.execute(query.where(outbox.c.position.is_not(None))).all()
    assert connection.execute(select(store.c.head_position)).scalar_one() == len(rows)
    return [(row.position, row.payload) for row in rows]


def from_one(payloads: Sequence[bytes]) -> list[tuple[int, bytes]]:
    """Return a dense feed of these events."""
    return list(enumerate(payloads, 1))


def test_what_commits_late_is_numbered_after_what_was_numbered_before(engine: Engine) -> None:
    with engine.connect() as late:
        late_payloads = insert(late, 2)
        with engine.begin() as other:
            payloads = insert(other, 3)
        first = number(engine)
        late.commit()
    second = number(engine)
    assert first is not None
    assert second is not None
    assert first.events == from_one(payloads)
    assert first.head_position == 3
    assert second.events == [(4, late_payloads[0]), (5, late_payloads[1])]
    assert second.head_position == 5
    with engine.connect() as connection:
        assert feed(connection) == from_one([*payloads, *late_payloads])


def test_who_finds_another_numbering_is_turned_away_and_goes_on_from_its_head(
    engine: Engine,
) -> None:
    with engine.begin() as writer:
        payloads = insert(writer, 2)
    with engine.connect() as one:
        seen = number_committed(one, chassis)
        assert seen is not None
        assert seen.events == from_one(payloads)
        with engine.begin() as writer:
            payloads += insert(writer)
        assert number(engine) is None
        one.commit()
    then = number(engine)
    assert then is not None
    assert then.events == [(3, payloads[2])]
    nothing = number(engine)
    assert nothing is not None
    assert (nothing.epoch, nothing.head_position, nothing.events) == (then.epoch, 3, [])


def test_writers_who_commit_or_roll_back_in_any_order_and_two_who_number_make_a_dense_feed(
    engine: Engine,
) -> None:
    written: list[bytes] = []
    told: list[tuple[int, bytes]] = []
    done = threading.Event()

    def write(seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311
        with engine.connect() as connection:
            for _ in range(60):
                payloads = insert(connection, chance.randint(1, 3))
                done.wait(chance.random() * 0.004)
                if chance.random() < 0.1:
                    connection.rollback()
                else:
                    connection.commit()
                    written.extend(payloads)

    def sequence() -> None:
        is_last = False
        while not is_last:
            is_last = done.is_set()
            while (numbered := number(engine)) is None or numbered.events:
                told.extend(numbered.events if numbered else [])

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    sequencers = [threading.Thread(target=sequence) for _ in range(2)]
    for thread in (*writers, *sequencers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in sequencers:
        thread.join()
    with engine.connect() as connection:
        numbered = feed(connection)
    assert [position for position, _ in numbered] == list(range(1, len(written) + 1))
    assert {payload for _, payload in numbered} == set(written)
    assert sorted(told) == numbered


def test_more_than_one_statement_numbers_are_numbered_in_their_order(
    connection: Connection,
) -> None:
    payloads = insert(connection, 2 * NUMBERED_EVENTS + 1)
    assert number_events(connection, chassis) == len(payloads)
    assert number_events(connection, chassis) == 0
    assert feed(connection) == from_one(payloads)
    payloads += insert(connection, NUMBERED_EVENTS)
    assert number_events(connection, chassis) == NUMBERED_EVENTS
    assert feed(connection) == from_one(payloads)


def test_a_numbering_takes_no_more_than_its_share_and_the_next_goes_on(engine: Engine) -> None:
    with engine.begin() as writer:
        payloads = insert(writer, NUMBERED_EVENTS + 2)
    shares = [number(engine) for _ in range(2)]
    assert [len(share.events) for share in shares if share] == [NUMBERED_EVENTS, 2]
    with engine.connect() as connection:
        assert feed(connection) == from_one(payloads)


def test_the_numbering_reads_what_it_numbers_and_not_the_feed(engine: Engine) -> None:
    plans: list[str] = []
    with engine.begin() as connection:
        insert(connection, 20_000)
        number_events(connection, chassis)
        # Statistics of a moment when much was without a position: the worst that may be.
        insert(connection, NUMBERED_EVENTS)
    with engine.begin() as connection:
        connection.execute(text("ANALYZE outbox"))
        connection.execute(text("LOAD 'auto_explain'"))
        connection.execute(text("SET LOCAL auto_explain.log_min_duration = 0"))
        connection.execute(text("SET LOCAL client_min_messages = log"))
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.add_notice_handler(lambda notice: plans.append(notice.message_primary))
        number_committed(connection, chassis)
    plan = next(one for one in plans if "Update on outbox" in one)
    assert "Index Scan using pk_outbox on outbox" in plan
    assert "Seq Scan on outbox" not in plan
