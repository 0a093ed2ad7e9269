"""Resource names in filters: they compare by their ids, alike in SQL and in memory."""

import operator
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, insert
from sqlalchemy.pool import StaticPool

from services.chassis import errors
from services.chassis.filter_memory import matches
from services.chassis.filters import parse
from services.chassis.pages import PageQuery, page
from services.loyalty.resources import ORDER
from services.loyalty.schema import metadata
from tests.contract.resources import a_row

# As texts, the names of `a-b` come before those of `a`; by their ids they come behind.
KEYS = [(program, order) for program in ("a", "a-b", "b") for order in ("x", "x-1", "y")]
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    """A database with an order under each key."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.connect() as opened:
        metadata.create_all(opened)
        for n, (program_id, order_id) in enumerate(KEYS):
            ids = {"program_id": program_id, "order_id": order_id, "external_id": str(n)}
            row = (
                a_row(ORDER.table, n) | ids | {"currency_code": "EUR", "lines": [], "payments": []}
            )
            opened.execute(insert(ORDER.table), [row])
        yield opened
    engine.dispose()


def found(connection: Connection, filter: str) -> list[tuple[str, str]]:
    """Return the keys of the orders that a list with the filter has."""
    query = PageQuery(parent=("-",), filter=filter, page_size=100)
    rows = page(connection, ORDER, query, bytes(32)).rows
    return sorted((row["program_id"], row["order_id"]) for row in rows)


@pytest.mark.parametrize("sign", OPERATORS)
@pytest.mark.parametrize("ids", [*KEYS, ("a-b", "w"), ("0", "0"), ("z", "z")])
def test_names_compare_by_their_ids(
    connection: Connection, sign: str, ids: tuple[str, str]
) -> None:
    expected = [key for key in KEYS if OPERATORS[sign](key, ids)]
    text = f'name {sign} "{ORDER.pattern.format(ids)}"'
    assert found(connection, text) == expected
    assert found(connection, f"NOT {text}") == sorted(set(KEYS) - set(expected))
    expression = parse(text, ORDER.filter_fields)
    assert expression is not None
    names = {key: ORDER.message(name=ORDER.pattern.format(key)) for key in KEYS}
    assert [key for key in KEYS if matches(expression, names[key])] == expected


def test_every_resource_has_a_name(connection: Connection) -> None:
    assert found(connection, "name:*") == KEYS
    assert found(connection, "NOT name:*") == []


@pytest.mark.parametrize(
    "name",
    ["x", "programs/a", "programs/a/members/x", "programs/a/orders/*", "programs/a/orders/x/y"],
)
def test_what_is_no_name_of_the_kind_is_refused(connection: Connection, name: str) -> None:
    for written in (name, f'"{name}"'):
        with pytest.raises(errors.FilterInvalid) as refused:
            found(connection, f"name = {written}")
        assert [field for field, _ in refused.value.violations] == ["filter"]
        assert "a resource name of the kind that is listed" in refused.value.message
