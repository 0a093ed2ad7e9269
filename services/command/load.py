"""`vafa load`: contacts and orders out of a CSV file, through the public API."""

import asyncio
import hashlib
import re
import time
import uuid
from bisect import insort
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

import vafa
from services.command.csv_rows import (
    BadRow,
    CannotLoad,
    Customer,
    Purchase,
    blame_purchase,
    contact_request,
    money_of,
    order_of,
    parse_amount,
    read_rows,
)
from services.command.data_directory import CannotStart
from services.command.summary import print_summary
from services.command.token import DEFAULT_DATA_DIRECTORY, DataDirectory
from vafa import access
from vafa.contacts.v1 import contacts_pb2
from vafa.loyalty.v1 import orders_pb2, programs_pb2

T = TypeVar("T")

EXIT_NOT_FINISHED = 1
EXIT_ROWS_SKIPPED = 3
SHOWN_ROWS = 20
FIRST_DELAY_SECONDS = 0.1
MAX_DELAY_SECONDS = 2.0
# What passes: nobody there, no answer in time, too much to do, cut off as a service ended.
TRANSIENT = (vafa.Unavailable, vafa.DeadlineExceeded, vafa.ResourceExhausted, vafa.Cancelled)
# What a row, or the state that it meets, can be refused with.
REFUSED = (vafa.InvalidArgument, vafa.FailedPrecondition, vafa.AlreadyExists)
_SYSTEM: Final = re.compile(r"[a-z0-9_-]{1,50}")
_PLACE: Final = re.compile(r"(?:requests|orders)\[(\d+)\]\.?(.*)")
# A batch has the same request_id whenever and by whomever it is sent. Never to be changed.
_BATCHES: Final = uuid.UUID("d0b0a8f4-3c0e-5a56-9c0b-2f1f8f2f6a11")

Reach = Callable[[], vafa.aio.Suite]
"""Gives the suite for an attempt of a call."""


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
    source = _Source(path, options.columns, _system(path, options))
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


@dataclass(frozen=True)
class _Source:
    """A file, read from its beginning as often as need be."""

    path: Path
    columns: Mapping[str, str]
    system: str

    def rows(self) -> Iterator[Purchase | BadRow]:
        """Yield the rows; raises CannotLoad for a file that cannot be read."""
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                yield from read_rows(file, self.columns, self.system)
        except UnicodeDecodeError as error:
            raise CannotLoad(f"{self.path} is not UTF-8: {error.reason}") from error
        except OSError as error:
            raise CannotLoad(f"{self.path} cannot be read: {error.strerror}") from error
        except CannotLoad as error:
            raise CannotLoad(f"{self.path}: {error}") from error

    def survey(self) -> tuple[dict[str, Customer], int]:
        """Return the customers by id in their order, and how many rows there are."""
        customers: dict[str, Customer] = {}
        rows_count = 0
        for row in self.rows():
            rows_count += 1
            if isinstance(row, Purchase):
                customer = customers.get(row.customer_id)
                if customer is None:
                    customer = customers[row.customer_id] = Customer(row.customer_id, row.line)
                customer.learn(row)
        if not rows_count:
            raise CannotLoad(f"{self.path} has no rows")
        return customers, rows_count


class _Load:
    """One load under way: what is in the suite by now, and what was skipped."""

    def __init__(
        self,
        reach: Reach,
        options: LoadOptions,
        source: _Source,
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
        """Settle the batches, several in flight; raises what the first that failed raised."""

        async def work() -> None:
            for batch in batches:
                await _settle(batch, send, refuse)
                self._advance(len(batch))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._options.concurrency):
                    group.create_task(work())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _patiently(self, call: Callable[[vafa.aio.Suite], Awaitable[T]]) -> T:
        """Make a call, and make it again while what is in the way may pass."""
        ends_at = time.monotonic() + self._options.patience_seconds
        delay_seconds = FIRST_DELAY_SECONDS
        while True:
            try:
                return await call(self._reach())
            except TRANSIENT as error:
                delay_seconds = max(delay_seconds, error.retry_delay_seconds or 0)
                if time.monotonic() + delay_seconds > ends_at:
                    raise
            await asyncio.sleep(delay_seconds)
            delay_seconds = min(2 * delay_seconds, MAX_DELAY_SECONDS)


