"""What a database holds, in figures that are the same whichever database holds it."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, MetaData, Table, select

CHUNK_ROWS = 1000
CHECKSUM_MODULUS = 2**256
LEDGER_ENTRIES = "ledger_entries"


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


class Tally:
    """Takes down what tables hold, while their rows go by on their way elsewhere."""

    def __init__(self) -> None:
        self._tables: dict[str, Digest] = {}
        self._points: Counter[int] = Counter()

    def taken(self) -> Contents:
        """Return what the tables hold whose rows have all gone by."""
        return Contents(self._tables, self._points)

    def passing(self, table: Table, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows, which must be all of the table."""
        if table.name == LEDGER_ENTRIES:
            rows = self._summed(table, rows)
        count = checksum = 0
        for row in rows:
            canonical = json.dumps([*map(_canonical, row)], sort_keys=True, separators=(",", ":"))
            checksum += int.from_bytes(hashlib.sha256(canonical.encode()).digest(), "big")
            count += 1
            yield row
        self._tables[table.name] = Digest(count, checksum % CHECKSUM_MODULUS)

    def _summed(self, entries: Table, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        # Summed here: a sum may pass what the databases can hold.
        names = entries.columns.keys()
        account, points = names.index("account"), names.index("points")
        for row in rows:
            self._points[row[account]] += row[points]
            yield row


def contents(connection: Connection, metadata: MetaData) -> Contents:
    """Return what a database holds of these tables, alike for SQLite and PostgreSQL."""
    tally = Tally()
    for table in metadata.sorted_tables:
        for _ in tally.passing(table, rows_of(connection, table)):
            continue
    return tally.taken()


def rows_of(connection: Connection, table: Table) -> Iterator[tuple[Any, ...]]:
    """Yield the rows, of which no more than a chunk is in memory."""
    query = select(*table.columns)
    for row in connection.execute(query, execution_options={"yield_per": CHUNK_ROWS}):
        yield tuple(row)


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
