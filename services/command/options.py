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

Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        envvar="VAFA_ADDRESS",
        help="The one address of a suite, such as that of its edge, if it is not the suite of the"
        " data directory.",
    ),
]

TokenFile = Annotated[
    Path | None,
    typer.Option(
        envvar="VAFA_TOKEN_FILE",
        dir_okay=False,
        help="The token to call --address with. [default: the admin's of the data directory]",
    ),
]

DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="A PostgreSQL server, postgresql+psycopg://USER@HOST/NAME. Each service has a"
        " database of its own there: NAME_contacts, NAME_loyalty, NAME_feedback and NAME_gateway,"
        " made if they are missing. VAFA_CONTACTS_DATABASE_URL, VAFA_LOYALTY_DATABASE_URL,"
        " VAFA_FEEDBACK_DATABASE_URL and VAFA_GATEWAY_DATABASE_URL go before it, each for its"
        " service."
        " [default: SQLite files in the data directory]",
    ),
]
