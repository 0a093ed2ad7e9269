"""What the commands of a group write together, against the same written one after the other."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    ForeignKeyConstraint,
    MetaData,
    Table,
    create_engine,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.pool import StaticPool

from services.chassis.engines import SQLITE_PRAGMAS, prepare_sqlite
from services.chassis.rows import Text
from services.chassis.schema import chassis_tables
from services.chassis.transaction import Transaction
from services.chassis.writes import RunAgain, Writes, finish
from vafa.events.v1 import events_pb2

metadata = MetaData()
chassis = chassis_tables(metadata)
# By their names they come in the wrong order: books refer to zones.
zones = Table(
    "zones",
    metadata,
    Column("zone", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
)
books = Table(
    "books",
    metadata,
    Column("zone", Text, primary_key=True),
    Column("book", BigInteger, primary_key=True),
    Column("pages", BigInteger, nullable=False),
    Column("reader", Text, nullable=True),
    ForeignKeyConstraint(["zone"], ["zones.zone"]),
)
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ZONES = ["a", "b"]
BOOKS = 3
Key = tuple[str, int]
# What a command does: adds books, and sets columns of books.
keys = st.tuples(st.sampled_from(ZONES), st.integers(1, BOOKS))
values = st.fixed_dictionaries(
    {},
    optional={"pages": st.integers(0, 9), "reader": st.sampled_from(["ada", "bob", None])},
).filter(bool)
commands = st.lists(st.lists(st.tuples(keys, values), max_size=5), max_size=6)


@pytest.fixture(scope="module")
def libraries() -> Iterator[Sequence[Engine]]:
    """Two databases that have the zones and no books."""
    engines = [create_engine("sqlite://", poolclass=StaticPool) for _ in range(2)]
    for engine in engines:
        prepare_sqlite(engine, "BEGIN IMMEDIATE", SQLITE_PRAGMAS)
        metadata.create_all(engine)
        with engine.begin() as connection:
            store = {"id": 1, "epoch": "", "page_token_key": b"", "head_position": 0}
            connection.execute(insert(chassis.store), {**store, "pruned_position": 0})
            for zone in ZONES:
                connection.execute(insert(zones), {"zone": zone, "size": 0})
    yield engines
    for engine in engines:
        engine.dispose()


@contextmanager
def visited(library: Engine) -> Iterator[Connection]:
    """A connection within a transaction that is rolled back."""
    with library.connect() as connection, connection.begin() as transaction:
        yield connection
        transaction.rollback()


def rows_of(connection: Connection, table: Table) -> list[Any]:
    """Return the rows of a table in the order of their keys."""
    return list(connection.execute(select(table).order_by(*table.primary_key.columns)))


def a_book(key: Key) -> dict[str, Any]:
    """Return a book that nobody reads."""
    return {"zone": key[0], "book": key[1], "pages": 0, "reader": None}


def written(connection: Connection, group: Sequence[Writes]) -> tuple[int, int]:
    """Write a group; return how many events there are, and how many are numbered."""
    return finish(connection, chassis, group, number_events_now=True)


@settings(deadline=None)
@given(commands, st.sets(keys))
def test_a_group_comes_to_what_its_commands_come_to_one_by_one(
    libraries: Sequence[Engine],
    commands: Sequence[Sequence[tuple[Key, Mapping[str, Any]]]],
    there: set[Key],
) -> None:
    with visited(libraries[0]) as connection, visited(libraries[1]) as naive:
        for one in (connection, naive):
            for key in there:
                one.execute(insert(books), a_book(key))
        known, group = set(there), []
        for command in commands:
            writes = Writes(NOW, None)
            for key, changes in command:
                if key not in known:
                    known.add(key)
                    writes.insert(books, a_book(key))
                    naive.execute(insert(books), a_book(key))
                writes.update(books, {"zone": key[0], "book": key[1]}, changes)
                mine = (books.c.zone == key[0]) & (books.c.book == key[1])
                naive.execute(update(books).where(mine).values(changes))
            group.append(writes)
        written(connection, group)
        assert rows_of(connection, books) == rows_of(naive, books)


def test_a_row_is_one_in_whatever_order_its_key_is_given(libraries: Sequence[Engine]) -> None:
    with visited(libraries[0]) as connection:
        connection.execute(insert(books), a_book(("a", 1)))
        first, second = Writes(NOW, None), Writes(NOW, None)
        first.update(books, {"zone": "a", "book": 1}, {"pages": 5})
        second.update(books, {"book": 1, "zone": "a"}, {"reader": "ada"})
        assert list(first.updated) == list(second.updated)
        written(connection, [first, second])
        [row] = rows_of(connection, books)
        assert (row.pages, row.reader) == (5, "ada")


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=5))
def test_events_and_audit_have_the_order_of_the_commands(
    libraries: Sequence[Engine], told: Sequence[Sequence[int]]
) -> None:
    with visited(libraries[0]) as connection:
        group = [Writes(NOW, None) for _ in told]
        for writes, subjects in zip(group, told, strict=True):
            for subject in subjects:
                writes.changed("book.read", f"books/{subject}", version=1, paths=["reader"])
        count = sum(map(len, told))
        assert written(connection, group) == (count, count)
        expected = [f"books/{subject}" for subjects in told for subject in subjects]
        events = rows_of(connection, chassis.outbox)
        assert [row.aggregateid for row in events] == expected
        assert [row.position for row in events] == list(range(1, count + 1))
        assert [row.resource for row in rows_of(connection, chassis.audit)] == expected
        sent = [events_pb2.Event.FromString(row.payload) for row in events]
        assert [one.subject for one in sent] == expected
        assert len({one.uid for one in sent}) == count


def test_tables_come_after_those_that_they_refer_to(libraries: Sequence[Engine]) -> None:
    with visited(libraries[0]) as connection:
        first, second = Writes(NOW, None), Writes(NOW, None)
        first.insert(books, a_book(("c", 1)))
        first.insert_new(zones, {"zone": "c", "size": 1}, unique=["zone"])
        second.insert_new(books, a_book(("d", 1)), unique=["zone", "book"])
        second.insert(zones, {"zone": "d", "size": 1})
        written(connection, [first, second])
        assert [(row.zone, row.book) for row in rows_of(connection, books)] == [("c", 1), ("d", 1)]


def claim_what_is_taken(writes: Writes) -> None:
    """Claim a zone that is there, beside one that is not."""
    taken = [{"zone": zone, "size": 1} for zone in ("z", ZONES[0])]
    writes.insert_new(zones, *taken, unique=["zone"])


def test_a_key_that_somebody_has_taken_has_the_transaction_run_again(
    libraries: Sequence[Engine],
) -> None:
    with visited(libraries[0]) as connection:
        writes = Writes(NOW, None)
        claim_what_is_taken(writes)
        writes.changed("zone.created", "zones/z")
        with pytest.raises(RunAgain):
            written(connection, [Writes(NOW, None), writes])
        counted = select(func.count()).select_from(chassis.outbox)
        assert connection.execute(counted).scalar_one() == 0


def give_up(_writes: Writes) -> None:
    """Refuse."""
    raise KeyError


def write_inside(transaction: Transaction, fail: Callable[[Writes], None]) -> None:
    """Write within a savepoint, and fail."""
    with transaction.savepoint():
        transaction.insert(books, a_book(("a", 2)))
        transaction.update(books, {"zone": "a", "book": 1}, {"pages": 5})
        transaction.changed("book.created", "books/2")
        fail(transaction)


@pytest.mark.parametrize(
    ("fail", "failure"), [(claim_what_is_taken, RunAgain), (give_up, KeyError)]
)
def test_what_is_put_on_a_transaction_inside_of_a_savepoint_goes_with_it(
    libraries: Sequence[Engine], fail: Callable[[Writes], None], failure: type[Exception]
) -> None:
    with visited(libraries[0]) as connection:
        transaction = Transaction(connection, chassis, None)
        transaction.insert(books, a_book(("a", 1)))
        transaction.changed("book.created", "books/1")
        with pytest.raises(failure):
            write_inside(transaction, fail)
        assert written(connection, [transaction]) == (1, 1)
        (kept,) = rows_of(connection, books)
        assert (kept.book, kept.pages) == (1, 0)
        (event,) = rows_of(connection, chassis.outbox)
        assert event.aggregateid == "books/1"
