"""Whatever a List filters or orders by, an index serves, on both databases."""

import dataclasses
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.pool import NullPool

from services.chassis.filter_sql import Binding, Key, Related, Scalar, to_sql
from services.chassis.filters import FieldType, parse
from services.chassis.migrate import migrate
from services.chassis.pages import PageQuery, page
from services.chassis.resource import Resource
from services.feedback import queries as feedback
from services.gateway.rules.timeline import Place
from services.gateway.timeline import SOURCES, Reading, Source, page_request
from tests.conftest import DATABASES
from tests.contract.resources import EXERCISES, SOME_TIME, a_row
from tests.harness.postgres import Postgres

RESOURCES = {name: exercise.resource for name, exercise in EXERCISES.items()}
# The widest lists that the contract allows, where they are not all there is.
WIDEST: dict[str, list[tuple[str, ...]]] = {
    "lot": [("x0", "x0")],
    "ledger_transaction": [("x0", "-"), ("-", "x0")],
}


def widest(name: str) -> list[tuple[str, ...]]:
    """Return the parents of the widest lists of a resource."""
    return WIDEST.get(name) or [("-",) * (len(RESOURCES[name].keys) - 1)]


LISTS = [(name, parent) for name in RESOURCES for parent in widest(name)]
LITERALS = {
    FieldType.TEXT: '"x"',
    FieldType.INTEGER: "7",
    FieldType.TIME: '"2026-01-31T23:59:59Z"',
}
NORMAL = {"emails.address": '"ada@example.org"', "phones.number": '"+989121234567"'}
NOT_FOR_LARGE_TABLES = (
    "enable_seqscan",
    "enable_sort",
    "enable_incremental_sort",
    "enable_mergejoin",
    "enable_hashjoin",
)
# Enough for a choice between two indexes to matter.
ROWS = 300
KEY = bytes(32)


@pytest.fixture(scope="module", params=DATABASES)
def connections(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Connection]]:
    """A connection to a database of each service that has resources, with a few rows."""
    opened = {}
    for service in sorted({exercise.process for exercise in EXERCISES.values()}):
        url = f"sqlite:///{tmp_path_factory.mktemp('indexes')}/{service}.db"
        if request.param == "postgresql":
            postgres: Postgres = request.getfixturevalue("postgres")
            url = postgres.create(f"indexes_{service}")
        migrate(service, url)
        opened[service] = create_engine(url, poolclass=NullPool).connect()
    for connection, resource in {
        (opened[exercise.process], exercise.resource) for exercise in EXERCISES.values()
    }:
        for table in resource.table.metadata.sorted_tables:
            if connection.scalar(text(f"SELECT count(*) FROM {table.name}")) == 0:  # noqa: S608
                connection.execute(table.insert(), [a_row(table, n) for n in range(ROWS)])
        if connection.dialect.name == "postgresql":
            connection.execute(text("ANALYZE"))
        connection.commit()
    yield opened
    for connection in opened.values():
        connection.close()


def plan(connection: Connection, query: Callable[[], object]) -> str:
    """Return how the database goes about the last statement of a query; PostgreSQL does what
    suits small tables alone only if there is no other way.
    """
    statements: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", note)
    query()
    event.remove(connection, "before_cursor_execute", note)
    statement, parameters = statements[-1]
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return "\n".join(row.detail for row in rows)
    for setting in NOT_FOR_LARGE_TABLES:
        connection.execute(text(f"SET LOCAL {setting} = off"))
    rows = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
    found = "\n".join(str(row[0]) for row in rows)
    connection.rollback()
    return found


def reads_a_whole_table(found: str) -> bool:
    return bool(re.search(r"^SCAN|Seq Scan", found, re.MULTILINE))


def searches_by(found: str, column: str) -> bool:
    """Whether an index is searched by the column."""
    return bool(re.search(rf"(SEARCH .*|Index Cond: )\(.*\b{column}\b", found))


def in_parent(resource: Resource[Any], parent: tuple[str, ...]) -> Any:
    """Return the select of what a list has."""
    query = resource.select()
    for key, id_ in zip(resource.keys, parent, strict=False):
        if id_ != "-":
            query = query.where(resource.table.c[key] == id_)
    return query


@pytest.mark.parametrize(
    ("name", "parent", "path"),
    [(name, parent, path) for name, parent in LISTS for path in RESOURCES[name].filter_fields],
)
def test_an_index_serves_a_filter(
    connections: dict[str, Connection], name: str, parent: tuple[str, ...], path: str
) -> None:
    resource, connection = RESOURCES[name], connections[EXERCISES[name].process]
    field, binding = resource.filter_fields[path], resource.bindings[path]
    literal = NORMAL.get(path) or LITERALS.get(field.type) or ""
    if field.type is FieldType.NAME:
        literal = f'"{resource.pattern.format(["x0"] * len(resource.keys))}"'
    literal = literal or next(iter(field.values))
    expression = parse(f"{path.replace('*', 'k')} = {literal}", resource.filter_fields)
    assert expression is not None
    query = in_parent(resource, parent).where(to_sql(expression, resource.bindings))
    found = plan(connection, lambda: connection.execute(query).all())
    assert not reads_a_whole_table(found), found
    # A member has so few lots and transactions that each may be looked at.
    assert searches_by(found, column_of(binding).name) or "x0" in parent[1:], found


