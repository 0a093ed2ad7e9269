"""One transaction: what a command does to the state, and what is written beside it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection, select, update

from services.chassis import errors
from services.chassis.call import Call
from services.chassis.identifiers import new_uid
from services.chassis.rows import insert_new_rows, insert_rows
from services.chassis.schema import ChassisTables
from services.chassis.sequencer import number_events
from vafa.events.v1 import events_pb2


class RunAgain(Exception):
    """Another transaction got in between; the same work decides anew if it is run again."""


class Transaction:
    """A connection inside a transaction, its one moment, and the changes it tells of.

    `now` is UTC to the microsecond and the same throughout. `principal` and `request_id`
    are empty in a transaction that no caller asked for. What is put on `after_commit` is
    called on the event loop once the transaction has committed, and never if it does not.
    """

    def __init__(self, connection: Connection, tables: ChassisTables, call: Call | None) -> None:
        self.connection = connection
        self.now = datetime.now(UTC)
        self.principal = call.principal.subject if call else ""
        self.request_id = call.request_id if call else ""
        self._method = call.method.path if call else ""
        self._tables = tables
        self._events: list[dict[str, Any]] = []
        self._audit: list[dict[str, Any]] = []
        self.after_commit: list[Callable[[], None]] = []

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
        create_time = Timestamp()
        create_time.FromDatetime(self.now)
        event = events_pb2.Event(
            uid=str(new_uid()),
            type=event_type,
            subject=subject,
            subject_version=version,
            create_time=create_time,
            changed_paths=paths,
            related=related or {},
            request_id=self.request_id,
        )
        self._events.append(
            {
                "aggregatetype": event_type.partition(".")[0],
                "aggregateid": subject,
                "type": event_type,
                "payload": event.SerializeToString(),
                "create_time": self.now,
            }
        )
        self._audit.append(
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

    @property
    def has_events(self) -> bool:
        """Whether a change was told of."""
        return bool(self._events)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what is done inside, and what was told of it, if it raises."""
        events, audit = len(self._events), len(self._audit)
        try:
            with self.connection.begin_nested():
                yield
        except BaseException:
            del self._events[events:], self._audit[audit:]
            raise

    def claim(self, call: Call) -> bytes | None:
        """Claim the call's request_id, or return the answer that stands under it.

        A twin on another connection waits here until the first has committed.
        """
        table = self._tables.idempotency
        key = {
            "principal": call.principal.subject,
            "method": call.method.path,
            "request_id": call.request_id,
        }
        row = {**key, "request_hash": call.request_hash, "create_time": self.now}
        if insert_new_rows(self.connection, table, [row], [table.c.request_id]):
            return None
        query = select(table.c.request_hash, table.c.response)
        for name, value in key.items():
            query = query.where(table.c[name] == value)
        stored = self.connection.execute(query).one_or_none()
        if stored is None:
            # Pruned in between.
            raise RunAgain
        if stored.request_hash != call.request_hash:
            raise errors.RequestIdReused(
                "the request_id was used for another request",
                violations=[("request_id", "stands for another request of this method")],
                request_id=call.request_id,
            )
        return bytes(stored.response)

    def store_answer(self, call: Call, response: bytes) -> None:
        """Store the answer under the claimed request_id."""
        table = self._tables.idempotency
        self.connection.execute(
            update(table)
            .where(
                table.c.principal == call.principal.subject,
                table.c.method == call.method.path,
                table.c.request_id == call.request_id,
            )
            .values(response=response)
        )

    def finish(self, *, number_events_now: bool) -> int:
        """Write what was told of; the events last, so that their ids follow the state.

        Returns how many events got their position.
        """
        insert_rows(self.connection, self._tables.audit, self._audit)
        insert_rows(self.connection, self._tables.outbox, self._events)
        total = 0
        if number_events_now and self._events:
            while numbered := number_events(self.connection, self._tables):
                total += numbered
        return total
