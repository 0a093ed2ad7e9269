"""Types and statements that are the same on both databases."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Date,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy.pool import NullPool

from services.chassis.rows import (
    Json,
    RowSet,
    Serial,
    Text,
    UtcTime,
    among,
    insert_new_rows,
    insert_rows,
    update_rows,
    write_together,
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
    Column("words", Text),
    Column("bytes", LargeBinary),
    Column("yes", Boolean),
    Column("day", Date),
)
places = Table(
    "places",
    metadata,
    Column("town", Text, primary_key=True),
    Column("number", Serial, primary_key=True),
    Column("value", Text),
)
AWKWARD = ["", "NULL", "null", 'a"b', "a\\b", "{a,b}", "a,b", " a ", "é\n\t😀", "'", "\\x00", "%s"]
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
        pytest.raises(ValueError, match="a time without a zone"),
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


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("words", [*AWKWARD, None]),
        ("words", AWKWARD),
        ("count", [0, -(2**31), 2**31 - 1, None]),
        ("bytes", [b"", b"\x00\xff\\", bytes(range(256)), None]),
        ("yes", [True, False, None]),
        ("day", [date(1, 1, 1), date(9999, 12, 31), None]),
        ("time", [NOON, NOON, datetime(1, 1, 1, tzinfo=UTC), None]),
        ("more", [AWKWARD, {"a": {'"': "\\"}}, [], {}, [10**30, 1.5, True, None], None]),
    ],
)
def test_the_values_of_a_set_come_back_as_they_were(
    engine: Engine, column: str, values: Sequence[Any]
) -> None:
    query = select(things.c[column]).order_by(things.c.id)
    with engine.begin() as connection:
        insert_rows(connection, things, [{column: value} for value in values])
        assert list(connection.execute(query).scalars()) == values
        ids = list(connection.execute(select(things.c.id).order_by(things.c.id)).scalars())
        turned = [
            {"id": id_, column: value} for id_, value in zip(ids, reversed(values), strict=True)
        ]
        update_rows(connection, things, ["id"], turned)
        assert list(connection.execute(query).scalars()) == values[::-1]


def test_new_rows_keep_all_their_values(engine: Engine) -> None:
    row = {"key": "a", "time": NOON, "more": {"b": [1]}, "count": 2, "bytes": b"\0", "yes": True}
    with engine.begin() as connection:
        insert_new_rows(connection, things, [row], [things.c.key])
        found = connection.execute(select(*(things.c[name] for name in row))).mappings().one()
    assert dict(found) == row


def test_a_key_that_stands_twice_in_a_set_is_inserted_once(engine: Engine) -> None:
    with engine.begin() as connection:
        rows = [{"key": "a", "count": 1}, {"key": "a", "count": 2}]
        assert len(insert_new_rows(connection, things, rows, [things.c.key])) == 1
        assert connection.execute(select(things.c.count)).scalars().all() == [1]


def test_the_database_numbers_the_rows_of_a_set_in_their_order(engine: Engine) -> None:
    keys = [str(n) for n in range(1000)]
    with engine.begin() as connection:
        insert_rows(connection, things, [{"key": key} for key in keys])
        assert (
            list(connection.execute(select(things.c.key).order_by(things.c.id)).scalars()) == keys
        )


def test_two_updates_of_one_row_are_a_defect(engine: Engine) -> None:
    with engine.begin() as connection:
        insert_rows(connection, things, [{"key": "a", "count": 0}])
        changes = [{"key": "a", "count": 1}, {"key": "a", "count": 2}]
        with pytest.raises(ValueError, match="two updates of one row of things"):
            update_rows(connection, things, ["key"], changes)
        assert connection.execute(select(things.c.count)).scalar_one() == 0


def test_rows_of_different_shapes_are_a_defect_and_lose_nothing_silently(engine: Engine) -> None:
    rows = [{"key": "a"}, {"key": "b", "words": "lost"}]
    with engine.begin() as connection, pytest.raises(ValueError, match="different shapes"):
        insert_rows(connection, things, rows)


def test_sets_of_several_tables_are_written_together(engine: Engine) -> None:
    with engine.begin() as connection:
        insert_rows(connection, things, [{"key": "a", "count": 1}, {"key": "b", "count": 2}])
        sets = [
            RowSet(places, [{"town": "%(town)s", "number": n, "value": "v"} for n in range(3)]),
            RowSet(things, [], ("key",)),
            RowSet(things, [{"key": "b", "count": 5}, {"key": "a", "count": None}], ("key",)),
        ]
        write_together(connection, sets)
        found = connection.execute(select(places.c.town, places.c.number)).all()
        assert sorted(tuple(row) for row in found) == [("%(town)s", n) for n in range(3)]
        changed = connection.execute(select(things.c.key, things.c.count)).all()
        assert {row[0]: row[1] for row in changed} == {"a": None, "b": 5}


def test_two_updates_of_one_row_among_sets_are_a_defect(engine: Engine) -> None:
    sets = [
        RowSet(places, [{"town": "a", "number": 1, "value": "v"}]),
        RowSet(things, [{"key": "a", "count": 1}, {"key": "a", "count": 2}], ("key",)),
    ]
    with engine.begin() as connection, pytest.raises(ValueError, match="two updates of one row"):
        write_together(connection, sets)


def test_a_row_is_updated_by_a_key_of_several_columns(engine: Engine) -> None:
    with engine.begin() as connection:
        rows = [{"town": t, "number": n, "value": ""} for t in "ab" for n in (1, 2)]
        insert_rows(connection, places, rows)
        changes = [
            {"value": "x", "town": "a", "number": 2},
            {"value": "y", "town": "b", "number": 1},
        ]
        update_rows(connection, places, ["town", "number"], changes)
        query = select(places.c.town, places.c.number, places.c.value).order_by(*places.primary_key)
        found = [tuple(row) for row in connection.execute(query)]
    assert found == [("a", 1, ""), ("a", 2, "x"), ("b", 1, "y"), ("b", 2, "")]


def with_some_places(connection: Connection) -> None:
    """Put in each awkward town with three numbers."""
    towns = [{"town": town, "number": n} for town in AWKWARD for n in (1, 2, 3)]
    insert_rows(connection, places, towns)


@pytest.mark.parametrize("count", [0, 1, len(AWKWARD)])
def test_rows_are_found_among_keys_of_one_column(engine: Engine, count: int) -> None:
    with engine.begin() as connection:
        with_some_places(connection)
        keys = [(town,) for town in AWKWARD[:count]] + [("nowhere",)] * bool(count)
        condition = among(connection, [places.c.town], keys)
        found = connection.execute(select(places.c.town).where(condition)).scalars().all()
    assert sorted(found) == sorted(AWKWARD[:count] * 3)


@pytest.mark.parametrize("count", [0, 1, len(AWKWARD)])
def test_rows_are_found_among_keys_of_several_columns(engine: Engine, count: int) -> None:
    with engine.begin() as connection:
        with_some_places(connection)
        keys = [(n % 3 + 1, town) for n, town in enumerate(AWKWARD[:count])]
        condition = among(connection, [places.c.number, places.c.town], [*keys, *keys])
        query = select(places.c.number, places.c.town).where(condition)
        found = [tuple(row) for row in connection.execute(query)]
    assert sorted(found) == sorted(keys)


def test_two_sets_of_keys_in_one_statement_are_kept_apart(engine: Engine) -> None:
    with engine.begin() as connection:
        with_some_places(connection)
        towns = [among(connection, [places.c.town], [("",), (town,)]) for town in ("NULL", "'")]
        found = connection.execute(select(places.c.town).where(*towns).distinct()).scalars().all()
    assert found == [""]


def test_the_text_of_a_statement_is_one_however_many_rows_there_are(engine: Engine) -> None:
    texts: set[str] = set()

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        texts.add(statement)

    with engine.begin() as connection:
        event.listen(connection, "before_cursor_execute", note)
        for first, count in ((0, 1), (1, 2), (3, 50)):
            keys = [str(n) for n in range(first, first + count)]
            insert_rows(connection, things, [{"key": key} for key in keys])
            insert_new_rows(
                connection,
                places,
                [{"town": key, "number": 1} for key in keys],
                list(places.primary_key),
            )
            update_rows(connection, things, ["key"], [{"key": key, "count": 1} for key in keys])
            condition = among(connection, [things.c.key], [(key,) for key in keys])
            assert connection.scalar(select(func.count(things.c.id)).where(condition)) == count
    assert len(texts) == 4
