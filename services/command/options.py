"""The options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

DataDirectory = Annotated[
    Path,
    typer.Option(
        help="Where the suite keeps its keys, tokens, addresses and SQLite databases.",
        envvar="VAFA_DATA_DIRECTORY",
        file_okay=False,
    ),
]
DEFAULT_DATA_DIRECTORY = Path(".vafa")

DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="A PostgreSQL server, postgresql+psycopg://USER@HOST/NAME. Each service has a"
        " database of its own there: NAME_contacts, NAME_loyalty and NAME_gateway, made if they"
        " are missing. VAFA_CONTACTS_DATABASE_URL, VAFA_LOYALTY_DATABASE_URL and"
        " VAFA_GATEWAY_DATABASE_URL go before it, each for its service."
        " [default: SQLite files in the data directory]",
    ),
]