def column_of(binding: Binding) -> Any:
    """Return the column that is compared, of a key the first."""
    match binding:
        case Scalar(column=column):
            return column
        case Key(columns):
            return columns[0]
        case Related():
            return binding.value


@pytest.mark.parametrize(
    ("name", "parent", "order"),
    [
        (name, parent, order + way)
        for name, parent in LISTS
        for order in RESOURCES[name].orders
        for way in ("", " desc")
    ],
)
def test_an_index_serves_an_order_from_any_page_on(
    connections: dict[str, Connection], name: str, parent: tuple[str, ...], order: str
) -> None:
    resource, connection = RESOURCES[name], connections[EXERCISES[name].process]
    # With deleted ones, since the rows of this test happen to be.
    query = PageQuery(parent=parent, order_by=order, page_size=1, show_deleted=True)
    token = page(connection, resource, query, KEY).next_page_token
    assert token
    further = PageQuery(
        parent=parent, order_by=order, page_size=1, page_token=token, show_deleted=True
    )
    found = plan(connection, lambda: page(connection, resource, further, KEY))
    assert not reads_a_whole_table(found), found
    assert not re.search(r"TEMP B-TREE|\bSort\b", found), found
    assert searches_by(found, order.partition(" ")[0]), found


@pytest.mark.parametrize("way", ["", " desc"])
def test_the_index_of_a_contact_serves_the_transactions_of_a_member(
    connections: dict[str, Connection], way: str
) -> None:
    resource, connection = RESOURCES["ledger_transaction"], connections["loyalty"]
    query = PageQuery(parent=("x0", "x0"), order_by=f"create_time{way}", page_size=1)
    token = page(connection, resource, query, KEY).next_page_token
    assert token
    further = dataclasses.replace(query, page_token=token)
    found = plan(connection, lambda: page(connection, resource, further, KEY))
    assert "ix_ledger_transactions_contact_time" in found, found
    assert searches_by(found, "create_time"), found
    # SQLite sorts those of one moment.
    assert not re.search(r"TEMP B-TREE(?! FOR RIGHT PART)|\bSort\b", found), found


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("way", ["", " desc"])
@pytest.mark.parametrize("order", ["create_time", "display_name"])
def test_an_index_gives_the_contacts_of_a_label_in_their_order(
    connections: dict[str, Connection], order: str, way: str, is_first: bool
) -> None:
    connection, contact = connections["contacts"], RESOURCES["contact"]
    labels = contact.indexes[0].table
    of_one_label = [a_row(labels, n) | {"key": "k", "value": "v"} for n in range(ROWS)]
    connection.execute(labels.insert(), of_one_label)
    asked = 'owner >= "" AND labels.k = "v" AND kind != COMPANY'
    query = PageQuery(filter=asked, order_by=order + way, page_size=5, show_deleted=True)
    token = "" if is_first else page(connection, contact, query, KEY).next_page_token
    assert is_first or token
    wanted = dataclasses.replace(query, page_token=token)
    found = plan(connection, lambda: page(connection, contact, wanted, KEY))
    connection.rollback()
    assert not reads_a_whole_table(found), found
    assert not re.search(r"TEMP B-TREE|\bSort\b", found), found
    assert f"ix_contact_labels_key_value_{order}_contact_id" in found, found


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("source", SOURCES.values(), ids=lambda source: source.thing)
def test_an_index_serves_a_page_of_a_timeline(
    connections: dict[str, Connection], source: Source, is_first: bool
) -> None:
    resource, connection = RESOURCES[source.thing], connections[source.service]
    name = resource.pattern.format(["x0"] * len(resource.keys))
    place = None if is_first else Place(SOME_TIME, source.kind, name)
    reading = Reading("x0", [source], SOME_TIME, place)
    request = page_request(source, reading, count=51)
    assert resource.parent is not None
    query = PageQuery.of(request, resource.parent.pattern.parse(request.parent))
    found = plan(connection, lambda: page(connection, resource, query, KEY))
    assert not reads_a_whole_table(found), found
    assert not re.search(r"TEMP B-TREE|\bSort\b", found), found
    assert is_first or searches_by(found, source.time_field), found


def test_an_index_that_has_the_scores_serves_those_of_a_period(
    connections: dict[str, Connection],
) -> None:
    connection, table = connections["feedback"], RESOURCES["response"].table
    of_one_survey = [
        a_row(table, n) | {"survey_id": "x0", "response_id": f"y{n}"} for n in range(ROWS)
    ]
    connection.execute(table.insert(), of_one_survey)
    connection.execute(text("ANALYZE"))
    start, end = SOME_TIME, SOME_TIME + timedelta(seconds=10)
    found = plan(connection, lambda: feedback.count_scores(connection, "x0", start, end, None))
    connection.rollback()
    assert searches_by(found, "survey_id"), found
    assert searches_by(found, "answer_time"), found
    assert "ix_responses_survey_id_answer_time_response_id_score" in found, found


def test_an_index_serves_what_a_contact_answered(connections: dict[str, Connection]) -> None:
    connection = connections["feedback"]
    found = plan(connection, lambda: feedback.scores_of_contact(connection, "x0"))
    assert searches_by(found, "contact"), found
    assert not re.search(r"SCAN (responses|surveys)|Seq Scan", found), found
