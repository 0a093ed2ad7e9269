"""`vafa token`: a token for whoever calls the suite by other means."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from services.command import keys
from services.command.data_directory import CannotStart
from services.command.options import DEFAULT_DATA_DIRECTORY, DataDirectory


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

    It is signed with the key of the data directory, which `vafa up` makes, or with that of
    VAFA_GATEWAY_SIGNING_KEY_FILE; the suite need not run. Send it as the metadata
    `authorization: Bearer TOKEN`.
    """
    typer.echo(operator_token(data_directory, subject, role or ["admin"]))


def operator_token(data_directory: Path, subject: str, roles: Sequence[str]) -> str:
    """Return a fresh token for whoever can read the signing key; raises CannotStart."""
    try:
        return keys.mint_operator_token(data_directory, subject=subject, roles=roles)
    except FileNotFoundError as error:
        text = f"there is no signing key at {error.filename}; `vafa up` makes one"
        raise CannotStart(text) from error
    except ValueError as error:
        raise CannotStart(str(error)) from error
