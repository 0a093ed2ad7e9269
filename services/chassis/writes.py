"""What commands write: decided in memory first, and then written with one statement a table."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection, MetaData, Table

from services.chassis.call import Call
from services.chassis.identifiers import new_uid
from services.chassis.rows import Row, RowSet, insert_new_rows, insert_rows, write_together
from services.chassis.schema import ChassisTables
from services.chassis.sequencer import number_events
from vafa.events.v1 import events_pb2

Columns = tuple[str, ...]


class RunAgain(Exception):
    """Another transaction got in between; the same work decides anew if it is run again."""


class Writes:
    """What one command writes, and what it tells of.

    `now` is UTC to the microsecond, and the same for all commands that are written together.
    `principal` and `request_id` are empty for work that no caller asked for.
    """

    def __init__(self, now: datetime, call: Call | None) -> None:
        self.now = now
        self.principal = call.principal.subject if call else ""
        self.request_id = call.request_id if call else ""
        self._method = call.method.path if call else ""
        self.inserted: dict[Table, list[Row]] = {}
        self.claimed: dict[tuple[Table, Columns], list[Row]] = {}
        self.updated: dict[tuple[Table, Columns], dict[tuple[Any, ...], dict[str, Any]]] = {}
        self.events: list[Row] = []
        self.audit: list[Row] = []

    def insert(self, table: Table, *rows: Row) -> None:
        """Insert rows whose keys nobody else can take."""
        self.inserted.setdefault(table, []).extend(rows)

    def insert_new(self, table: Table, *rows: Row, unique: Sequence[str]) -> None:
        """Insert rows whose unique columns nobody has yet.

        If somebody takes one meanwhile, the transaction runs again from its beginning.
        """
        self.claimed.setdefault((table, tuple(unique)), []).extend(rows)

    def update(self, table: Table, key: Row, values: Row) -> None:
        """Set columns of a row that is locked, or that the same transaction inserts.

        Later values of the same row win, also those of later commands of a group.
        """
        # In one order, so that a row is found again however its key is given.
        names = tuple(sorted(key))
        rows = self.updated.setdefault((table, names), {})
        rows.setdefault(tuple([key[name] for name in names]), {}).update(values)

    def changed(
        self,
        event_type: str,
        subject: str,
        *,
        version: int = 0,
        paths: Sequence[str] = (),
        related: Mapping[str, str] | None = None,
    ) -> None:
        """Tell of a change: an event in the feed and a row in the audit.

        Call it once the row of the subject is written or locked, so that the events of one
        subject have the order of their commits.
        """
        event = events_pb2.Event(
            uid=str(new_uid()),
            type=event_type,
            subject=subject,
            subject_version=version,
            create_time=_timestamp(self.now),
            changed_paths=paths,
            related=related,
            request_id=self.request_id,
        )
        self.events.append(
            {
                "aggregatetype": event_type.partition(".")[0],
                "aggregateid": subject,
                "type": event_type,
                "payload": event.SerializeToString(),
                "create_time": self.now,
            }
        )
        self.audit.append(
            {
                "create_time": self.now,
                "principal": self.principal,
                "method": self._method,
                "request_id": self.request_id,
                "action": event_type,
                "resource": subject,
                "changed_paths": list(paths),
            }
        )


def write_rows(connection: Connection, metadata: MetaData, commands: Sequence[Writes]) -> None:
    """Write the rows of commands, and forget them.

    Tables come by what they refer to; raises RunAgain if a unique key has been taken.
    """
    rows = _Rows.of(metadata, commands)
    rows.write_first(connection)
    write_together(connection, rows.others())


def finish(
    connection: Connection,
    tables: ChassisTables,
    commands: Sequence[Writes],
    *,
    number_events_now: bool,
) -> tuple[int, int]:
    """Write the rows of commands and, after them, what they tell of, so that the ids of events
    follow the state. Returns how many events there are, and how many got their position.
    """
    rows = _Rows.of(tables.outbox.metadata, commands)
    audit = [row for command in commands for row in command.audit]
    events = [event for command in commands for event in command.events]
    rows.write_first(connection)
    told = [RowSet(tables.audit, audit), RowSet(tables.outbox, events)]
    write_together(connection, [*rows.others(), *told])
    numbered = number_events(connection, tables) if number_events_now and events else 0
    return len(events), numbered


@dataclass(frozen=True)
class _Rows:
    """The rows of several commands by their tables, which come by what they refer to."""

    tables: Sequence[Table]
    inserted: dict[Table, list[Row]]
    claimed: dict[Table, dict[Columns, list[Row]]]
    updated: dict[tuple[Table, Columns], dict[tuple[Any, ...], dict[str, Any]]]

    @classmethod
    def of(cls, metadata: MetaData, commands: Sequence[Writes]) -> "_Rows":
        """Take the rows of the commands."""
        inserted: dict[Table, list[Row]] = {}
        claimed: dict[Table, dict[Columns, list[Row]]] = {}
        updated: dict[tuple[Table, Columns], dict[tuple[Any, ...], dict[str, Any]]] = {}
        for command in commands:
            for table, rows in command.inserted.items():
                inserted.setdefault(table, []).extend(rows)
            for (table, unique), rows in command.claimed.items():
                claimed.setdefault(table, {}).setdefault(unique, []).extend(rows)
            for place, by_key in command.updated.items():
                merged = updated.setdefault(place, {})
                for key, values in by_key.items():
                    merged.setdefault(key, {}).update(values)
            command.inserted, command.claimed, command.updated = {}, {}, {}
        tables = sorted({*inserted, *claimed}, key=_ranks(metadata).__getitem__)
        return cls(tables, inserted, claimed, updated)

    def write_first(self, connection: Connection) -> None:
        """Insert the rows whose keys somebody may have taken, those that are changed as well,
        and those that come before them.
        """
        first = {*self.claimed, *(table for table, _ in self.updated)}
        last = max((n for n, table in enumerate(self.tables) if table in first), default=-1)
        for table in self.tables[: last + 1]:
            for unique, rows in self.claimed.get(table, {}).items():
                columns = [table.c[name] for name in unique]
                if len(insert_new_rows(connection, table, rows, columns)) < len(rows):
                    raise RunAgain
            insert_rows(connection, table, self.inserted.pop(table, []))

    def others(self) -> Iterator[RowSet]:
        """Return what is left to be inserted, and then to be changed."""
        for table in self.tables:
            yield RowSet(table, self.inserted.get(table, []))
        for (table, key_columns), by_key in self.updated.items():
            shapes: dict[frozenset[str], list[Row]] = {}
            for key, values in by_key.items():
                row = dict(zip(key_columns, key, strict=True)) | values
                shapes.setdefault(frozenset(values), []).append(row)
            for rows in shapes.values():
                yield RowSet(table, rows, key_columns)


@functools.cache
def _ranks(metadata: MetaData) -> Mapping[Table, int]:
    return {table: rank for rank, table in enumerate(metadata.sorted_tables)}


@functools.lru_cache(maxsize=16)
def _timestamp(now: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(now)
    return timestamp
