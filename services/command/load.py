"""`vafa load`: a CSV file loaded under a progress bar, and what came of it."""

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

import vafa
from services.command.csv_rows import CannotLoad
from services.command.csv_values import parse_amount
from services.command.loading import LoadOptions, LoadReport, load_through
from services.command.options import DEFAULT_DATA_DIRECTORY, Address, DataDirectory, TokenFile
from services.command.patience import Reach
from services.command.running import reach_running
from services.command.summary import print_summary

EXIT_NOT_FINISHED = 1
EXIT_ROWS_SKIPPED = 3


def load(
    file: Annotated[Path, typer.Argument(help="A CSV file in UTF-8, with a header.")],
    program: Annotated[
        str, typer.Option(help="The programme to record the orders in; made if it is not there.")
    ] = "club",
    currency: Annotated[
        str, typer.Option(help="The currency of the amounts, as in ISO 4217.")
    ] = "USD",
    points: Annotated[
        int,
        typer.Option(min=1, max=1_000_000, help="What a new programme gives for each whole --per."),
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
    address: Address = None,
    token_file: TokenFile = None,
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
) -> None:
    """Load customers and their orders from a CSV file.

    Run it again after whatever ended it: nothing is written twice. Exit code 0 if all rows are
    loaded, 3 if some were skipped, 1 if the load was not finished.
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
        reached = reach_running(data_directory, address, token_file)
        report = asyncio.run(_load_with_bar(reached, file, options))
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


async def _load_with_bar(
    reached: AbstractAsyncContextManager[Reach], file: Path, options: LoadOptions
) -> LoadReport:
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
        async with reached as reach:
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
