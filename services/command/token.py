"""The tokens of a suite on one machine: the files that its processes use, and `vafa token`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from services.command import keys
from services.command.data_directory import CannotStart

DataDirectory = Annotated[
    Path,
    typer.Option(
        help="Where the suite keeps its keys, tokens, addresses and SQLite databases.",
        envvar="VAFA_DATA_DIRECTORY",
        file_okay=False,
    ),
]
DEFAULT_DATA_DIRECTORY = Path(".vafa")


def admin_token_file(directory: Path) -> Path:
    """Return where the operator's own token lies, as vafa.connect_local expects it."""
    return directory / "tokens" / "admin.jwt"


def service_token_file(directory: Path, service: str) -> Path:
    """Return where the token lies that a service presents to the others."""
    return directory / "tokens" / f"{service}.jwt"


def write_tokens(directory: Path, services: Sequence[str]) -> None:
    """Put fresh tokens of the operator and of each service in place of the former ones."""
    admin = keys.mint_token(directory, subject="admin", roles=["admin"])
    keys.write_token(admin_token_file(directory), admin)
    for service in services:
        own = keys.mint_token(directory, subject=service, roles=["service"])
        keys.write_token(service_token_file(directory, service), own)


def token(
    role: Annotated[
        list[str] | None,
        typer.Option(help="A role that the token carries; repeat it for more. [default: admin]"),
    ] = None,
    subject: Annotated[
        str, typer.Option(help="Who the token speaks for, as logs and the audit name it.")
    ] = "operator",
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
) -> None:
    """Print a fresh token, good for 5 minutes, and nothing else.

    It is signed with the key of the data directory, which `vafa up` makes; the suite need not
    run. Send it as the metadata `authorization: Bearer TOKEN`.
    """
    try:
        minted = keys.mint_token(data_directory, subject=subject, roles=role or ["admin"])
    except FileNotFoundError as error:
        text = f"there is no signing key in {data_directory}; `vafa up` makes one"
        raise CannotStart(text) from error
    typer.echo(minted)
