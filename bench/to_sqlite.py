"""The rows of a database on PostgreSQL, brought into a new one on SQLite."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
from sqlalchemy import Connection, MetaData, Table, create_engine, make_url, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.pool import NullPool

DIALECT = sqlite.dialect()
CHUNK_ROWS = 10_000


def copy_to_sqlite(metadata: MetaData, source_url: str, target_url: str) -> None:
    """Bring all rows over; the target is migrated, and nobody uses it yet."""
    source_engine = create_engine(source_url, poolclass=NullPool)
    with source_engine.connect() as source, closing(_opened(target_url)) as target:
        indexes = target.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        ).fetchall()
        for name, _ in indexes:
            target.execute(f"DROP INDEX {name}")
        for table in metadata.sorted_tables:
            target.execute(f"DELETE FROM {table.name}")  # noqa: S608
            marks = ", ".join("?" * len(table.columns))
            names = ", ".join(column.name for column in table.columns)
            insert = f"INSERT INTO {table.name} ({names}) VALUES ({marks})"  # noqa: S608
            target.executemany(insert, _rows(source, table))
        for _, statement in indexes:
            target.execute(statement)
        target.execute("ANALYZE")
        target.commit()


def _opened(url: str) -> sqlite3.Connection:
    connection = sqlite3.connect(str(make_url(url).database))
    # What is lost if the machine stops meanwhile is made anew.
    connection.execute("PRAGMA synchronous=OFF")
    return connection


def _rows(source: Connection, table: Table) -> Iterator[tuple[Any, ...]]:
    """Give the rows in the order of their keys, each value as SQLite keeps it."""
    processors: list[Callable[[Any], Any] | None] = [
        column.type.dialect_impl(DIALECT).bind_processor(DIALECT) for column in table.columns
    ]
    changed = [(n, process) for n, process in enumerate(processors) if process is not None]
    query = select(table).order_by(*table.primary_key.columns)
    if not changed:
        # Most rows are such, and go through no more than the drivers.
        driver = source.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        with driver.cursor(name="rows") as cursor:
            cursor.itersize = CHUNK_ROWS
            yield from cursor.execute(str(query).encode())
        return
    for row in source.execution_options(yield_per=CHUNK_ROWS).execute(query):
        values = list(row)
        for n, process in changed:
            values[n] = process(values[n])
        yield tuple(values)
