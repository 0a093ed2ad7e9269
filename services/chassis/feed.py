"""The feed of a service: numbering after commits, and the EventService that serves it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Connection, func, select

from services.chassis import errors
from services.chassis.call import Call
from services.chassis.database import Database
from services.chassis.metrics import Metrics
from services.chassis.parking import Parking
from services.chassis.schema import ChassisTables
from services.chassis.sequencer import number_events, prune_events, prune_idempotency
from services.chassis.settings import ServiceSettings
from vafa.events.v1 import events_pb2

DEFAULT_SIZE = 100
LARGEST_SIZE = 1000
STREAM_SIZE = 100
# An idle stream looks this often for events that another replica numbered, and says so
# this often that it lives.
LOOK_SECONDS = 0.5
# How soon to try again when another replica numbers.
BUSY_SECONDS = 0.02
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
        """Number the events of PostgreSQL, after each commit and, for those of a replica that
        died, now and then; wake the followers.
        """
        tables = self._database.tables
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.sequence_interval_seconds):
                    await self._committed.wait()
            self._committed.clear()
            try:
                while numbered := await self._database.upkeep(lambda c: number_events(c, tables)):
                    self._metrics.outbox_published.inc(numbered)
                    self._wake()
                if numbered is None:
                    await asyncio.sleep(BUSY_SECONDS)
                    self._committed.set()
            except errors.Refusal as refusal:
                log.warning("sequencer_waits", reason=refusal.reason)
                await asyncio.sleep(0.5)

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
        return await self._page(request.after, size)

    async def StreamEvents(
        self, request: events_pb2.StreamEventsRequest, _call: Call
    ) -> AsyncIterator[events_pb2.StreamEventsResponse]:
        """Send the feed, and what comes to it."""
        self._require_own(request.parent)
        after, said_at = request.after, 0.0
        while True:
            news = self._feed.news()
            page = await self._page(after, STREAM_SIZE)
            after = page.next
            if page.events or time.monotonic() - said_at > IDLE_SECONDS:
                said_at = time.monotonic()
                yield events_pb2.StreamEventsResponse(
                    events=page.events, next=page.next, head=page.head
                )
            if self._feed.is_closed:
                raise errors.Unavailable("the service stops; follow again from the cursor")
            if not page.events:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await news.wait()

    async def _page(self, after: events_pb2.Cursor, size: int) -> events_pb2.ListEventsResponse:
        return await self._database.read(lambda c: self._read(c, after, size))

    def _read(
        self, connection: Connection, after: events_pb2.Cursor, size: int
    ) -> events_pb2.ListEventsResponse:
        outbox, store = self._database.tables.outbox, self._database.tables.store
        query = (
            select(outbox.c.position, outbox.c.payload)
            .where(outbox.c.position > after.position)
            .order_by(outbox.c.position)
            .limit(size)
        )
        rows = connection.execute(query).all()
        # Read after the events: a pruning in between is then seen, and no gap goes unsaid.
        identity = connection.execute(select(store)).one()
        foreign = after.epoch != identity.epoch and (after.epoch or after.position)
        pruned = after.position and after.position < identity.pruned_position
        if foreign or pruned or after.position > identity.head_position:
            raise errors.CursorExpired(
                "the cursor is of another epoch or of events that are no longer kept",
                epoch=identity.epoch,
                oldest_position=identity.pruned_position + 1,
            )
        response = events_pb2.ListEventsResponse()
        last = max(after.position, identity.pruned_position)
        for row in rows:
            event = response.events.add()
            event.ParseFromString(row.payload)
            event.position = last = row.position
        response.next.epoch = response.head.epoch = identity.epoch
        response.next.position = last
        response.head.position = max(identity.head_position, last)
        return response

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
