"""The databases of a suite copied from SQLite to PostgreSQL, all of them or none."""

import importlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from alembic.runtime.migration import MigrationContext
from psycopg import sql
from sqlalchemy import Connection, MetaData, Table, create_engine, delete, func, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from services.chassis.contract import SERVICES
from services.command.contents import Contents, Tally, contents, rows_of
from services.command.data_directory import CannotStart, supervised
from services.command.migrations import Databases, migrate_all

# For the one transaction of a target: it may last long, but not wait long for others.
BOUNDS = {
    "lock_timeout": "5s",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    # The first and the last day of the calendar can be read in no other zone.
    "TimeZone": "UTC",
}


class CannotCopy(CannotStart):
    """The copy was not made; the text tells why."""


@dataclass(frozen=True)
class _Pair:
    """The two databases of a service, each in a transaction of its own."""

    metadata: MetaData
    source: Connection
    target: Connection


def copy_suite(directory: Path, urls: Mapping[str, str]) -> dict[str, Contents]:
    """Copy the SQLite database of each service to the one of its URL; return what they hold.

    A target that holds the same already stays as it is. Raises CannotCopy, DatabaseUnusable
    or DataDirectoryInUse; then no target has a row, unless the server was lost between the
    commits of two of them, which a repeat puts right.
    """
    paths = {service: directory / f"{service}.db" for service in SERVICES}
    for path in paths.values():
        if not path.is_file():
            raise CannotCopy(f"there is no {path.name} in {directory}")
    with supervised(directory), ExitStack() as stack:
        try:
            revisions = migrate_all(Databases(urls, given=frozenset()))
            pairs = {
                service: stack.enter_context(_opened(service, path, urls[service]))
                for service, path in paths.items()
            }
            for service, pair in pairs.items():
                if _revision(pair.source) != revisions[service]:
                    raise CannotCopy(f"{paths[service]} has another schema: run `vafa migrate`")
            present = {service: _present(pair) for service, pair in pairs.items()}
            copied = {service: present[service] or _copied(pair) for service, pair in pairs.items()}
            for pair in pairs.values():
                pair.target.commit()
        except (SQLAlchemyError, psycopg.Error) as error:
            raise CannotCopy(f"the copy was not made: {_reason(error)}") from error
    return copied


@contextmanager
def _opened(service: str, path: Path, url: str) -> Iterator[_Pair]:
    """Open both sides; what is not committed is undone at the end."""
    source_engine = create_engine("sqlite://", creator=lambda: _read_only(path), poolclass=NullPool)
    target_engine = create_engine(url, poolclass=NullPool)
    metadata = importlib.import_module(f"services.{service}.schema").metadata
    with source_engine.connect() as source, target_engine.connect() as target:
        source.exec_driver_sql("BEGIN")
        target.execute(select(*(func.set_config(*bound, True) for bound in BOUNDS.items())))
        # Others may read, but neither write nor copy at the same time.
        names = sql.SQL(", ").join(sql.Identifier(table.name) for table in metadata.sorted_tables)
        lock = sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(names)
        with _driver(target).cursor() as cursor:
            cursor.execute(lock)
        yield _Pair(metadata, source, target)


def _read_only(path: Path) -> sqlite3.Connection:
    address = f"{path.resolve().as_uri()}?mode=ro"
    return sqlite3.connect(address, uri=True, isolation_level=None)


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _driver(connection: Connection) -> psycopg.Connection:
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        raise TypeError(type(driver).__name__)
    return driver


def _present(pair: _Pair) -> Contents | None:
    """Return what the target holds if that is what the source holds; None if it is empty.

    Raises CannotCopy if it holds anything else.
    """
    used = next(
        (table.name for table in pair.metadata.sorted_tables if _has_rows(pair, table)), None
    )
    if used is None:
        return None
    store = select(pair.metadata.tables["store"].c.epoch)
    if pair.source.execute(store).scalar_one() == pair.target.execute(store).scalar_one():
        present = contents(pair.target, pair.metadata)
        if not contents(pair.source, pair.metadata).differences(present):
            return present
    name = pair.target.engine.url.database
    raise CannotCopy(f"the target must be empty, and {name} has rows in the table {used}")


def _has_rows(pair: _Pair, table: Table) -> bool:
    query = select(1).select_from(table).limit(1)
    if table.name == "store":
        # Made with the database; events that are gone have left their mark in it.
        query = query.where(table.c.head_position > 0)
    return pair.target.execute(query).first() is not None


def _copied(pair: _Pair) -> Contents:
    """Copy every table, and return what the target then holds; raises CannotCopy."""
    name = pair.target.engine.url.database
    # The migration has given the target an identity; it takes that of the source.
    pair.target.execute(delete(pair.metadata.tables["store"]))
    tally = Tally()
    for table in pair.metadata.sorted_tables:
        try:
            _write(pair.target, table, tally.passing(table, rows_of(pair.source, table)))
        except psycopg.Error as error:
            text = f"{name} did not take a row of {table.name}: {_reason(error)}"
            raise CannotCopy(text) from error
        _raise_serial(pair.target, table)
    present = contents(pair.target, pair.metadata)
    differences = tally.taken().differences(present)
    if differences:
        raise CannotCopy(f"{name} would differ from its source in {', '.join(differences)}")
    return present


def _write(target: Connection, table: Table, rows: Iterable[tuple[Any, ...]]) -> None:
    dialect = target.dialect
    types = [column.type.dialect_impl(dialect) for column in table.columns]
    processors = [type_.bind_processor(dialect) for type_ in types]
    columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns)
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), columns)
    with _driver(target).cursor() as cursor, cursor.copy(statement) as stream:
        for row in rows:
            stream.write_row(
                [
                    value if process is None else process(value)
                    for value, process in zip(row, processors, strict=True)
                ]
            )


def _raise_serial(target: Connection, table: Table) -> None:
    """Let the numbers that the database gives follow those that were copied."""
    column = table.autoincrement_column
    if column is not None:
        sequence = func.pg_get_serial_sequence(table.name, column.name)
        # Of no rows there is no greatest number, and nothing is set.
        target.execute(select(func.setval(sequence, select(func.max(column)).scalar_subquery())))


def _reason(error: Exception) -> str:
    """Return what a database said, without the row that it may quote."""
    said = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(said, psycopg.Error) and said.diag.message_primary:
        return said.diag.message_primary
    return str(said)
