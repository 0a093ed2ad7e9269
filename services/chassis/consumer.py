"""Applies the feed of another service, each event once, whatever is killed or repeated."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import groupby

import structlog
from sqlalchemy import Connection, exists, select, update

from services.chassis import errors
from services.chassis.database import Database
from services.chassis.metrics import Metrics
from services.chassis.parking import Handler, park, parked_subjects
from services.chassis.read_ahead import ReadAhead
from services.chassis.rows import insert_new_rows
from services.chassis.transaction import Transaction
from vafa.aio import Suite
from vafa.errors import OutOfRange, VafaError
from vafa.events.v1 import events_pb2

# At most this much in one transaction.
BATCH_EVENTS = 100
ATTEMPTS = 3
LONGEST_WAIT_SECONDS = 5.0
# A stream that broke after longer than this had worked.
STEADY_SECONDS = 10.0
log = structlog.get_logger()


Rebuild = Callable[[Suite, Database], Awaitable[None]]


class CursorMoved(Exception):
    """Another replica has applied these events."""


class CursorTooOld(Exception):
    """The feed no longer keeps its beginning, which a new reader would need."""


# Not the fault of an event.
PASSING = (CursorMoved, errors.Unavailable, errors.Overloaded)


class Consumer:
    """Follows one feed, `feeds/{service}`, and passes its events to handlers by their types.

    The cursor lies in the consumer's own database and moves in the transaction of the
    effects, from the place it had to the new one or not at all. Events of other types are
    passed over. An event that fails three times is parked with its subject. Where the feed
    no longer keeps what the cursor asks for, `rebuild` brings the state up to date from the
    lists of the other service, and the cursor goes on from the place noted before it.
    """

    def __init__(
        self,
        source_service: str,
        suite: Suite,
        database: Database,
        handlers: Mapping[str, Handler],
        rebuild: Rebuild,
        metrics: Metrics,
    ) -> None:
        self._service = source_service
        self._source = f"feeds/{source_service}"
        self._suite = suite
        self._database = database
        self._handlers = handlers
        self._rebuild = rebuild
        self._metrics = metrics
        self._failures: dict[tuple[str, int], int] = {}

    async def run(self) -> None:
        """Follow the feed until cancelled; whatever breaks is begun again at the cursor."""
        wait_seconds = 0.1
        while True:
            started_at = time.monotonic()
            try:
                try:
                    await self._follow()
                except (OutOfRange, CursorTooOld):
                    await self._begin_anew()
            except CursorMoved:
                continue
            except (VafaError, errors.Unavailable, errors.Overloaded) as error:
                # A connection that had its time is no news.
                if time.monotonic() - started_at < STEADY_SECONDS:
                    log.info("consumer_waits", source=self._source, error=type(error).__name__)
            except Exception:
                # Counted in _attempt; the events come again.
                log.exception("consumer_failed", source=self._source)
            if time.monotonic() - started_at > STEADY_SECONDS:
                wait_seconds = 0.1
            await asyncio.sleep(wait_seconds)
            wait_seconds = min(wait_seconds * 2, LONGEST_WAIT_SECONDS)

    async def _follow(self) -> None:
        cursor = await self._database.upkeep(self._read_cursor)
        request = events_pb2.StreamEventsRequest(parent=self._source, after=cursor)
        stream = self._suite.events(self._service).StreamEvents(request)
        ahead = ReadAhead(stream)
        try:
            while part := await ahead.next(BATCH_EVENTS):
                first = part.events[0].position if part.events else part.next.position + 1
                if not cursor.position and first > 1:
                    raise CursorTooOld
                for events in _batches(part.events):
                    cursor = await self._apply(cursor, part.next.epoch, events)
                lag = part.head.position - cursor.position
                self._metrics.consumer_lag.labels(self._source).set(lag)
        finally:
            # Left as it is, the stream would go on and be fed for nobody.
            stream.cancel()
            await ahead.close()

    async def _apply(
        self, cursor: events_pb2.Cursor, epoch: str, events: Sequence[events_pb2.Event]
    ) -> events_pb2.Cursor:
        """Apply events in one transaction, or, if one fails, one by one up to it."""
        try:
            return await self._attempt(cursor, epoch, events)
        except PASSING:
            raise
        except Exception:
            if len(events) == 1:
                raise
        for event in events:
            cursor = await self._attempt(cursor, epoch, [event])
        return cursor

    async def _attempt(
        self, cursor: events_pb2.Cursor, epoch: str, events: Sequence[events_pb2.Event]
    ) -> events_pb2.Cursor:
        after = events_pb2.Cursor(epoch=epoch, position=events[-1].position)

        def work(transaction: Transaction) -> None:
            has_parked = self._move_cursor(transaction, cursor, after)
            self._handle(transaction, epoch, events, has_parked=has_parked)

        try:
            await self._database.bulk(work)
        except PASSING:
            raise
        except Exception:
            if len(events) == 1:
                key = (epoch, events[0].position)
                self._failures[key] = self._failures.get(key, 0) + 1
            raise
        if self._failures:
            for event in events:
                self._failures.pop((epoch, event.position), None)
        for label, count in Counter(map(self._type_label, events)).items():
            self._metrics.consumer_applied.labels(self._source, label).inc(count)
        return after

    def _type_label(self, event: events_pb2.Event) -> str:
        return event.type if event.type in self._handlers else "other"

    def _handle(
        self,
        transaction: Transaction,
        epoch: str,
        events: Sequence[events_pb2.Event],
        *,
        has_parked: bool,
    ) -> None:
        """Apply the events that have a handler, or park those that cannot be applied."""
        known = [event for event in events if event.type in self._handlers]
        tables = self._database.tables
        stuck: set[str] = set()
        if has_parked:
            subjects = [event.subject for event in known]
            stuck = parked_subjects(transaction.connection, tables, self._source, subjects)
        for type_, run in groupby(known, key=lambda event: event.type):
            free: list[events_pb2.Event] = []
            for event in run:
                attempts = self._failures.get((epoch, event.position), 0)
                if attempts < ATTEMPTS and event.subject not in stuck:
                    free.append(event)
                    continue
                stuck.add(event.subject)
                error = "failed" if attempts else ""
                log.error("event_parked", source=self._source, position=event.position)
                park(transaction, tables, self._source, epoch, event, attempts, error)
            if free:
                self._handlers[type_](transaction, free)

    def _read_cursor(self, connection: Connection) -> events_pb2.Cursor:
        cursors = self._database.tables.cursors
        query = select(cursors.c.epoch, cursors.c.position).where(cursors.c.source == self._source)
        row = connection.execute(query).one_or_none()
        if row is None:
            return events_pb2.Cursor()
        return events_pb2.Cursor(epoch=row.epoch, position=row.position)

    def _move_cursor(
        self, transaction: Transaction, old: events_pb2.Cursor, new: events_pb2.Cursor
    ) -> bool:
        """Move the cursor if it is where this consumer left it; raises CursorMoved.

        Returns whether events of the feed may be parked: who parks one moves the cursor too.
        """
        cursors, connection = self._database.tables.cursors, transaction.connection
        place = {"epoch": new.epoch, "position": new.position, "update_time": transaction.now}
        if not old.epoch:
            row = {"source": self._source, **place}
            if not insert_new_rows(connection, cursors, [row], [cursors.c.source]):
                raise CursorMoved
            return True
        parked = self._database.tables.parked_events
        change = (
            update(cursors)
            .where(
                cursors.c.source == self._source,
                cursors.c.epoch == old.epoch,
                cursors.c.position == old.position,
            )
            .values(place)
            .returning(exists().where(parked.c.source == self._source))
        )
        has_parked = connection.execute(change).scalar_one_or_none()
        if has_parked is None:
            raise CursorMoved
        return has_parked

    async def _begin_anew(self) -> None:
        """Note the place, rebuild from lists, and go on from the noted place."""
        log.warning("cursor_expired", source=self._source)
        request = events_pb2.ListEventsRequest(parent=self._source, page_size=1)
        noted = (await self._suite.events(self._service).ListEvents(request)).head
        await self._rebuild(self._suite, self._database)
        cursors = self._database.tables.cursors

        def work(transaction: Transaction) -> None:
            gone = cursors.delete().where(cursors.c.source == self._source)
            transaction.connection.execute(gone)
            self._move_cursor(transaction, events_pb2.Cursor(), noted)

        await self._database.bulk(work)


def _batches(events: Sequence[events_pb2.Event]) -> list[Sequence[events_pb2.Event]]:
    return [events[n : n + BATCH_EVENTS] for n in range(0, len(events), BATCH_EVENTS)]
