"""Reads by key that are made together: one statement for all names that wait."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

from google.protobuf.message import Message

from services.chassis import errors

M = TypeVar("M", bound=Message)
LARGEST_READ = 100


class Coalescer(Generic[M]):
    """Gets messages by their names. A get joins a read that has not been sent yet, never one
    that has: it sees all that was committed before it was asked for. One read is out at a time:
    two would overlap, but be of half as many names each, and cost more than they save.
    """

    def __init__(self, read: Callable[[Sequence[str]], Awaitable[Mapping[str, M]]]) -> None:
        self._read = read
        self._waiting: dict[str, list[asyncio.Future[M]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def get(self, name: str) -> M:
        """Return what bears the name, shared with others who ask for it: it must not be changed.

        Raises ResourceNotFound.
        """
        future: asyncio.Future[M] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, []).append(future)
        if self._task is None:
            # The task begins in the next turn of the loop, with all who ask in this one.
            self._task = asyncio.create_task(self._serve())
        return await future

    async def _serve(self) -> None:
        try:
            while asked := self._next():
                try:
                    found = await self._read(list(asked))
                except Exception as error:
                    outcomes: Mapping[str, M | Exception] = dict.fromkeys(asked, error)
                else:
                    outcomes = {
                        name: found.get(name, errors.ResourceNotFound(name)) for name in asked
                    }
                for name, futures in asked.items():
                    for future in futures:
                        _tell(future, outcomes[name])
        finally:
            self._task = None

    def _next(self) -> dict[str, list[asyncio.Future[M]]]:
        taken: dict[str, list[asyncio.Future[M]]] = {}
        while self._waiting and len(taken) < LARGEST_READ:
            name, futures = next(iter(self._waiting.items()))
            del self._waiting[name]
            if wanted := [future for future in futures if not future.done()]:
                taken[name] = wanted
        return taken


def _tell(future: asyncio.Future[M], outcome: M | Exception) -> None:
    if future.done():
        # Whoever asked has given up.
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
