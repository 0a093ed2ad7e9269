"""Customers and their orders out of a CSV file, through the public API."""

import asyncio
import hashlib
import re
import time
import uuid
from bisect import insort
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import vafa
from services.command.csv_file import CsvFile
from services.command.csv_messages import (
    Customer,
    blame_purchase,
    contact_request,
    money_of,
    order_of,
)
from services.command.csv_rows import BadRow, CannotLoad, Purchase
from services.command.patience import Reach, call_patiently
from services.command.settling import settle_all
from vafa.contacts.v1 import contacts_pb2
from vafa.loyalty.v1 import orders_pb2, programs_pb2

T = TypeVar("T")

SHOWN_ROWS = 20
_SYSTEM: Final = re.compile(r"[a-z0-9_-]{1,50}")
# A batch has the same request_id whenever and by whomever it is sent. Never to be changed.
_BATCHES: Final = uuid.UUID("d0b0a8f4-3c0e-5a56-9c0b-2f1f8f2f6a11")


@dataclass(frozen=True)
class LoadOptions:
    """How a file is loaded.

    The programme is made with the currency and `points` for each whole `per` if it is not
    there. `system` names the ids of the file's customers: by default the name of the file up
    to its first `_`. `columns` are the columns of fields that have others than usual.
    """

    program: str = "club"
    currency_code: str = "USD"
    points: int = 1
    per: Decimal = Decimal("1.00")
    system: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    batch_size: int = 500
    concurrency: int = 4
    patience_seconds: float = 120


@dataclass(frozen=True)
class LoadReport:
    """What came of a load.

    Customers and orders are those of the file that are in the suite now, whoever brought
    them. New is by what the programme grew meanwhile. `skipped` are the first 20 by line.
    """

    customers_count: int
    orders_count: int
    new_members_count: int
    new_orders_count: int
    skipped_count: int
    skipped: tuple[BadRow, ...]
    duration_seconds: float
    summary: programs_pb2.ProgramSummary


async def load_file(
    suite: vafa.aio.Suite,
    path: Path,
    options: LoadOptions,
    progress: Callable[[int, int], None],
) -> LoadReport:
    """Load a file, and tell `progress` how many customers and rows of how many are done.

    Writes nothing twice: it may be ended at any moment and run again, from the beginning of
    the file. A service that is away is waited for, up to the patience for each call. Raises
    CannotLoad before anything is sent, and the VafaError of a call that could not be made.
    """
    return await load_through(lambda: suite, path, options, progress)


async def load_through(
    reach: Reach, path: Path, options: LoadOptions, progress: Callable[[int, int], None]
) -> LoadReport:
    """Do as load_file, with a suite that may be another at each attempt of a call."""
    began = time.monotonic()
    source = CsvFile(path, options.columns, _system(path, options))
    customers, rows_count = await asyncio.to_thread(source.survey)
    load = _Load(reach, options, source, lambda done: progress(done, len(customers) + rows_count))
    await load.ensure_program()
    before = await load.summarize()
    await load.load_contacts(customers)
    await load.load_orders()
    after = await load.summarize()
    return LoadReport(
        customers_count=len(load.contacts),
        orders_count=load.orders_count,
        new_members_count=after.members_count - before.members_count,
        new_orders_count=after.orders_count - before.orders_count,
        skipped_count=load.skipped_count,
        skipped=tuple(load.skipped),
        duration_seconds=time.monotonic() - began,
        summary=after,
    )


def _system(path: Path, options: LoadOptions) -> str:
    system = path.stem.partition("_")[0].lower() if options.system is None else options.system
    if not _SYSTEM.fullmatch(system):
        raise CannotLoad(f"{system!r} is no name of a system: 1 to 50 of a-z, 0-9, _ and -")
    return system


