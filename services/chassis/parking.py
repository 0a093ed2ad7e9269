"""Events that could not be applied: kept with their subject, in order, until redriven."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog
from sqlalchemy import Connection, Select, func, select, tuple_

from services.chassis import errors
from services.chassis.call import Call
from services.chassis.database import Database
from services.chassis.metrics import Metrics
from services.chassis.pages import DEFAULT_SIZE, LARGEST_SIZE, Cursor
from services.chassis.rows import Row, insert_rows
from services.chassis.schema import ChassisTables
from services.chassis.transaction import Transaction
from vafa.events.v1 import events_pb2

# Applies a run of events of one type, in their order, in the transaction that moves the
# cursor. A replay must find nothing left to do.
Handler = Callable[[Transaction, Sequence[events_pb2.Event]], None]
log = structlog.get_logger()


def parked_subjects(
    connection: Connection, tables: ChassisTables, source: str, subjects: Sequence[str]
) -> set[str]:
    """Return the subjects of which events are parked, so that new ones must queue behind."""
    parked = tables.parked_events
    query = (
        select(parked.c.subject)
        .distinct()
        .where(parked.c.source == source, parked.c.subject.in_(set(subjects)))
    )
    return set(connection.execute(query).scalars())


def park(
    transaction: Transaction,
    tables: ChassisTables,
    source: str,
    epoch: str,
    event: events_pb2.Event,
    attempts: int,
    error: str,
) -> None:
    """Keep an event for later."""
    row = {
        "source": source,
        "epoch": epoch,
        "position": event.position,
        "subject": event.subject,
        "payload": event.SerializeToString(),
        "attempts": attempts,
        "last_error": error,
        "park_time": transaction.now,
    }
    insert_rows(transaction.connection, tables.parked_events, [row])


class Parking:
    """The parked events of one service, and the handlers that may apply them after all."""

    def __init__(self, database: Database, handlers: Mapping[str, Mapping[str, Handler]]) -> None:
        self._database = database
        self._handlers = handlers

    def _ordered(self) -> Select[tuple[object, ...]]:
        parked = self._database.tables.parked_events
        # A subject's events of an older epoch were parked earlier.
        return select(parked).order_by(parked.c.source, parked.c.park_time, parked.c.position)

    async def list_parked(
        self, request: events_pb2.ListParkedEventsRequest
    ) -> events_pb2.ListParkedEventsResponse:
        """Answer ListParkedEvents; raises PageTokenInvalid."""
        parked = self._database.tables.parked_events
        order = [parked.c.source, parked.c.park_time, parked.c.position]
        cursor = Cursor(self._database.store.page_token_key, ("parked_events",))
        size = min(request.page_size or DEFAULT_SIZE, LARGEST_SIZE)
        query = self._ordered().limit(size + 1)
        if request.page_token:
            types = [column.type.python_type for column in order]
            place = cursor.read(request.page_token, types)
            query = query.where(tuple_(*order) > tuple_(*place))
        rows = await self._database.read(lambda c: c.execute(query).mappings().all())
        response = events_pb2.ListParkedEventsResponse()
        for row in rows[:size]:
            _fill(response.parked_events.add(), row)
        if len(rows) > size:
            last = rows[size - 1]
            response.next_page_token = cursor.write([last[column.name] for column in order])
        return response

    async def redrive(
        self, request: events_pb2.RedriveEventsRequest, call: Call
    ) -> events_pb2.RedriveEventsResponse:
        """Answer RedriveEvents; raises ResourceNotFound if nothing of the subject is parked."""
        return await self._database.write(call, lambda t: self._redrive(t, request))

    def _redrive(
        self, transaction: Transaction, request: events_pb2.RedriveEventsRequest
    ) -> events_pb2.RedriveEventsResponse:
        parked, connection = self._database.tables.parked_events, transaction.connection
        of_subject = (parked.c.source == request.source, parked.c.subject == request.subject)
        query = self._ordered().where(*of_subject).with_for_update()
        rows = connection.execute(query).mappings().all()
        if not rows:
            raise errors.ResourceNotFound(request.subject)
        applied = 0
        for row in rows:
            event = events_pb2.Event.FromString(row["payload"])
            this = (
                parked.c.source == row["source"],
                parked.c.epoch == row["epoch"],
                parked.c.position == row["position"],
            )
            failure = self._try(transaction, request.source, event)
            if failure:
                attempts = row["attempts"] + 1
                change = parked.update().where(*this)
                connection.execute(change.values(attempts=attempts, last_error=failure))
                break
            connection.execute(parked.delete().where(*this))
            applied += 1
        return events_pb2.RedriveEventsResponse(
            applied_count=applied, parked_count=len(rows) - applied
        )

    def _try(self, transaction: Transaction, source: str, event: events_pb2.Event) -> str:
        """Apply an event behind a savepoint; return the kind of its failure, or nothing."""
        handler = self._handlers.get(source, {}).get(event.type)
        if handler is None:
            return ""
        try:
            with transaction.savepoint():
                handler(transaction, [event])
        except Exception as error:
            log.exception("event_failed", source=source, position=event.position)
            return type(error).__name__
        return ""

    async def measure(self, metrics: Metrics) -> None:
        """Keep the gauge of parked events true."""
        parked = self._database.tables.parked_events
        query = select(parked.c.source, func.count()).group_by(parked.c.source)
        while True:
            try:
                rows = await self._database.read(lambda c: c.execute(query).all())
                counts = dict.fromkeys(self._handlers, 0) | {row[0]: row[1] for row in rows}
                for source, count in counts.items():
                    metrics.consumer_parked.labels(source).set(count)
            except errors.Refusal:
                log.warning("parking_not_measured")
            await asyncio.sleep(5)


def _fill(message: events_pb2.ParkedEvent, row: Row) -> None:
    message.source = row["source"]
    message.event.ParseFromString(row["payload"])
    message.attempts = row["attempts"]
    message.last_error = row["last_error"]
    message.park_time.FromDatetime(row["park_time"])
