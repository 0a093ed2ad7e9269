"""The doors to the database: read, get, snapshot, write, batch, bulk. There is no other.

Calls are asynchronous at the edge; the work is plain functions over a connection, run on
lanes of threads, each thread with a connection of its own.
"""

import asyncio
import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from google.protobuf.message import Message
from sqlalchemy import Connection, select

from services.chassis import errors
from services.chassis.batch import (
    Answer,
    Asked,
    BatchCommand,
    Groups,
    Outcome,
    answered,
    run_group,
)
from services.chassis.call import Call
from services.chassis.coalescing import Coalescer
from services.chassis.engines import make_engine, sent_with_begin
from services.chassis.fairness import Kind
from services.chassis.idempotency import claim, store_claimed
from services.chassis.lanes import Lane
from services.chassis.metrics import Metrics
from services.chassis.repeating import again
from services.chassis.resource import Resource
from services.chassis.schema import ChassisTables
from services.chassis.settings import ServiceSettings
from services.chassis.steps import find_many
from services.chassis.transaction import Transaction
from services.chassis.writes import finish

T = TypeVar("T")
M = TypeVar("M", bound=Message)
Q = TypeVar("Q")
log = structlog.get_logger()

BOUND_TIME = """
SELECT set_config('lock_timeout', %(lock)s, true),
    set_config('statement_timeout', %(statement)s, true),
    set_config('idle_in_transaction_session_timeout', %(idle)s, true)
"""


@dataclass(frozen=True)
class Store:
    """Who a database is; see the table `store`."""

    epoch: str
    page_token_key: bytes