class _Load:
    """One load under way: what is in the suite by now, and what was skipped."""

    def __init__(
        self,
        reach: Reach,
        options: LoadOptions,
        source: CsvFile,
        progress: Callable[[int], None],
    ) -> None:
        self.contacts: dict[str, str] = {}
        self.orders_count = 0
        self.skipped_count = 0
        self.skipped: list[BadRow] = []
        self._refused: dict[str, BadRow] = {}
        self._reach = reach
        self._options = options
        self._source = source
        self._progress = progress
        self._done_count = 0
        self._program = f"programs/{options.program.removeprefix('programs/')}"

    async def ensure_program(self) -> None:
        """Make the programme if it is not there; raises CannotLoad for another currency."""
        options = self._options
        get = programs_pb2.GetProgramRequest(name=self._program)
        rate = programs_pb2.EarnRate(
            points=options.points, per_amount=money_of(options.per, options.currency_code)
        )
        program_id = self._program.removeprefix("programs/")
        create = programs_pb2.CreateProgramRequest(
            program_id=program_id,
            program=programs_pb2.Program(
                display_name=program_id, currency_code=options.currency_code, earn_rate=rate
            ),
        )
        try:
            program = await self._patiently(lambda suite: suite.programs.GetProgram(get))
        except vafa.NotFound:
            _identify(create)
            program = await self._patiently(lambda suite: suite.programs.CreateProgram(create))
        if program.currency_code != options.currency_code:
            found = f"{self._program} counts in {program.currency_code}"
            raise CannotLoad(f"{found}, and the file is said to be in {options.currency_code}")

    async def summarize(self) -> programs_pb2.ProgramSummary:
        """Return the figures of the programme now."""
        request = programs_pb2.GetProgramSummaryRequest(name=f"{self._program}/summary")
        return await self._patiently(lambda suite: suite.programs.GetProgramSummary(request))

    async def load_contacts(self, customers: Mapping[str, Customer]) -> None:
        """Upsert all customers; who is refused is kept for the reports of their rows."""
        waiting = iter(customers.values())
        size = self._options.batch_size
        batches = iter(lambda: list(islice(waiting, size)), [])
        await self._settle_all(batches, self._upsert, self._refuse_customer)

    async def load_orders(self) -> None:
        """Record the purchases of all customers who were not refused."""
        await self._settle_all(self._purchases(), self._record, self._refuse_purchase)

    async def _upsert(self, customers: Sequence[Customer]) -> None:
        system = self._source.system
        request = contacts_pb2.BatchUpsertContactsRequest(
            requests=[contact_request(customer, system) for customer in customers]
        )
        _identify(request)
        answer = await self._patiently(lambda suite: suite.contacts.BatchUpsertContacts(request))
        for customer, contact in zip(customers, answer.contacts, strict=True):
            self.contacts[customer.customer_id] = contact.name

    async def _record(self, purchases: Sequence[Purchase]) -> None:
        request = orders_pb2.BatchRecordOrdersRequest(
            parent=self._program,
            orders=[
                order_of(one, self.contacts[one.customer_id], self._options.currency_code)
                for one in purchases
            ],
        )
        _identify(request)
        await self._patiently(lambda suite: suite.orders.BatchRecordOrders(request))
        self.orders_count += len(purchases)

    def _refuse_customer(self, customer: Customer, path: str, reason: str) -> None:
        self._refused[customer.customer_id] = customer.blame(path, reason)

    def _refuse_purchase(self, purchase: Purchase, path: str, reason: str) -> None:
        self._skip(blame_purchase(purchase, path, reason))

    def _purchases(self) -> Iterator[Sequence[Purchase]]:
        batch: list[Purchase] = []
        for row in self._source.rows():
            if isinstance(row, BadRow):
                self._skip(row)
                self._advance(1)
            elif row.customer_id not in self.contacts:
                self._skip(self._without_contact(row))
                self._advance(1)
            else:
                batch.append(row)
            if len(batch) == self._options.batch_size:
                yield batch
                batch = []
        if batch:
            yield batch

    def _without_contact(self, row: Purchase) -> BadRow:
        refused = self._refused.get(row.customer_id)
        if refused is None:
            return BadRow(row.line, "customer_id", "came into the file during the load")
        if refused.line == row.line:
            return refused
        return BadRow(row.line, "customer_id", f"its customer was refused: {refused}")

    def _skip(self, row: BadRow) -> None:
        self.skipped_count += 1
        insort(self.skipped, row, key=lambda skipped: skipped.line)
        del self.skipped[SHOWN_ROWS:]

    def _advance(self, count: int) -> None:
        self._done_count += count
        self._progress(self._done_count)

    async def _settle_all(
        self,
        batches: Iterator[Sequence[T]],
        send: Callable[[Sequence[T]], Awaitable[None]],
        refuse: Callable[[T, str, str], None],
    ) -> None:
        await settle_all(batches, send, refuse, self._advance, self._options.concurrency)

    async def _patiently(self, call: Callable[[vafa.aio.Suite], Awaitable[T]]) -> T:
        return await call_patiently(self._reach, call, self._options.patience_seconds)


def _identify(request: Any) -> None:
    """Give a request the request_id that its content has."""
    content = request.SerializeToString(deterministic=True)
    request.request_id = str(uuid.uuid5(_BATCHES, hashlib.sha256(content).hexdigest()))
