"""`vafa copy`: the databases of a suite from SQLite to PostgreSQL, verified row by row."""

import hashlib
import importlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer
from alembic.runtime.migration import MigrationContext
from psycopg import sql
from rich.console import Console
from rich.table import Table as Grid
from sqlalchemy import Connection, MetaData, Table, create_engine, delete, func, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from services.command.data_directory import CannotStart, supervised
from services.command.databases import SERVICES, database_urls
from services.command.migrations import Databases, migrate_all
from services.command.token import DEFAULT_DATA_DIRECTORY, DataDirectory
from vafa.loyalty.v1 import ledger_pb2

CHUNK_ROWS = 1000
CHECKSUM_MODULUS = 2**256
SHOWN_DIGITS = 12
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
class Digest:
    """What a table holds, in whatever order: its rows counted, and their hashes summed."""

    rows: int
    checksum: int


@dataclass(frozen=True)
class Contents:
    """What a database holds: its tables by name, and its points by account."""

    tables: Mapping[str, Digest]
    points: Counter[int]

    def differences(self, other: "Contents") -> list[str]:
        """Name the tables whose rows differ, and the accounts whose points do."""
        tables = [name for name, digest in self.tables.items() if other.tables[name] != digest]
        accounts = sorted(self.points.keys() | other.points.keys())
        return tables + [
            f"points of account {account}"
            for account in accounts
            if self.points[account] != other.points[account]
        ]


@dataclass(frozen=True)
class _Pair:
    """The two databases of a service, each in a transaction of its own."""

    metadata: MetaData
    source: Connection
    target: Connection


def copy(
    to: Annotated[
        str,
        typer.Option(
            metavar="DATABASE_URL",
            help="postgresql+psycopg://user@host/name for the databases name_contacts, "
            "name_loyalty and name_gateway, which are created if they are missing.",
        ),
    ],
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
) -> None:
    """Copy a suite from its SQLite files to PostgreSQL, and verify the copy.

    Ids, times, stored answers, and the positions and cursors of the feeds are kept, so that
    whoever follows a feed goes on where they are. The suite must be stopped, and the target
    empty. All is copied or nothing. The SQLite files stay as they are.
    """
    urls = database_urls(to)
    console = Console()
    with console.status("copying"):
        copied = copy_suite(data_directory, urls)
    console.print(_grid(copied))
    for held in copied.values():
        for account, points in sorted(held.points.items()):
            name = ledger_pb2.LedgerEntry.Account.Name(account)  # type: ignore[arg-type]
            console.print(f"points of {name}: {points:,}")
    console.print("Rows and sums are the same on both sides. Run the suite on the copy from now on")
    console.print("and no more on the SQLite files, or the two go their own ways:")
    arguments = f"--database-url DATABASE_URL --data-directory {data_directory}"
    console.print(f"  vafa up {arguments}", soft_wrap=True)


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


def contents(connection: Connection, metadata: MetaData) -> Contents:
    """Return what a database holds of these tables, alike for SQLite and PostgreSQL."""
    entries = metadata.tables.get("ledger_entries")
    points: Counter[int] = Counter()
    if entries is not None:
        # Summed here: a sum may pass what the databases can hold.
        for account, change in _rows(connection, entries, "account", "points"):
            points[account] += change
    return Contents(
        {table.name: _digest(connection, table) for table in metadata.sorted_tables}, points
    )


def _digest(connection: Connection, table: Table) -> Digest:
    rows = checksum = 0
    for row in _rows(connection, table):
        canonical = json.dumps([*map(_canonical, row)], sort_keys=True, separators=(",", ":"))
        checksum += int.from_bytes(hashlib.sha256(canonical.encode()).digest(), "big")
        rows += 1
    return Digest(rows, checksum % CHECKSUM_MODULUS)


def _canonical(value: Any) -> Any:
    """Return the value of a column as JSON that is the same from either database."""
    match value:
        case bytes():
            return value.hex()
        case date():
            return value.isoformat()
        case dict() | list():
            return _with_doubles(value)
    return value


def _with_doubles(value: Any) -> Any:
    """Return JSON with its numbers as doubles, which they are on the wire.

    PostgreSQL keeps decimals: it writes 1e22 with all its zeros, and has no negative zero.
    """
    match value:
        case dict():
            return {key: _with_doubles(item) for key, item in value.items()}
        case list():
            return [_with_doubles(item) for item in value]
        case int() | float() if not isinstance(value, bool):
            return float(value) + 0.0
    return value


def _rows(connection: Connection, table: Table, *names: str) -> Iterator[tuple[Any, ...]]:
    """Give the rows, of which no more than a chunk is in memory."""
    query = select(*(table.c[name] for name in names or table.c.keys()))
    for row in connection.execute(query, execution_options={"yield_per": CHUNK_ROWS}):
        yield tuple(row)


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
    for table in pair.metadata.sorted_tables:
        try:
            _copy_table(pair, table)
        except psycopg.Error as error:
            text = f"{name} did not take a row of {table.name}: {_reason(error)}"
            raise CannotCopy(text) from error
        _raise_serial(pair.target, table)
    present = contents(pair.target, pair.metadata)
    differences = contents(pair.source, pair.metadata).differences(present)
    if differences:
        raise CannotCopy(f"{name} would differ from its source in {', '.join(differences)}")
    return present


def _copy_table(pair: _Pair, table: Table) -> None:
    dialect = pair.target.dialect
    types = [column.type.dialect_impl(dialect) for column in table.columns]
    processors = [type_.bind_processor(dialect) for type_ in types]
    columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns)
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), columns)
    with _driver(pair.target).cursor() as cursor, cursor.copy(statement) as stream:
        for row in _rows(pair.source, table):
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


def _grid(copied: Mapping[str, Contents]) -> Grid:
    grid = Grid("service", "table", title="copied")
    grid.add_column("rows", justify="right")
    grid.add_column("checksum")
    for service, held in copied.items():
        for name, digest in sorted(held.tables.items()):
            grid.add_row(
                service, name, f"{digest.rows:,}", f"{digest.checksum:064x}"[:SHOWN_DIGITS]
            )
    return grid


def _reason(error: Exception) -> str:
    """Return what a database said, without the row that it may quote."""
    said = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(said, psycopg.Error) and said.diag.message_primary:
        return said.diag.message_primary
    return str(said)
