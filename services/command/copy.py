"""`vafa copy`: a suite from SQLite to PostgreSQL, and what was copied."""

from collections.abc import Mapping
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from services.command.contents import Contents
from services.command.copying import copy_suite
from services.command.databases import database_urls
from services.command.options import DEFAULT_DATA_DIRECTORY, DataDirectory
from vafa.loyalty.v1 import ledger_pb2

SHOWN_DIGITS = 12


def copy(
    to: Annotated[
        str,
        typer.Option(
            metavar="DATABASE_URL",
            help="postgresql+psycopg://user@host/name for the databases name_contacts, "
            "name_loyalty, name_feedback and name_gateway, which are created if they are missing.",
        ),
    ],
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
) -> None:
    """Copy a suite from SQLite to PostgreSQL, and verify the copy.

    Takes the SQLite files of the data directory, whatever VAFA_CONTACTS_DATABASE_URL,
    VAFA_LOYALTY_DATABASE_URL, VAFA_FEEDBACK_DATABASE_URL and VAFA_GATEWAY_DATABASE_URL say, and
    leaves them as they are. Ids, times, stored answers, and the positions and cursors of the
    feeds are kept, so that whoever follows a feed goes on where they are. The suite must be
    stopped, and the target empty. All is copied or nothing.
    """
    urls = database_urls(to)
    console = Console()
    with console.status("copying"):
        copied = copy_suite(data_directory, urls)
    console.print(_grid(copied))
    for held in copied.values():
        for account, points in sorted(held.points.items()):
            name = ledger_pb2.LedgerEntry.Account.Name(account)  # type: ignore[arg-type]
            console.print(f"points of {name}: {points:,}")
    console.print("Rows and sums are the same on both sides. Run the suite on the copy from now on")
    console.print("and no more on the SQLite files, or the two go their own ways:")
    arguments = f"--database-url DATABASE_URL --data-directory {data_directory}"
    console.print(f"  vafa up {arguments}", soft_wrap=True)


def _grid(copied: Mapping[str, Contents]) -> Table:
    grid = Table("service", "table", title="copied")
    grid.add_column("rows", justify="right")
    grid.add_column("checksum")
    for service, held in copied.items():
        for name, digest in sorted(held.tables.items()):
            grid.add_row(
                service, name, f"{digest.rows:,}", f"{digest.checksum:064x}"[:SHOWN_DIGITS]
            )
    return grid
