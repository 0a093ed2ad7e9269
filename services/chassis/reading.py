"""Rows read by their keys, many at once: what the hot calls read, and so by the shortest way."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import Column, Connection, Dialect, select, text

from services.chassis.engines import as_database_error
from services.chassis.statements import Condition, among_keys


@dataclass(frozen=True)
class _Reading:
    """A statement, the names of what it returns, and how those are read that need it."""

    text: str
    condition: Condition
    names: Sequence[str]
    processes: Sequence[tuple[str, Callable[[Any], Any]]]


def read_rows(
    connection: Connection,
    columns: Sequence[Column[Any]],
    keys: Sequence[tuple[Any, ...]],
    *,
    lock: bool = False,
) -> list[dict[str, Any]]:
    """Return the rows of a table whose columns, texts or whole numbers, are one of the keys.

    If asked, they are locked against other writers, in the order of these columns.
    """
    reading = _reading(connection.dialect, tuple(columns), lock)
    given = reading.condition.parameters(keys)
    if connection.dialect.name == "postgresql":
        # SQLAlchemy would take twice as long as the driver, to find out what is known here.
        driver: Any = connection.connection.driver_connection
        try:
            found = driver.execute(reading.text, given).fetchall()
        except psycopg.Error as error:
            raise as_database_error(error, driver) from error
    else:
        found = connection.exec_driver_sql(reading.text, tuple(given.values())).fetchall()
    rows = [dict(zip(reading.names, values, strict=True)) for values in found]
    for name, process in reading.processes:
        for row in rows:
            row[name] = process(row[name])
    return rows


@functools.cache
def _reading(dialect: Dialect, columns: tuple[Column[Any], ...], lock: bool) -> _Reading:
    table = columns[0].table
    condition = among_keys(dialect, columns)
    query = select(table).where(text(condition.text))
    if lock:
        query = query.order_by(*columns).with_for_update(key_share=True)
    processes: list[tuple[str, Callable[[Any], Any]]] = []
    for column in table.c:
        process = column.type.dialect_impl(dialect).result_processor(dialect, None)
        if process is not None:
            processes.append((column.name, process))
    names = [column.name for column in table.c]
    return _Reading(str(query.compile(dialect=dialect)), condition, names, processes)