class Database:
    """One service's database."""

    def __init__(self, settings: ServiceSettings, tables: ChassisTables, metrics: Metrics) -> None:
        self.tables = tables
        self._settings = settings
        self._metrics = metrics
        self._store: Store | None = None
        self.is_sqlite = settings.database_url.startswith("sqlite")
        writers = 1 if self.is_sqlite else settings.writer_connections
        # Our own work is never refused: there is only so much of it.
        waiting = {
            Kind.INTERACTIVE: settings.waiting_calls,
            Kind.BATCH: settings.waiting_batches,
            Kind.CONSUMER: sys.maxsize,
        }

        def lane(name: str, threads: int) -> Lane:
            return Lane(name, threads, waiting, metrics)

        self._lanes = {
            "read": lane("read", settings.reader_connections),
            "report": lane("report", 1),
            "write": lane("write", writers),
        }
        # SQLite has one writer: who writes waits here, and not in its busy handler.
        self._lanes |= {
            # Upkeep numbers events; it never waits behind bulk.
            name: self._lanes["write"] if self.is_sqlite else lane(name, 1)
            for name in ("bulk", "upkeep")
        }
        self._reads: dict[Resource[Any], Coalescer[Any]] = {}
        self._groups: dict[BatchCommand[Any, Any, Any], Groups[Any, Any]] = {}
        self._reader = make_engine(settings, settings.reader_connections + 2, "BEGIN")
        self._writer = make_engine(settings, writers + 2, "BEGIN IMMEDIATE")

    @property
    def store(self) -> Store:
        """Who this database is; known once the service is open."""
        if self._store is None:
            raise RuntimeError("the database is not open")
        return self._store

    async def open(self, told: Callable[[], None]) -> None:
        """Learn who the database is; `told` is called on the loop after a commit of events."""
        table = self.tables.store
        query = select(table.c.epoch, table.c.page_token_key)
        row = await self.upkeep(lambda c: c.execute(query).one())
        self._store = Store(epoch=row.epoch, page_token_key=row.page_token_key)
        self._loop, self._told = asyncio.get_running_loop(), told

    def close(self) -> None:
        """End all work and close all connections."""
        for lane in self._lanes.values():
            lane.close()
        self._reader.dispose()
        self._writer.dispose()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run reads, each statement over the state of its own moment."""
        return await self._lanes["read"].run(functools.partial(self._autocommit, work))

    async def get(self, resource: Resource[M], name: str) -> M:
        """Return a live resource by its name, shared with others who ask for it at the same
        moment: it must not be changed. Raises ResourceNotFound.
        """
        resource.key_of(name)
        reads = self._reads.get(resource)
        if reads is None:

            async def read(names: Sequence[str]) -> Mapping[str, M]:
                return await self.read(lambda c: find_many(c, resource, names))

            reads = self._reads[resource] = Coalescer(read)
        message: M = await reads.get(name)
        return message

    async def snapshot(self, work: Callable[[Connection], T]) -> T:
        """Run reads that all see one state of the database."""
        return await self._lanes["read"].run(functools.partial(self._repeatable, work))

    async def bulk_snapshot(self, work: Callable[[Connection], T]) -> T:
        """Run long reads that all see one state, apart from the calls that wait for an answer."""
        return await self._lanes["report"].run(functools.partial(self._repeatable, work))

    async def write(self, call: Call, work: Callable[[Transaction], M]) -> M:
        """Run one command in one transaction, and store its answer under its request_id.

        A repeat gets the stored answer, which is without secrets; another payload raises
        RequestIdReused. A Refusal rolls back and is not stored. Work may run again after a
        failure that will pass, so it touches no clock, network or log; raises Unavailable when
        that does not help.
        """
        commit = functools.partial(self._command, call, work)
        kind = Kind.BATCH if call.method.is_batch else Kind.INTERACTIVE
        answer = await self._lanes["write"].run(commit, kind, call.principal.subject)
        return self._told_to(call, answer)

    async def batch(self, call: Call, command: BatchCommand[Q, Any, M], request: Q) -> M:
        """Run a hot command in a group with others of its kind that came meanwhile.

        What `write` promises holds of it too.
        """
        groups = self._groups.get(command)
        if groups is None:
            run = functools.partial(self._run_group, command)
            groups = self._groups[command] = Groups(run, self._settings.waiting_calls)
        answer: Answer[M] = await groups.ask(call, request)
        return self._told_to(call, answer)

    def _told_to(self, call: Call, answer: Answer[M]) -> M:
        call.serialized = answer.serialized
        call.replayed = answer.replayed
        if answer.replayed:
            self._metrics.idempotency_hits.inc()
        return answer.message

    async def _run_group(
        self, command: BatchCommand[Q, Any, M], group: Sequence[Asked[Q, M]]
    ) -> Sequence[Outcome]:
        self._metrics.group_commands.labels(command.name).observe(len(group))
        commit = functools.partial(self._group, command, group)
        return await self._lanes["write"].run(commit)

    async def bulk(self, work: Callable[[Transaction], T]) -> T:
        """Run one chunk of long work in one transaction, apart from the calls that wait."""
        run = functools.partial(self._transact, work, None)
        return await self._lanes["bulk"].run(run, Kind.CONSUMER)

    async def upkeep(self, work: Callable[[Connection], T]) -> T:
        """Run the chassis's own work in one transaction."""

        def run(transaction: Transaction) -> T:
            return work(transaction.connection)

        return await self._lanes["upkeep"].run(
            functools.partial(self._transact, run, None), Kind.CONSUMER
        )

    def _autocommit(self, work: Callable[[Connection], T]) -> T:
        def once() -> T:
            with self._reader.connect() as connection:
                return work(connection.execution_options(isolation_level="AUTOCOMMIT"))

        return again(once, time.monotonic() + self._settings.statement_timeout_seconds)

    def _repeatable(self, work: Callable[[Connection], T]) -> T:
        def once() -> T:
            with self._reader.connect() as connection:
                if not self.is_sqlite:
                    connection.execution_options(
                        isolation_level="REPEATABLE READ", postgresql_readonly=True
                    )
                with connection.begin():
                    return work(connection)

        return again(once, time.monotonic() + self._settings.statement_timeout_seconds)

    def _command(self, call: Call, work: Callable[[Transaction], M]) -> Answer[M]:
        # A commit whose confirmation was lost may have happened: then its answer stands under
        # the request_id, and only here is it whole.
        given: dict[bytes, Answer[M]] = {}
        table = self.tables.idempotency

        def answer(transaction: Transaction) -> Answer[M]:
            stored = claim(transaction.connection, table, call, transaction.now)
            if stored is None:
                whole, to_store = answered(work(transaction))
                store_claimed(transaction.connection, table, call, to_store)
                given[to_store] = whole
                return whole
            if stored in given:
                return given[stored]
            response: Any = call.method.response_class.FromString(stored)
            return Answer(response, stored, replayed=True)

        return self._transact(answer, call)

    def _transact(self, work: Callable[[Transaction], T], call: Call | None) -> T:
        limit = self._settings.statement_timeout_seconds

        def once() -> T:
            with self._writer.connect() as connection, connection.begin():
                self._bound_time(connection, call.remaining_seconds() if call else limit)
                transaction = Transaction(connection, self.tables, call)
                result = work(transaction)
                told, numbered = finish(
                    connection, self.tables, [transaction], number_events_now=self.is_sqlite
                )
            self._committed(told, numbered)
            for act in transaction.after_commit:
                self._loop.call_soon_threadsafe(act)
            return result

        return again(once, call.ends_at if call else time.monotonic() + limit)

    def _group(
        self, command: BatchCommand[Q, Any, M], group: Sequence[Asked[Q, M]]
    ) -> list[Outcome]:
        """Run a group; one that the database refuses is run in halves, until the one command
        that it is about fails alone.
        """
        ends_at = max(asked.call.ends_at for asked in group)

        def once() -> list[Outcome]:
            with self._writer.connect() as connection, connection.begin():
                self._bound_time(connection, ends_at - time.monotonic())
                outcomes, told, numbered = run_group(
                    connection, self.tables, command, group, number_events_now=self.is_sqlite
                )
            self._committed(told, numbered)
            return outcomes

        try:
            return again(once, ends_at)
        except errors.Unavailable as refusal:
            return [refusal] * len(group)
        except Exception as error:
            if len(group) == 1:
                return [error]
            if not isinstance(error, errors.Refusal):
                log.exception("group_failed", command=command.name, commands=len(group))
            middle = len(group) // 2
            return [
                *self._group(command, group[:middle]),
                *self._group(command, group[middle:]),
            ]

    def _committed(self, told: int, numbered: int) -> None:
        # From this thread, since whoever asked may have given up meanwhile.
        if told:
            self._metrics.outbox_published.inc(numbered)
            self._loop.call_soon_threadsafe(self._told)

    def _bound_time(self, connection: Connection, remaining_seconds: float) -> None:
        """Let no transaction wait or idle for long, so that a frozen replica frees the others."""
        if self.is_sqlite:
            return
        settings = self._settings
        statement_seconds = min(settings.statement_timeout_seconds, remaining_seconds)
        statement_seconds = max(0.001, statement_seconds)
        bounds = {
            "lock": settings.lock_timeout_seconds,
            "statement": statement_seconds,
            "idle": max(1.0, 2 * settings.lock_timeout_seconds),
        }
        milliseconds = {name: str(round(value * 1000)) for name, value in bounds.items()}
        with sent_with_begin(connection):
            connection.exec_driver_sql(BOUND_TIME, milliseconds)
