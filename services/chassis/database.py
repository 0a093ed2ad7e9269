"""The doors to the database: read, get, snapshot, write, bulk. There is no other.

Calls are asynchronous at the edge; the work is plain functions over a connection, run on
lanes of threads, each thread with a connection of its own.
"""

import asyncio
import functools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
import structlog
from google.protobuf.message import Message
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event, func, select
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import QueuePool

from services.chassis import errors
from services.chassis.call import Call
from services.chassis.metrics import Metrics
from services.chassis.resource import Resource
from services.chassis.schema import ChassisTables
from services.chassis.settings import ServiceSettings
from services.chassis.steps import get
from services.chassis.transaction import RunAgain, Transaction
from services.chassis.withholding import without_secrets

T = TypeVar("T")
M = TypeVar("M", bound=Message)
log = structlog.get_logger()

# The same command may succeed when it is run again: serialization failure, deadlock, lock not
# available, statement cancelled, the server going away; and, once somebody has seen to it: no
# room on the disk or in the memory, no more connections, a database that may only be read.
TRANSIENT_SQLSTATES = frozenset(
    {"40001", "40P01", "55P03", "57014", "57P01", "57P02", "57P03"}
    | {"53100", "53200", "53300", "58030", "25006"}
)
TRANSIENT_SQLITE = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN")
SQLITE_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000", "foreign_keys=ON")
ATTEMPTS = 3


class Lane:
    """Threads for one kind of work, and a bounded queue before them."""

    def __init__(self, name: str, threads: int, waiting_limit: int, metrics: Metrics) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._threads = threads
        self._limit = threads + waiting_limit
        self._present = 0
        self._size, self._in_use, self._waiting, self._wait = metrics.lane(name)
        self._size.set(threads)

    async def run(self, work: Callable[[], T]) -> T:
        """Run the work on a thread of the lane; raises Overloaded if too much waits already."""
        if self._present >= self._limit:
            raise errors.Overloaded("too many calls wait", retry_delay_seconds=0.5)
        self._count(1)
        asked = time.monotonic()

        def timed() -> T:
            self._wait.observe(time.monotonic() - asked)
            return work()

        future = self._executor.submit(timed)
        loop = asyncio.get_running_loop()
        # Counted when the work ends, which is later than a caller who gives up.
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._count, -1))
        return await asyncio.wrap_future(future)

    def _count(self, change: int) -> None:
        self._present += change
        self._in_use.set(min(self._present, self._threads))
        self._waiting.set(max(0, self._present - self._threads))

    def close(self) -> None:
        """End the threads once their work is done."""
        self._executor.shutdown(wait=True)


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
        waiting = settings.waiting_calls
        self._lanes = {
            "read": Lane("read", settings.reader_connections, waiting, metrics),
            "report": Lane("report", 1, waiting, metrics),
            "write": Lane("write", writers, waiting, metrics),
        }
        # SQLite has one writer: who writes waits here, and not in its busy handler.
        self._lanes |= {
            # Upkeep numbers events; it never waits behind bulk.
            name: self._lanes["write"] if self.is_sqlite else Lane(name, 1, waiting, metrics)
            for name in ("bulk", "upkeep")
        }
        self._reader = self._engine(settings.reader_connections + 2, "BEGIN")
        self._writer = self._engine(writers + 2, "BEGIN IMMEDIATE")

    def _engine(self, size: int, sqlite_begin: str) -> Engine:
        settings = self._settings
        arguments: dict[str, Any] = {}
        if not self.is_sqlite:
            arguments["prepare_threshold"] = settings.prepare_threshold or None
            arguments["connect_timeout"] = 3
            if settings.startup_options:
                milliseconds = round(settings.statement_timeout_seconds * 1000)
                options = f"-c TimeZone=UTC -c statement_timeout={milliseconds}"
                arguments["options"] = options
        engine = create_engine(
            settings.database_url,
            connect_args=arguments,
            poolclass=QueuePool,
            pool_size=size,
            max_overflow=0,
            pool_timeout=2,
            # Errors are logged, and parameters are personal data.
            hide_parameters=True,
            # A connection that the server dropped is found when it is used; see _transact.
            pool_recycle=1800,
        )
        event.listen(engine, "handle_error", _withhold_detail)
        if self.is_sqlite:
            prepare_sqlite(engine, sqlite_begin, SQLITE_PRAGMAS)
        return engine

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
        """Return a live resource by its name; raises ResourceNotFound."""
        return await self.read(lambda c: resource.to_message(get(c, resource, name)))

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
        answer, was_stored = await self._lanes["write"].run(commit)
        if was_stored:
            call.replayed = True
            self._metrics.idempotency_hits.inc()
        return answer

    async def bulk(self, work: Callable[[Transaction], T]) -> T:
        """Run one chunk of long work in one transaction, apart from the calls that wait."""
        return await self._lanes["bulk"].run(functools.partial(self._transact, work, None))

    async def upkeep(self, work: Callable[[Connection], T]) -> T:
        """Run the chassis's own work in one transaction."""

        def run(transaction: Transaction) -> T:
            return work(transaction.connection)

        return await self._lanes["upkeep"].run(functools.partial(self._transact, run, None))

    def _autocommit(self, work: Callable[[Connection], T]) -> T:
        def once() -> T:
            with self._reader.connect() as connection:
                return work(connection.execution_options(isolation_level="AUTOCOMMIT"))

        return _again(once, time.monotonic() + self._settings.statement_timeout_seconds)

    def _repeatable(self, work: Callable[[Connection], T]) -> T:
        def once() -> T:
            with self._reader.connect() as connection:
                if not self.is_sqlite:
                    connection.execution_options(
                        isolation_level="REPEATABLE READ", postgresql_readonly=True
                    )
                with connection.begin():
                    return work(connection)

        return _again(once, time.monotonic() + self._settings.statement_timeout_seconds)

    def _command(self, call: Call, work: Callable[[Transaction], M]) -> tuple[M, bool]:
        # A commit whose confirmation was lost may have happened: then its answer stands under
        # the request_id, and only here is it whole.
        given: dict[bytes, M] = {}

        def answer(transaction: Transaction) -> tuple[M, bool]:
            stored = transaction.claim(call)
            if stored is None:
                response = work(transaction)
                to_store = without_secrets(response).SerializeToString()
                transaction.store_answer(call, to_store)
                given[to_store] = response
                return response, False
            if stored in given:
                return given[stored], False
            return call.method.response_class.FromString(stored), True  # type: ignore[return-value]

        return self._transact(answer, call)

    def _transact(self, work: Callable[[Transaction], T], call: Call | None) -> T:
        limit = self._settings.statement_timeout_seconds

        def once() -> T:
            with self._writer.connect() as connection, connection.begin():
                if not self.is_sqlite:
                    self._bound_time(connection, call)
                transaction = Transaction(connection, self.tables, call)
                result = work(transaction)
                numbered = transaction.finish(number_events_now=self.is_sqlite)
            self._metrics.outbox_published.inc(numbered)
            # From this thread, since whoever asked may have given up meanwhile.
            if transaction.has_events:
                transaction.after_commit.append(self._told)
            for act in transaction.after_commit:
                self._loop.call_soon_threadsafe(act)
            return result

        return _again(once, call.ends_at if call else time.monotonic() + limit)

    def _bound_time(self, connection: Connection, call: Call | None) -> None:
        """Let no transaction wait or idle for long, so that a frozen replica frees the others."""
        settings = self._settings
        statement_seconds = settings.statement_timeout_seconds
        if call is not None:
            statement_seconds = max(0.001, min(statement_seconds, call.remaining_seconds()))
        bounds = {
            "lock_timeout": settings.lock_timeout_seconds,
            "statement_timeout": statement_seconds,
            "idle_in_transaction_session_timeout": max(1.0, 2 * settings.lock_timeout_seconds),
        }
        milliseconds = {name: str(round(value * 1000)) for name, value in bounds.items()}
        connection.execute(
            select(*(func.set_config(name, value, True) for name, value in milliseconds.items()))
        )


