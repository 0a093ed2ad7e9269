"""Batches that are sent without the items for which they are refused."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, TypeVar

import vafa

T = TypeVar("T")

# What an item, or the state that it meets, can be refused with.
REFUSED = (vafa.InvalidArgument, vafa.FailedPrecondition, vafa.AlreadyExists)
_PLACE: Final = re.compile(r"(?:requests|orders)\[(\d+)\]\.?(.*)")


async def settle_all(
    batches: Iterator[Sequence[T]],
    send: Callable[[Sequence[T]], Awaitable[None]],
    refuse: Callable[[T, str, str], None],
    settled: Callable[[int], None],
    concurrency: int,
) -> None:
    """Settle the batches, `concurrency` of them in flight; raises what the first to fail raised.

    An item that is refused goes to `refuse` with the path in it that is to blame and the
    reason; `settled` is told of how many items each batch was.
    """

    async def work() -> None:
        for batch in batches:
            await _settle(batch, send, refuse)
            settled(len(batch))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None


async def _settle(
    batch: Sequence[T],
    send: Callable[[Sequence[T]], Awaitable[None]],
    refuse: Callable[[T, str, str], None],
) -> None:
    """Send a batch; refuse the items for which it is refused, and send the others."""
    waiting = [batch]
    while waiting:
        items = waiting.pop()
        try:
            await send(items)
        except REFUSED as error:
            blamed = _blamed(error)
            if not blamed and len(items) == 1:
                blamed = {0: ("", error.message)}
            for place, (path, reason) in blamed.items():
                refuse(items[place], path, reason)
            # The first to blame parts what was found good from what was not looked at, so
            # that many bad rows do not make their neighbours travel many times. Where none is
            # named, the halves tell.
            middle = min(blamed, default=len(items) // 2)
            after = [items[n] for n in range(middle, len(items)) if n not in blamed]
            waiting += [part for part in (after, items[:middle]) if part]


def _blamed(error: vafa.VafaError) -> dict[int, tuple[str, str]]:
    """Return what is wrong by the places of items; empty if the error names none.

    Raises the error itself if it is about the request as a whole.
    """
    blamed: dict[int, tuple[str, str]] = {}
    for violation in error.field_violations:
        found = _PLACE.fullmatch(violation.field)
        if found is None:
            raise error
        blamed.setdefault(int(found[1]), (found[2], violation.description))
    return blamed
