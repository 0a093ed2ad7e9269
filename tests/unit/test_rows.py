"""Types and statements that are the same on both databases."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, Table, create_engine, select
from sqlalchemy.exc import StatementError
from sqlalchemy.pool import NullPool

from services.chassis.rows import (
    Json,
    Serial,
    Text,
    UtcTime,
    insert_new_rows,
    insert_rows,
    update_rows,
)

metadata = MetaData()
things = Table(
    "things",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("key", Text, unique=True),
    Column("time", UtcTime),
    Column("more", Json),
    Column("count", Integer),
)
NOON = datetime(2026, 3, 21, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database with the table and no rows."""
    url = f"sqlite:///{tmp_path}/rows.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").create("unit_rows")
    made = create_engine(url, poolclass=NullPool)
    metadata.create_all(made)
    yield made
    made.dispose()


@pytest.mark.parametrize(
    "time",
    [
        NOON,
        NOON.astimezone(timezone(timedelta(hours=3, minutes=30))),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        None,
    ],
)
def test_a_time_comes_back_as_the_same_instant_in_utc(
    engine: Engine, time: datetime | None
) -> None:
    with engine.begin() as connection:
        insert_rows(connection, things, [{"key": "a", "time": time}])
        back = connection.execute(select(things.c.time)).scalar_one()
    assert back == time
    assert back is None or back.tzinfo is UTC


def test_a_time_without_a_zone_is_refused(engine: Engine) -> None:
    naive = NOON.replace(tzinfo=None)
    with (
        engine.begin() as connection,
        pytest.raises(StatementError, match="a time without a zone"),
    ):
        insert_rows(connection, things, [{"key": "a", "time": naive}])


def test_times_are_compared_as_instants(engine: Engine) -> None:
    rows = [{"key": str(n), "time": NOON + timedelta(microseconds=n)} for n in range(3)]
    with engine.begin() as connection:
        insert_rows(connection, things, rows)
        later = select(things.c.key).where(things.c.time > NOON).order_by(things.c.time.desc())
        assert list(connection.execute(later).scalars()) == ["2", "1"]


def test_text_is_ordered_by_code_point(engine: Engine) -> None:
    words = ["a", "B", "é", "Z", "آ", "z", "_", "😀", "￼"]
    with engine.begin() as connection:
        insert_rows(connection, things, [{"key": word} for word in words])
        ordered = list(connection.execute(select(things.c.key).order_by(things.c.key)).scalars())
    assert ordered == sorted(words)


@pytest.mark.parametrize("value", [{"a": [1, "é", None]}, [], {}, None])
def test_json_comes_back_as_it_was(engine: Engine, value: object) -> None:
    with engine.begin() as connection:
        insert_rows(connection, things, [{"key": "a", "more": value}])
        assert connection.execute(select(things.c.more)).scalar_one() == value
        absent = connection.execute(select(things.c.more.is_(None))).scalar_one()
    assert absent == (value is None)


def test_the_database_numbers_rows_upwards(engine: Engine) -> None:
    with engine.begin() as connection:
        for key in "abc":
            insert_rows(connection, things, [{"key": key}])
        ids = list(connection.execute(select(things.c.id).order_by(things.c.key)).scalars())
    assert ids == sorted(set(ids))


def test_inserting_no_rows_does_nothing(engine: Engine) -> None:
    with engine.begin() as connection:
        insert_rows(connection, things, [])
        update_rows(connection, things, ["key"], [])
        assert insert_new_rows(connection, things, [], [things.c.key]) == []
        assert connection.execute(select(things)).all() == []


def test_only_rows_with_free_keys_are_inserted_and_told(engine: Engine) -> None:
    with engine.begin() as connection:
        insert_rows(connection, things, [{"key": "a", "count": 1}])
        rows = [{"key": key, "count": 2} for key in ("a", "b", "c")]
        inserted = insert_new_rows(connection, things, rows, [things.c.key])
        assert sorted(row["key"] for row in inserted) == ["b", "c"]
        counts = connection.execute(select(things.c.key, things.c.count).order_by(things.c.key))
        assert [tuple(row) for row in counts] == [("a", 1), ("b", 2), ("c", 2)]


def test_each_row_gets_its_own_values_and_others_are_left_alone(engine: Engine) -> None:
    with engine.begin() as connection:
        insert_rows(connection, things, [{"key": key, "count": 0} for key in "abc"])
        changes = [{"key": "a", "count": 1, "time": NOON}, {"key": "c", "count": 3, "time": None}]
        update_rows(connection, things, ["key"], changes)
        query = select(things.c.key, things.c.count, things.c.time).order_by(things.c.key)
        rows = [tuple(row) for row in connection.execute(query)]
    assert rows == [("a", 1, NOON), ("b", 0, None), ("c", 3, None)]