def prepare_sqlite(engine: Engine, begin: str, pragmas: Sequence[str]) -> None:
    """Take transactions out of the driver's hands: it begins too late to be safe."""

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql(begin)


def _withhold_detail(context: ExceptionContext) -> None:
    """Take out of an error what PostgreSQL quotes of the rows; errors are logged."""
    error, wrapped = context.original_exception, context.sqlalchemy_exception
    if isinstance(error, psycopg.Error) and error.diag.message_detail and wrapped:
        error.args = wrapped.args = (error.diag.message_primary,)


def _is_transient(error: DBAPIError) -> bool:
    """Whether the same work may succeed if it is run again.

    A connection lost during the commit counts too: what was committed is found by its
    request_id when the command runs again.
    """
    if error.connection_invalidated or getattr(error.orig, "sqlstate", None) in TRANSIENT_SQLSTATES:
        return True
    if isinstance(error.orig, psycopg.OperationalError) and error.orig.sqlstate is None:
        # Not the server's word: the connection itself failed, be it while rolling back.
        return True
    if getattr(error.orig, "sqlite_errorname", "").startswith(TRANSIENT_SQLITE):
        return True
    text = str(error.orig)
    return isinstance(error, OperationalError) and (
        "database is locked" in text or "connection" in text or "timeout" in text
    )


def _kind(error: DBAPIError | RunAgain) -> str:
    """Return what happened as the database names it, such as SQLITE_FULL or 40001."""
    orig = getattr(error, "orig", None)
    told = getattr(orig, "sqlstate", None) or getattr(orig, "sqlite_errorname", None)
    return str(told or type(error).__name__)


def _again(once: Callable[[], T], ends_at: float) -> T:
    """Run once, and again after a failure that will pass, until the deadline at most."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return once()
        except (DBAPIError, RunAgain) as error:
            if isinstance(error, DBAPIError) and not _is_transient(error):
                raise
            log.warning("database_transient", attempt=attempt, kind=_kind(error))
            if attempt == ATTEMPTS or time.monotonic() >= ends_at:
                text = "the database could not be reached in time; repeat with the same request_id"
                raise errors.Unavailable(text, retry_delay_seconds=1) from error
            time.sleep(0.02 * attempt)
    raise AssertionError
