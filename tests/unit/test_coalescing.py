"""Reads by key that are made together."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from services.chassis import errors
from services.chassis.coalescing import LARGEST_READ, Coalescer
from vafa.loyalty.v1 import members_pb2

Member = members_pb2.Member


class Shelf:
    """Members by name; a read is answered once it is let go."""

    def __init__(self, *names: str) -> None:
        self._names = set(names)
        self.reads: list[list[str]] = []
        self.go = asyncio.Event()
        self.failure: Exception | None = None

    async def read(self, names: Sequence[str]) -> Mapping[str, Member]:
        self.reads.append(list(names))
        await self.go.wait()
        if self.failure is not None:
            raise self.failure
        return {name: Member(name=name) for name in names if name in self._names}


async def turns(count: int = 5) -> None:
    """Let all that can go on go on."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_names_that_are_asked_for_at_once_are_one_read() -> None:
    async def scenario() -> None:
        shelf = Shelf("a", "b")
        shelf.go.set()
        coalescer = Coalescer(shelf.read)
        found = await asyncio.gather(*(coalescer.get(name) for name in ("a", "b", "a")))
        assert [member.name for member in found] == ["a", "b", "a"]
        assert shelf.reads == [["a", "b"]]

    asyncio.run(scenario())


def test_a_get_never_joins_a_read_that_has_been_sent() -> None:
    async def scenario() -> None:
        shelf = Shelf("a")
        coalescer = Coalescer(shelf.read)
        first = asyncio.create_task(coalescer.get("a"))
        await turns()
        assert shelf.reads == [["a"]]
        second = asyncio.create_task(coalescer.get("a"))
        await turns()
        shelf.go.set()
        await asyncio.gather(first, second)
        assert shelf.reads == [["a"], ["a"]]

    asyncio.run(scenario())


def test_what_comes_while_a_read_is_out_goes_together_in_the_next() -> None:
    async def scenario() -> None:
        shelf = Shelf()
        coalescer = Coalescer(shelf.read)
        tasks = []
        for n in range(4):
            tasks.append(asyncio.create_task(coalescer.get(f"n{n}")))
            await turns()
        assert shelf.reads == [["n0"]]
        shelf.go.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert shelf.reads == [["n0"], ["n1", "n2", "n3"]]

    asyncio.run(scenario())


def test_who_asks_for_what_is_not_there_is_refused_alone() -> None:
    async def scenario() -> None:
        shelf = Shelf("a")
        shelf.go.set()
        coalescer = Coalescer(shelf.read)
        outcomes = await asyncio.gather(
            coalescer.get("a"), coalescer.get("b"), return_exceptions=True
        )
        assert isinstance(outcomes[0], Member)
        assert isinstance(outcomes[1], errors.ResourceNotFound)

    asyncio.run(scenario())


def test_a_read_that_fails_fails_for_all_who_were_in_it_and_for_nobody_else() -> None:
    async def scenario() -> None:
        shelf = Shelf("a")
        shelf.failure = errors.Unavailable("away")
        shelf.go.set()
        coalescer = Coalescer(shelf.read)
        outcomes = await asyncio.gather(
            coalescer.get("a"), coalescer.get("b"), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [errors.Unavailable] * 2
        shelf.failure = None
        assert (await coalescer.get("a")).name == "a"

    asyncio.run(scenario())


def test_one_who_gives_up_takes_nobody_with_him() -> None:
    async def scenario() -> None:
        shelf = Shelf("a")
        coalescer = Coalescer(shelf.read)
        leaving, staying = (asyncio.create_task(coalescer.get("a")) for _ in range(2))
        await turns()
        leaving.cancel()
        shelf.go.set()
        assert (await staying).name == "a"
        with pytest.raises(asyncio.CancelledError):
            await leaving

    asyncio.run(scenario())


def test_what_everybody_gave_up_is_not_read() -> None:
    async def scenario() -> None:
        shelf = Shelf()
        coalescer = Coalescer(shelf.read)
        tasks = []
        for n in range(2):
            tasks.append(asyncio.create_task(coalescer.get(f"n{n}")))
            await turns()
        tasks[-1].cancel()
        shelf.go.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert shelf.reads == [["n0"]]

    asyncio.run(scenario())


def test_a_read_is_of_so_many_names_at_most() -> None:
    async def scenario() -> None:
        names = [f"n{n}" for n in range(2 * LARGEST_READ)]
        shelf = Shelf(*names)
        shelf.go.set()
        coalescer = Coalescer(shelf.read)
        found = await asyncio.gather(*(coalescer.get(name) for name in names))
        assert [member.name for member in found] == names
        assert max(map(len, shelf.reads)) == LARGEST_READ

    asyncio.run(scenario())