async def _settle(
    batch: Sequence[T],
    send: Callable[[Sequence[T]], Awaitable[None]],
    refuse: Callable[[T, str, str], None],
) -> None:
    """Send a batch; refuse the items for which it is refused, and send the others."""
    waiting = [batch]
    while waiting:
        items = waiting.pop()
        try:
            await send(items)
        except REFUSED as error:
            blamed = _blamed(error)
            if not blamed and len(items) == 1:
                blamed = {0: ("", error.message)}
            for place, (path, reason) in blamed.items():
                refuse(items[place], path, reason)
            # The first to blame parts what was found good from what was not looked at, so
            # that many bad rows do not make their neighbours travel many times. Where none is
            # named, the halves tell.
            middle = min(blamed, default=len(items) // 2)
            after = [items[n] for n in range(middle, len(items)) if n not in blamed]
            waiting += [part for part in (after, items[:middle]) if part]


def _blamed(error: vafa.VafaError) -> dict[int, tuple[str, str]]:
    """Return what is wrong by the places of items; empty if the error names none.

    Raises the error itself if it is about the request as a whole.
    """
    blamed: dict[int, tuple[str, str]] = {}
    for violation in error.field_violations:
        found = _PLACE.fullmatch(violation.field)
        if found is None:
            raise error
        blamed.setdefault(int(found[1]), (found[2], violation.description))
    return blamed


def _identify(request: Any) -> None:
    """Give a request the request_id that its content has."""
    content = request.SerializeToString(deterministic=True)
    request.request_id = str(uuid.uuid5(_BATCHES, hashlib.sha256(content).hexdigest()))


class _LocalSuite:
    """The suite of a data directory, wherever it serves by now."""

    def __init__(self, data_directory: Path) -> None:
        self._directory = data_directory
        self._addresses: dict[str, str] = {}
        self._suites: list[vafa.aio.Suite] = []

    def __call__(self) -> vafa.aio.Suite:
        try:
            addresses, token_file = access.local_suite(self._directory)
        except FileNotFoundError as error:
            if self._suites:
                # It has stopped, and may be on its way back.
                return self._suites[-1]
            text = f"no suite runs in {self._directory}; start one with `vafa up`"
            raise CannotStart(text) from error
        if addresses != self._addresses:
            self._addresses = addresses
            self._suites.append(vafa.aio.connect(addresses, token_file=token_file))
        return self._suites[-1]

    async def close(self) -> None:
        """Close all connections."""
        for suite in self._suites:
            await suite.close()


@asynccontextmanager
async def _local_suite(data_directory: Path) -> AsyncIterator[_LocalSuite]:
    suite = _LocalSuite(data_directory)
    try:
        yield suite
    finally:
        await suite.close()


def load(
    file: Annotated[Path, typer.Argument(help="A CSV file in UTF-8, with a header.")],
    program: Annotated[
        str, typer.Option(help="The programme to record the orders in; made if it is not there.")
    ] = "club",
    currency: Annotated[
        str, typer.Option(help="The currency of the amounts, as in ISO 4217.")
    ] = "USD",
    points: Annotated[
        int, typer.Option(min=1, help="What a new programme gives for each whole --per.")
    ] = 1,
    per: Annotated[str, typer.Option(help="The amount that earns --points.")] = "1.00",
    system: Annotated[
        str | None,
        typer.Option(
            help="The system that the customers' ids are of."
            " [default: the name of the file up to its first _]"
        ),
    ] = None,
    column_map: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="FIELD=COLUMN",
            help="The column of customer_id, date, amount, quantity, name, email, phone, sku or"
            " order_id; repeat it for more.",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, max=500)] = 500,
    concurrency: Annotated[
        int, typer.Option(min=1, max=32, help="How many batches are in flight.")
    ] = 4,
    patience_seconds: Annotated[
        float, typer.Option(min=0, help="How long to wait for a service that is away.")
    ] = 120,
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
) -> None:
    """Load customers and their orders from a CSV file; run it again after whatever ended it.

    Exit code 0 if all rows are loaded, 3 if some were skipped, 1 if the load was not finished.
    """
    try:
        options = LoadOptions(
            program=program,
            currency_code=currency,
            points=points,
            per=parse_amount(per),
            system=system,
            columns=dict(_mapping(one) for one in column_map or []),
            batch_size=batch_size,
            concurrency=concurrency,
            patience_seconds=patience_seconds,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    try:
        report = asyncio.run(_load_with_bar(data_directory, file, options))
    except (CannotLoad, vafa.VafaError) as error:
        typer.echo(f"vafa load: {error}", err=True)
        raise typer.Exit(EXIT_NOT_FINISHED) from error
    print_report(Console(), report)
    if report.skipped_count:
        raise typer.Exit(EXIT_ROWS_SKIPPED)


def _mapping(text: str) -> tuple[str, str]:
    name, equals, column = text.partition("=")
    if not (name and equals and column):
        raise ValueError(f"{text!r} is not FIELD=COLUMN")
    return name, column


async def _load_with_bar(data_directory: Path, file: Path, options: LoadOptions) -> LoadReport:
    console = Console(stderr=True)
    bar = Progress(
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("customers and orders", total=None)
        async with _local_suite(data_directory) as reach:
            return await load_through(
                reach,
                file,
                options,
                lambda done, total: bar.update(task, completed=done, total=total),
            )


def print_report(console: Console, report: LoadReport) -> None:
    """Print what was loaded, what was new and what was skipped, and the programme's figures."""
    rate = report.orders_count / max(report.duration_seconds, 0.001)
    lines = [
        f"loaded {report.customers_count:,} customers and {report.orders_count:,} orders"
        f" in {report.duration_seconds:.1f} s, {rate:,.0f} orders a second;"
        f" new: {report.new_members_count:,} members, {report.new_orders_count:,} orders"
    ]
    if report.skipped_count:
        lines.append(f"skipped {report.skipped_count:,} rows:")
        lines += [f"  {row}" for row in report.skipped]
        if report.skipped_count > len(report.skipped):
            lines.append(f"  and {report.skipped_count - len(report.skipped):,} more")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    print_summary(console, report.summary)
