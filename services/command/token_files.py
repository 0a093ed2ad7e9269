"""The files of the tokens that the processes of a suite on one machine present."""

from collections.abc import Sequence
from pathlib import Path

from services.command import keys


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
