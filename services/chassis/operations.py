"""Long-running operations (AIP-151): started by a call, run apart from it, asked for later."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from google.longrunning import operations_pb2
from google.protobuf import any_pb2, empty_pb2
from google.protobuf.message import Message
from google.rpc import status_pb2
from sqlalchemy import Connection, select, update

from services.chassis import errors
from services.chassis.call import Call
from services.chassis.database import Database
from services.chassis.identifiers import id_of, new_uid
from services.chassis.pages import DEFAULT_SIZE, LARGEST_SIZE, Cursor
from services.chassis.policy import Method
from services.chassis.rows import Row, insert_rows
from services.chassis.transaction import Transaction

LEASE_SECONDS = 15
RENEW_SECONDS = 3
# How soon an operation whose runner died is looked for.
LOOK_SECONDS = 5
log = structlog.get_logger()

Progress = Callable[[Message], None]
# Does the work of an operation and returns its response. It tells its metadata as it goes,
# and often: that is where it ends when it is cancelled.
Runner = Callable[[Any, Progress], Awaitable[Message]]


@dataclass(frozen=True)
class Kind:
    """A kind of operation: the request that starts it, and what runs it."""

    request_class: type[Message]
    run: Runner


class LeaseLost(Exception):
    """Another runner has taken the operation up."""


class Stage:
    """How far an operation has come, and whether it is to end."""

    def __init__(self, progress: bytes, *, cancelled: bool) -> None:
        self.progress = progress
        self.cancelled = cancelled

    def tell(self, metadata: Message) -> None:
        """Note the progress; raises OperationCancelled once the operation is to end."""
        if self.cancelled:
            raise errors.OperationCancelled("the operation was cancelled")
        self.progress = _packed(metadata)


class Operations:
    """Starts operations, runs them, and takes over those whose runner died."""

    def __init__(self, service: str, database: Database, kinds: Mapping[str, Kind]) -> None:
        self._prefix = f"operations/{service}-"
        self._database = database
        self._kinds = kinds
        self._table = database.tables.operations
        self._running: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()

    def start(
        self, transaction: Transaction, kind: str, request: Message, metadata: Message
    ) -> operations_pb2.Operation:
        """Record an operation in the transaction of the call that starts it."""
        row = {
            "id": id_of(new_uid()),
            "kind": kind,
            "principal": transaction.principal,
            "request": request.SerializeToString(),
            "progress": _packed(metadata),
            "error": None,
            "response": None,
            "done": False,
            "cancel_requested": False,
            "create_time": transaction.now,
            # Already old: whoever looks first takes it up.
            "lease_time": transaction.now - timedelta(seconds=2 * LEASE_SECONDS),
        }
        insert_rows(transaction.connection, self._table, [row])
        transaction.after_commit.append(self._wake.set)
        return self._message(row)

    async def run(self) -> None:
        """Take up operations that nobody runs, until cancelled; then leave them to others."""
        try:
            await self._take_up()
        finally:
            left = list(self._running.values())
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _take_up(self) -> None:
        while True:
            try:
                while (row := await self._database.upkeep(self._take)) is not None:
                    task = asyncio.create_task(self._carry_out(row))
                    self._running[row["id"]] = task
                    task.add_done_callback(functools.partial(self._forget, row["id"]))
            except errors.Refusal as refusal:
                log.warning("operations_wait", reason=refusal.reason)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()
            self._wake.clear()

    def _forget(self, id_: str, task: asyncio.Task[None]) -> None:
        del self._running[id_]
        if not task.cancelled() and task.exception() is not None:
            log.warning("operation_left", operation=id_, kind=type(task.exception()).__name__)

    def _take(self, connection: Connection) -> Row | None:
        """Take the lease of one operation that has none; None if there is none."""
        table, now = self._table, datetime.now(UTC)
        lost = now - timedelta(seconds=LEASE_SECONDS)
        waiting = (table.c.done.is_(False), table.c.lease_time < lost)
        row = connection.execute(select(table).where(*waiting).limit(1)).mappings().one_or_none()
        if row is None or row["id"] in self._running:
            return None
        lease = update(table).where(table.c.id == row["id"], *waiting).values(lease_time=now)
        taken = connection.execute(lease.returning(*table.c)).mappings().one_or_none()
        return dict(taken) if taken else None

    async def _carry_out(self, row: Row) -> None:
        """Run an operation and record how it ended; if that cannot be, another takes it up.

        The lease is this runner's as long as it is as this runner left it.
        """
        kind = self._kinds[row["kind"]]
        stage = Stage(row["progress"], cancelled=row["cancel_requested"])
        work = asyncio.ensure_future(
            kind.run(kind.request_class.FromString(row["request"]), stage.tell)
        )
        try:
            while not work.done():
                await asyncio.wait([work], timeout=RENEW_SECONDS)
                row = await self._renew(row, {"progress": stage.progress})
                stage.cancelled = row["cancel_requested"]
        finally:
            # Left early, the work must not go on beside that of who takes it up.
            stage.cancelled = stage.cancelled or not work.done()
            work.cancel()
        outcome = _outcome(work, row["id"])
        await self._renew(row, {"done": True, "progress": stage.progress, **outcome})

    async def _renew(self, row: Row, values: Row) -> Row:
        """Renew the lease and set the values; return the row as it is then, or raise LeaseLost."""
        table, now = self._table, datetime.now(UTC)
        # A commit of which the answer was lost is repeated, and finds the new lease.
        ours = table.c.lease_time.in_([row["lease_time"], now])
        renewal = update(table).where(table.c.id == row["id"], ours).returning(*table.c)
        change = renewal.values(lease_time=now, **values)
        renewed = await self._database.upkeep(lambda c: c.execute(change).mappings().one_or_none())
        if renewed is None:
            raise LeaseLost
        return dict(renewed)

    def _message(self, row: Row) -> operations_pb2.Operation:
        message = operations_pb2.Operation(name=self._prefix + row["id"], done=row["done"])
        message.metadata.ParseFromString(row["progress"])
        if row["error"] is not None:
            message.error.CopyFrom(status_pb2.Status.FromString(row["error"]))
        elif row["response"] is not None:
            message.response.ParseFromString(row["response"])
        return message

    def _id(self, name: str) -> str:
        if not name.startswith(self._prefix):
            raise errors.ResourceNotFound(name)
        return name.removeprefix(self._prefix)

    async def GetOperation(
        self, request: operations_pb2.GetOperationRequest, _call: Call
    ) -> operations_pb2.Operation:
        """Answer how an operation stands."""
        query = select(self._table).where(self._table.c.id == self._id(request.name))
        row = await self._database.read(lambda c: c.execute(query).mappings().one_or_none())
        if row is None:
            raise errors.ResourceNotFound(request.name)
        return self._message(row)

    async def WaitOperation(
        self, request: operations_pb2.WaitOperationRequest, call: Call
    ) -> operations_pb2.Operation:
        """Answer once the operation has ended, or shortly before the deadline."""
        ask = operations_pb2.GetOperationRequest(name=request.name)
        seconds = call.remaining_seconds() - 0.2
        if request.HasField("timeout"):
            seconds = min(seconds, request.timeout.seconds + request.timeout.nanos / 1e9)
        ends_at = asyncio.get_running_loop().time() + seconds
        while True:
            operation = await self.GetOperation(ask, call)
            if operation.done or asyncio.get_running_loop().time() >= ends_at:
                return operation
            await asyncio.sleep(0.1)

    async def ListOperations(
        self, request: operations_pb2.ListOperationsRequest, _call: Call
    ) -> operations_pb2.ListOperationsResponse:
        """Answer a page of operations, the latest first; it takes no filter."""
        if request.filter:
            problem = "operations are listed without a filter"
            raise errors.FilterInvalid(problem, violations=[("filter", problem)])
        if request.page_size < 0:
            problem = "must not be below 0"
            violations = [("page_size", problem)]
            raise errors.InvalidField(f"page_size {problem}", violations=violations)
        table = self._table
        cursor = Cursor(self._database.store.page_token_key, ("operations",))
        size = min(request.page_size or DEFAULT_SIZE, LARGEST_SIZE)
        query = select(table).order_by(table.c.id.desc()).limit(size + 1)
        if request.page_token:
            query = query.where(table.c.id < cursor.read(request.page_token, [str])[0])
        rows = await self._database.read(lambda c: c.execute(query).mappings().all())
        token = cursor.write([rows[size - 1]["id"]]) if len(rows) > size else ""
        return operations_pb2.ListOperationsResponse(
            operations=[self._message(row) for row in rows[:size]], next_page_token=token
        )

    async def CancelOperation(
        self, request: operations_pb2.CancelOperationRequest, call: Call
    ) -> empty_pb2.Empty:
        """Ask an operation to end; one that has ended stays as it is."""
        table, id_ = self._table, self._id(request.name)

        def work(transaction: Transaction) -> empty_pb2.Empty:
            change = update(table).where(table.c.id == id_).values(cancel_requested=True)
            if not transaction.connection.execute(change).rowcount:
                raise errors.ResourceNotFound(request.name)
            return empty_pb2.Empty()

        return await self._database.write(call, work)


def _outcome(work: asyncio.Future[Message], id_: str) -> Row:
    """Return the response or the error of work that has ended."""
    error = work.exception()
    if error is None:
        return {"response": _packed(work.result())}
    if not isinstance(error, errors.Refusal):
        log.error("operation_failed", operation=id_, exc_info=error)
        error = errors.Internal("a defect of the service")
    return {"error": error.to_status().SerializeToString()}


def _packed(message: Message) -> bytes:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed.SerializeToString()


def operations_methods() -> tuple[Method, ...]:
    """Return the methods of google.longrunning.Operations that are served, with their policy:
    that contract is not ours and carries none.
    """
    service = operations_pb2.DESCRIPTOR.services_by_name["Operations"]
    policies = {
        "GetOperation": ("operations.read", 5.0, False),
        "ListOperations": ("operations.read", 10.0, False),
        "WaitOperation": ("operations.read", 60.0, False),
        "CancelOperation": ("operations.write", 5.0, True),
    }
    failures = {
        "ListOperations": frozenset({"FILTER_INVALID", "PAGE_TOKEN_INVALID"}),
    }
    not_found = frozenset({"RESOURCE_NOT_FOUND"})
    return tuple(
        Method(
            descriptor=service.methods_by_name[name],
            permission=permission,
            deadline_seconds=seconds,
            writes=writes,
            failures=failures.get(name, not_found),
        )
        for name, (permission, seconds, writes) in policies.items()
    )
