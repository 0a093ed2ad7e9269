"""Reads the stream of a feed while what came before is being applied."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable

from vafa.events.v1 import events_pb2

# So many parts wait at most; what comes after them waits with the service that sends it.
LARGEST_AHEAD_PARTS = 16


class ReadAhead:
    """A stream of events whose parts are joined as far as they wait.

    So whoever is slow gets much at once, and whoever is not gets each part as it comes.
    """

    def __init__(self, stream: AsyncIterable[events_pb2.StreamEventsResponse]) -> None:
        self._stream = stream
        self._parts: deque[events_pb2.StreamEventsResponse] = deque()
        self._changed = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def next(self, size: int) -> events_pb2.StreamEventsResponse | None:
        """Return the events that wait, at least those of one part, of more parts no more than
        `size`; None once the stream has ended. Raises what the stream failed with.
        """
        while not self._parts:
            if self._reader.done():
                await self._reader
                return None
            await self._change()
        joined = self._parts.popleft()
        while self._parts and len(joined.events) + len(self._parts[0].events) <= size:
            joined.MergeFrom(self._parts.popleft())
        self._changed.set()
        return joined

    async def close(self) -> None:
        """Read no further."""
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        try:
            async for part in self._stream:
                self._parts.append(part)
                self._changed.set()
                while len(self._parts) >= LARGEST_AHEAD_PARTS:
                    await self._change()
        finally:
            self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
