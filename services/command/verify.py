"""`vafa verify`: the ledgers against their entries."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

import vafa
from services.command.options import DEFAULT_DATA_DIRECTORY, Address, DataDirectory, TokenFile
from services.command.running import connect_running
from vafa.loyalty.v1 import ledger_pb2, programs_pb2

EXIT_VIOLATIONS = 1
COUNTED = (
    ("members", "members_checked"),
    ("transactions", "ledger_transactions_checked"),
    ("entries", "entries_checked"),
    ("lots", "lots_checked"),
    ("orders", "orders_checked"),
    ("violations", "violations_count"),
)


def verify(
    program: Annotated[
        str | None, typer.Option(help="The one programme to verify, such as club. [default: all]")
    ] = None,
    address: Address = None,
    token_file: TokenFile = None,
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
    timeout_seconds: Annotated[
        float, typer.Option(min=1, max=86_400, help="How long to wait for each programme.")
    ] = 600,
) -> None:
    """Verify the points of every member against the ledger.

    Recomputes the ledgers from their entries, and compares every balance, lot and order. Exit code
    0 if all agree, 1 if there is any violation.
    """
    with connect_running(data_directory, address, token_file) as suite:
        names = _names(suite) if program is None else [f"programs/{_id(program)}"]
        found = {
            name: suite.wait(
                suite.ledger.VerifyLedger(ledger_pb2.VerifyLedgerRequest(parent=name)),
                timeout_seconds,
            )
            for name in names
        }
    console = Console()
    if not found:
        console.print("There are no programmes.")
        return
    console.print(_counts(found))
    violations = _violations(found)
    if violations.row_count:
        console.print(violations)
        raise typer.Exit(EXIT_VIOLATIONS)


def _id(program: str) -> str:
    return program.removeprefix("programs/")


def _names(suite: vafa.Suite) -> list[str]:
    names: list[str] = []
    request = programs_pb2.ListProgramsRequest(page_size=1000)
    while True:
        page = suite.programs.ListPrograms(request)
        names += [program.name for program in page.programs]
        if not page.next_page_token:
            return names
        request.page_token = page.next_page_token


def _counts(found: dict[str, ledger_pb2.VerifyLedgerResponse]) -> Table:
    table = Table(title="checked")
    table.add_column("programme", overflow="fold")
    for heading, _ in COUNTED:
        table.add_column(heading, justify="right")
    for name, response in found.items():
        table.add_row(_id(name), *(f"{getattr(response, field):,}" for _, field in COUNTED))
    return table


def _violations(found: dict[str, ledger_pb2.VerifyLedgerResponse]) -> Table:
    """Return the violations; of each programme the first 1000, as the service tells them."""
    table = Table("invariant", title="violations")
    table.add_column("resource", overflow="fold")
    for heading in ("expected", "found"):
        table.add_column(heading, justify="right")
    for response in found.values():
        for violation in response.violations:
            invariant = ledger_pb2.LedgerViolation.Invariant.Name(violation.invariant)
            table.add_row(
                invariant.removeprefix("INVARIANT_").lower().replace("_", " "),
                violation.resource,
                f"{violation.expected:,}",
                f"{violation.found:,}",
            )
    return table
