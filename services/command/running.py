"""The suite that runs in a data directory, as the commands find it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import vafa
from services.command.data_directory import CannotStart
from services.command.patience import Reach
from services.command.token_files import admin_token_file
from vafa import access


class NotRunning(CannotStart):
    """No suite runs in the data directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__(f"no suite runs in {directory}; start one with `vafa up`")


def find_running(directory: Path) -> tuple[dict[str, str], Path]:
    """Return the addresses and the token file of the suite of a directory.

    Raises NotRunning, and CannotStart if a file by which the suite is found is damaged.
    """
    try:
        addresses, token_file = access.local_suite(directory)
        require_token(token_file)
    except FileNotFoundError as error:
        raise NotRunning(directory) from error
    except ValueError as error:
        raise CannotStart(str(error)) from error
    return addresses, token_file


def require_token(token_file: Path) -> None:
    """Raise CannotStart if the file holds no token, OSError if it cannot be read."""
    try:
        access.TokenFile(token_file)()
    except ValueError as error:
        raise CannotStart(str(error)) from error


def connect_running(
    directory: Path, address: str | None = None, token_file: Path | None = None
) -> vafa.Suite:
    """Return a client of the suite at one address, or else of that of a directory.

    Raises NotRunning if none runs there.
    """
    addresses: access.Addresses
    if address is None:
        addresses, token_file = find_running(directory)
    else:
        addresses, token_file = address, _token_file(directory, token_file)
    return vafa.connect(addresses, token_file=token_file)


@asynccontextmanager
async def reach_running(
    directory: Path, address: str | None, token_file: Path | None
) -> AsyncIterator[Reach]:
    """Give what reaches the suite at one address, or else that of a directory wherever it is."""
    if address is None:
        async with FollowedSuite(directory) as followed:
            yield followed
    else:
        token_file = _token_file(directory, token_file)
        async with vafa.aio.connect(address, token_file=token_file) as suite:
            yield lambda: suite


def _token_file(directory: Path, token_file: Path | None) -> Path:
    token_file = token_file or admin_token_file(directory)
    try:
        require_token(token_file)
    except FileNotFoundError as error:
        raise CannotStart(f"there is no token in {token_file}") from error
    return token_file


class FollowedSuite:
    """The suite of a data directory, wherever it serves by now; an async context manager.

    Once it was found, it may stop and come back elsewhere.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._addresses: dict[str, str] = {}
        self._clients: list[vafa.aio.Suite] = []

    def __call__(self) -> vafa.aio.Suite:
        """Return a client of where the suite serves now, or served last; raises NotRunning."""
        try:
            addresses, token_file = find_running(self._directory)
        except NotRunning:
            if self._clients:
                # It has stopped, and may be on its way back.
                return self._clients[-1]
            raise
        if addresses != self._addresses:
            self._addresses = addresses
            self._clients.append(vafa.aio.connect(addresses, token_file=token_file))
        return self._clients[-1]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for client in self._clients:
            await client.close()
