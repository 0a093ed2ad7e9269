"""Where the services are and with which token they are called."""

import json
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

Addresses = str | Mapping[str, str]
"""The addresses of the services by their names, or the one address of all."""

Token = str | Callable[[], str]
"""A token, or what gives the present one whenever it is called."""

TokenSource = Callable[[], str | Awaitable[str]]
"""What gives the present token of the asyncio client, which may have to be awaited."""


def address_of(addresses: Addresses, service: str) -> str:
    """Return the address of a service; ValueError if none was given."""
    if isinstance(addresses, str):
        return addresses
    if service not in addresses:
        known = ", ".join(sorted(addresses))
        raise ValueError(f"no address was given for {service!r}, only for: {known}")
    return addresses[service]


class TokenFile:
    """The token in a file, read again when another has taken its place."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._read = (0, 0), ""

    def __call__(self) -> str:
        """Return the present token; OSError if there is no file, ValueError if it holds none."""
        found = self._path.stat()
        # A file renamed over another may be older than it, so the time alone does not tell.
        version = found.st_mtime_ns, found.st_ino
        read_version, token = self._read
        if version != read_version:
            token = self._path.read_text(encoding="ascii", errors="replace").strip()
            if not token:
                raise ValueError(f"the token file {self._path} is empty")
            if not (token.isascii() and token.isprintable()):
                raise ValueError(f"the token file {self._path} does not hold a token")
            self._read = version, token
        return token


def token_source(
    token: Token | None, token_file: str | os.PathLike[str] | None, api_key: str | None
) -> Callable[[], str] | None:
    """Return what gives the token of each call, or None if there is to be none, or if it comes
    from an API key; ValueError if several are given.
    """
    if sum(given is not None for given in (token, token_file, api_key)) > 1:
        raise ValueError("give one of token, token_file and api_key, not several")
    if token_file is not None:
        return TokenFile(token_file)
    if isinstance(token, str):
        return lambda: token
    return token


def local_suite(data_directory: str | os.PathLike[str] | None) -> tuple[dict[str, str], Path]:
    """Return the addresses and the token file of the suite that `vafa up` keeps in a directory.

    FileNotFoundError if there is none, ValueError if its list of addresses cannot be read.
    """
    directory = Path(data_directory or os.environ.get("VAFA_DATA_DIRECTORY") or ".vafa")
    endpoints = directory / "endpoints.json"
    if not endpoints.exists():
        raise FileNotFoundError(f"no suite runs in {directory}: {endpoints} does not exist")
    try:
        addresses = json.loads(endpoints.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{endpoints} is not JSON: {error}") from error
    if not isinstance(addresses, dict) or not all(
        isinstance(address, str) for address in addresses.values()
    ):
        raise ValueError(f"{endpoints} is not an object of addresses by service")
    return addresses, directory / "tokens" / "admin.jwt"
