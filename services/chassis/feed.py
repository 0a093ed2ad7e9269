"""The feed of a service: numbering after commits, and the EventService that serves it."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Connection, func, select, true

from services.chassis import errors
from services.chassis.call import Call
from services.chassis.database import Database
from services.chassis.metrics import Metrics
from services.chassis.parking import Parking
from services.chassis.recent import Page, Recent, read_event, set_places
from services.chassis.schema import ChassisTables
from services.chassis.sequencer import (
    NUMBERED_EVENTS,
    number_committed,
    prune_events,
    prune_idempotency,
)
from services.chassis.settings import ServiceSettings
from vafa.events.v1 import events_pb2

DEFAULT_SIZE = 100
LARGEST_SIZE = 1000
STREAM_SIZE = 100
# From one numbering to the next: what is committed meanwhile is numbered together.
PAUSE_SECONDS = 0.02
# How soon to look again while another replica numbers, whose commits nobody tells of here.
FOREIGN_SECONDS = 0.05
# An idle stream looks this often for events that nobody told of, and says this often that it
# lives.
LOOK_SECONDS = 0.5
IDLE_SECONDS = 15
PRUNE_SECONDS = 600
log = structlog.get_logger()


class Feed:
    """Numbers the committed events of a database and wakes those who follow them."""

    def __init__(self, database: Database, settings: ServiceSettings, metrics: Metrics) -> None:
        self._database = database
        self._settings = settings
        self._metrics = metrics
        self._committed = asyncio.Event()
        self._advanced = asyncio.Event()
        self.recent = Recent()
        self.is_closed = False

    def close(self) -> None:
        """Send those who follow away, to another replica or to this one once it is back."""
        self.is_closed = True
        self._wake()

    def committed(self) -> None:
        """Say that a transaction with events has committed."""
        if self._database.is_sqlite:
            # The transaction itself has numbered them.
            self._wake()
        else:
            self._committed.set()

    def news(self) -> asyncio.Event:
        """Return what is set once the feed advances from here; ask before you read the feed."""
        return self._advanced

    async def run(self) -> None:
        """Number the events of PostgreSQL and wake the followers: after each commit, at most
        once in PAUSE_SECONDS; and, for those of other replicas, now and then.
        """
        longest = look_seconds = self._settings.sequence_interval_seconds
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(look_seconds):
                    await self._committed.wait()
            self._committed.clear()
            try:
                is_foreign = await self._number()
            except errors.Refusal as refusal:
                log.warning("sequencer_waits", reason=refusal.reason)
                await asyncio.sleep(0.5)
            else:
                look_seconds = min(FOREIGN_SECONDS if is_foreign else 2 * look_seconds, longest)

    async def _number(self) -> bool:
        """Number once; return whether it was another replica that moved the feed."""
        tables = self._database.tables
        numbered = await self._database.upkeep(lambda c: number_committed(c, tables))
        if numbered is None:
            # Another replica numbers, and may not have seen what was committed here.
            self._committed.set()
            await asyncio.sleep(PAUSE_SECONDS)
            return False
        count = len(numbered.events)
        has_moved = self.recent.note(numbered)
        if has_moved:
            self._wake()
        if count:
            self._metrics.outbox_published.inc(count)
            if count == NUMBERED_EVENTS:
                self._committed.set()
            else:
                await asyncio.sleep(PAUSE_SECONDS)
        return has_moved and not count

    def _wake(self) -> None:
        advanced, self._advanced = self._advanced, asyncio.Event()
        advanced.set()

    async def prune(self) -> None:
        """Delete old events and old answers, in chunks, every ten minutes."""
        settings = self._settings
        while True:
            try:
                await self._prune(prune_events, settings.event_retention_days)
                await self._prune(prune_idempotency, settings.idempotency_retention_days)
            except errors.Refusal as refusal:
                log.warning("prune_waits", reason=refusal.reason)
            await asyncio.sleep(PRUNE_SECONDS)

    async def _prune(
        self, prune: Callable[[Connection, ChassisTables, datetime], int], days: float
    ) -> None:
        before = datetime.now(UTC) - timedelta(days=days)
        tables = self._database.tables
        while await self._database.upkeep(lambda c: prune(c, tables, before)):
            await asyncio.sleep(0)

    async def measure(self) -> None:
        """Keep the gauges of the feed true."""
        outbox, store = self._database.tables.outbox, self._database.tables.store
        pending = select(func.count()).where(outbox.c.position.is_(None))
        while True:
            try:
                head, waiting = await self._database.read(
                    lambda c: (
                        c.execute(select(store.c.head_position)).scalar_one(),
                        c.execute(pending).scalar_one(),
                    )
                )
                self._metrics.feed_head.set(head)
                self._metrics.outbox_pending.set(waiting)
            except errors.Refusal:
                log.warning("feed_not_measured")
            await asyncio.sleep(5)


class EventServicer:
    """Serves vafa.events.v1.EventService."""

    def __init__(self, service: str, database: Database, feed: Feed, parking: Parking) -> None:
        self._name = f"feeds/{service}"
        self._database = database
        self._feed = feed
        self._parking = parking

    def _require_own(self, parent: str) -> None:
        if parent != self._name:
            raise errors.ResourceNotFound(parent)

    async def ListEvents(
        self, request: events_pb2.ListEventsRequest, _call: Call
    ) -> events_pb2.ListEventsResponse:
        """Answer a page of the feed."""
        self._require_own(request.parent)
        size = min(request.page_size or DEFAULT_SIZE, LARGEST_SIZE)
        return await self._page(events_pb2.ListEventsResponse, request.after, size)

    async def StreamEvents(
        self, request: events_pb2.StreamEventsRequest, _call: Call
    ) -> AsyncIterator[events_pb2.StreamEventsResponse]:
        """Send the feed, and what comes to it."""
        self._require_own(request.parent)
        after, said_at = request.after, -math.inf
        page: events_pb2.StreamEventsResponse | None = None
        while True:
            news = self._feed.news()
            # The first is read, since only the database knows whether the cursor is good.
            page = self._feed.recent.page(after, STREAM_SIZE) if page else None
            if page is None:
                page = await self._page(events_pb2.StreamEventsResponse, after, STREAM_SIZE)
            after = page.next
            if page.events or time.monotonic() - said_at > IDLE_SECONDS:
                said_at = time.monotonic()
                yield page
            if self._feed.is_closed:
                raise errors.Unavailable("the service stops; follow again from the cursor")
            if not page.events:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await news.wait()

    async def _page(self, kind: type[Page], after: events_pb2.Cursor, size: int) -> Page:
        return await self._database.read(lambda c: self._read(c, kind, after, size))

    def _read(
        self, connection: Connection, kind: type[Page], after: events_pb2.Cursor, size: int
    ) -> Page:
        outbox, store = self._database.tables.outbox, self._database.tables.store
        found = (
            select(outbox.c.position, outbox.c.payload)
            .where(outbox.c.position > after.position)
            .order_by(outbox.c.position)
            .limit(size)
            .subquery()
        )
        # One statement, and so one view of both: a pruning is seen, and no gap goes unsaid.
        query = (
            select(store.c.epoch, store.c.head_position, store.c.pruned_position, found)
            .select_from(store.outerjoin(found, true()))
            .order_by(found.c.position)
        )
        rows = connection.execute(query).all()
        epoch, head_position, pruned_position = rows[0][:3]
        foreign = after.epoch != epoch and (after.epoch or after.position)
        pruned = after.position and after.position < pruned_position
        if foreign or pruned or after.position > head_position:
            raise errors.CursorExpired(
                "the cursor is of another epoch or of events that are no longer kept",
                epoch=epoch,
                oldest_position=pruned_position + 1,
            )
        events = [read_event(row.position, row.payload) for row in rows if row.position]
        page = kind(events=events)
        set_places(page, epoch, max(after.position, pruned_position), head_position)
        return page

    async def ListParkedEvents(
        self, request: events_pb2.ListParkedEventsRequest, _call: Call
    ) -> events_pb2.ListParkedEventsResponse:
        """Answer a page of the events that could not be applied."""
        self._require_own(request.parent)
        return await self._parking.list_parked(request)

    async def RedriveEvents(self, request: events_pb2.RedriveEventsRequest, call: Call) -> Any:
        """Apply the parked events of a subject again."""
        self._require_own(request.parent)
        return await self._parking.redrive(request, call)
