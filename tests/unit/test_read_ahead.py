"""Parts of a stream are joined while they wait, in their order, and none is lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from services.chassis.read_ahead import LARGEST_AHEAD_PARTS, ReadAhead
from vafa.events.v1 import events_pb2

Part = events_pb2.StreamEventsResponse


def part(first: int, count: int) -> Part:
    """Return a part with events from a position on."""
    last = events_pb2.Cursor(epoch="3f0c", position=first + count - 1)
    events = [events_pb2.Event(position=n) for n in range(first, first + count)]
    return Part(events=events, next=last, head=last)


class Sender:
    """A stream that gives the parts that were put on it, and ends or fails when told to."""

    def __init__(self) -> None:
        self.parts: asyncio.Queue[Part | Exception | None] = asyncio.Queue()
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[Part]:
        while (one := await self.parts.get()) is not None:
            if isinstance(one, Exception):
                raise one
            self.taken += 1
            yield one


def run(story: Callable[[Sender, ReadAhead], Awaitable[None]]) -> None:
    """Run a test within an event loop."""

    async def told() -> None:
        sender = Sender()
        ahead = ReadAhead(sender)
        await story(sender, ahead)
        await ahead.close()

    asyncio.run(told())


async def until_idle() -> None:
    """Let the reader do all that it can."""
    for _ in range(100):
        await asyncio.sleep(0)


async def positions(ahead: ReadAhead, size: int = 100) -> list[int]:
    """Return the positions of what comes next, which must be there."""
    found = await ahead.next(size)
    assert found is not None
    assert found.next.position == found.head.position == found.events[-1].position
    return [event.position for event in found.events]


def test_a_part_that_comes_alone_is_given_alone() -> None:
    async def story(sender: Sender, ahead: ReadAhead) -> None:
        for first in (1, 3):
            waiting = asyncio.create_task(positions(ahead))
            await until_idle()
            assert not waiting.done()
            sender.parts.put_nowait(part(first, 2))
            assert await waiting == [first, first + 1]

    run(story)


def test_parts_that_wait_are_joined_up_to_a_size() -> None:
    async def story(sender: Sender, ahead: ReadAhead) -> None:
        for first in (1, 4, 7):
            sender.parts.put_nowait(part(first, 3))
        await until_idle()
        assert await positions(ahead, 8) == [1, 2, 3, 4, 5, 6]
        assert await positions(ahead, 8) == [7, 8, 9]
        sender.parts.put_nowait(part(10, 9))
        assert await positions(ahead, 8) == list(range(10, 19))

    run(story)


def test_no_more_than_so_many_parts_are_read_ahead() -> None:
    async def story(sender: Sender, ahead: ReadAhead) -> None:
        count = 3 * LARGEST_AHEAD_PARTS
        for n in range(count):
            sender.parts.put_nowait(part(n + 1, 1))
        await until_idle()
        assert sender.taken == LARGEST_AHEAD_PARTS
        found: list[int] = []
        while len(found) < count:
            found += await positions(ahead, 10)
        assert found == list(range(1, count + 1))

    run(story)


def test_what_came_before_the_end_is_given_first() -> None:
    async def story(sender: Sender, ahead: ReadAhead) -> None:
        sender.parts.put_nowait(part(1, 2))
        sender.parts.put_nowait(None)
        await until_idle()
        assert await positions(ahead) == [1, 2]
        assert await ahead.next(100) is None

    run(story)


def test_what_a_stream_fails_with_is_raised_after_what_came_before() -> None:
    async def story(sender: Sender, ahead: ReadAhead) -> None:
        sender.parts.put_nowait(part(1, 1))
        sender.parts.put_nowait(ConnectionError("gone"))
        await until_idle()
        assert await positions(ahead) == [1]
        with pytest.raises(ConnectionError, match="gone"):
            await ahead.next(100)

    run(story)
