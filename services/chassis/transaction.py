"""One transaction: what a command does to the state, and what is written beside it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import Connection

from services.chassis.call import Call
from services.chassis.schema import ChassisTables
from services.chassis.writes import Writes, write_rows


class Transaction(Writes):
    """A connection inside a transaction, its one moment, and the changes it tells of.

    What is put on it as on Writes is written at its end. What is put on `after_commit` is
    called on the event loop once the transaction has committed, and never if it does not.
    """

    def __init__(self, connection: Connection, tables: ChassisTables, call: Call | None) -> None:
        super().__init__(datetime.now(UTC), call)
        self.connection = connection
        self.after_commit: list[Callable[[], None]] = []
        self._tables = tables

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what is done inside, and what was told of it, if it raises."""
        self.write_now()
        events, audit = len(self.events), len(self.audit)
        try:
            with self.connection.begin_nested():
                yield
                self.write_now()
        except BaseException:
            self.inserted, self.claimed, self.updated = {}, {}, {}
            del self.events[events:], self.audit[audit:]
            raise

    def write_now(self) -> None:
        """Write the rows that were put on it so far, for what is read from the database next."""
        write_rows(self.connection, self._tables.outbox.metadata, [self])
