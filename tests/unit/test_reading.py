"""Rows read by their keys: as they would be selected, and locked if asked."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Date,
    Engine,
    LargeBinary,
    MetaData,
    Table,
    create_engine,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from services.chassis.reading import read_rows
from services.chassis.rows import Json, Serial, Text, UtcTime, insert_rows

metadata = MetaData()
things = Table(
    "things",
    metadata,
    Column("town", Text, primary_key=True),
    Column("number", Serial, primary_key=True),
    Column("time", UtcTime),
    Column("more", Json),
    Column("bytes", LargeBinary),
    Column("yes", Boolean),
    Column("day", Date),
)
NOON = datetime(2026, 3, 21, 12, 0, 0, 123456, tzinfo=UTC)
WHOLE = {"time": NOON, "more": {"a": [1, "é", None]}, "bytes": b"\0\xff", "yes": True}
ROWS = [
    {"town": "a", "number": 1, **WHOLE, "day": date(1870, 1, 1)},
    {"town": "a", "number": 2, **dict.fromkeys([*WHOLE, "day"])},
    {"town": 'b"\\', "number": 1, **WHOLE, "day": None},
    {"town": "B", "number": 3, **WHOLE, "more": [], "day": None},
]
TOWN, NUMBER = things.c.town, things.c.number


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database with the rows."""
    url = f"sqlite:///{tmp_path}/reading.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").create("unit_reading")
    made = create_engine(url, poolclass=NullPool)
    metadata.create_all(made)
    with made.begin() as connection:
        insert_rows(connection, things, ROWS)
    yield made
    made.dispose()


def test_rows_are_read_as_they_are_selected(engine: Engine) -> None:
    with engine.begin() as connection:
        keys = [(row["town"], row["number"]) for row in ROWS]
        found = read_rows(connection, [TOWN, NUMBER], keys)
        selected = [dict(row) for row in connection.execute(select(things)).mappings()]
    assert sorted(found, key=repr) == sorted(selected, key=repr) == sorted(ROWS, key=repr)
    assert {row["time"].tzinfo for row in found if row["time"]} == {UTC}


def test_only_the_rows_of_the_keys_are_read_and_each_once(engine: Engine) -> None:
    with engine.begin() as connection:
        keys = [("a", 2), ("a", 2), ("a", 3), ("B", 3), ("nowhere", 1)]
        found = read_rows(connection, [TOWN, NUMBER], keys)
        assert sorted((row["town"], row["number"]) for row in found) == [("B", 3), ("a", 2)]
        assert read_rows(connection, [TOWN, NUMBER], []) == []


def test_all_rows_of_a_key_are_read(engine: Engine) -> None:
    with engine.begin() as connection:
        found = read_rows(connection, [TOWN], [("a",), ('b"\\',)])
    assert sorted((row["town"], row["number"]) for row in found) == [
        ("a", 1),
        ("a", 2),
        ('b"\\', 1),
    ]


def test_locked_rows_come_in_the_order_of_their_keys(engine: Engine) -> None:
    keys = [(row["number"], row["town"]) for row in reversed(ROWS)]
    with engine.begin() as connection:
        found = read_rows(connection, [NUMBER, TOWN], keys, lock=True)
    assert [(row["number"], row["town"]) for row in found] == sorted(keys)


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_a_locked_row_waits_for_no_reader_and_keeps_others_out(engine: Engine) -> None:
    with engine.begin() as holder, engine.connect() as other:
        read_rows(holder, [TOWN], [("a",)], lock=True)
        other.execute(text("SET lock_timeout = 100"))
        assert len(read_rows(other, [TOWN], [("a",)])) == 2
        assert len(read_rows(other, [TOWN], [("B",)], lock=True)) == 1
        # What is told is an error of SQLAlchemy, by whose kind a command is run again.
        with pytest.raises(DBAPIError) as refused:
            read_rows(other, [TOWN], [("B",), ("a",)], lock=True)
    assert getattr(refused.value.orig, "sqlstate", "") == "55P03"
    assert not refused.value.connection_invalidated


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_a_connection_that_is_lost_is_told_as_lost(engine: Engine) -> None:
    with engine.connect() as connection, engine.connect() as other:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        with pytest.raises(DBAPIError) as lost:
            read_rows(connection, [TOWN], [("a",)])
        assert lost.value.connection_invalidated
        connection.invalidate()
