"""Lines: whole, in their order, and none lost."""

import asyncio
import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from services.chassis.lines import Lines


@dataclass(frozen=True)
class Words:
    """A line that is gathered."""

    words: str

    def render(self) -> bytes:
        """See Line."""
        return self.words.encode() + b"\n"


class Stream(io.BytesIO):
    """A stream that counts what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def write(self, content: bytes, /) -> int:  # type: ignore[override]
        """Write, and count it."""
        self.writes += 1
        return super().write(content)

    def lines(self) -> list[str]:
        """Return what was written, line by line; fails if a line has no end."""
        *whole, rest = self.getvalue().decode().split("\n")
        assert rest == ""
        return whole


def test_a_burst_is_written_at_once_and_in_its_order() -> None:
    stream = Stream()

    async def burst() -> None:
        lines = Lines(stream)
        for n in range(100):
            lines.gather(Words(f"call {n}"))
        while not stream.writes:
            await asyncio.sleep(0.001)

    asyncio.run(burst())
    assert stream.lines() == [f"call {n}" for n in range(100)]
    assert stream.writes == 1


def test_what_is_gathered_later_is_written_too() -> None:
    stream = Stream()

    async def twice() -> None:
        lines = Lines(stream)
        for n in range(2):
            lines.gather(Words(f"call {n}"))
            while stream.writes <= n:
                await asyncio.sleep(0.001)

    asyncio.run(twice())
    assert stream.lines() == ["call 0", "call 1"]


def test_other_lines_are_written_at_once_after_those_before_them() -> None:
    stream = Stream()

    async def work() -> None:
        lines = Lines(stream)
        lines.gather(Words("call"))
        lines.write("defect\n")
        assert stream.lines() == ["call", "defect"]
        lines.gather(Words("another"))
        lines.flush()
        assert stream.lines() == ["call", "defect", "another"]

    asyncio.run(work())
    assert stream.lines() == ["call", "defect", "another"]


def test_lines_of_threads_and_of_calls_are_whole_and_none_is_lost() -> None:
    stream = Stream()
    threads, each = 4, 2000

    def numbered(name: str) -> Iterator[str]:
        return (f"{name} {n}" for n in range(each))

    async def work() -> None:
        lines = Lines(stream)

        def say(name: str) -> None:
            for line in numbered(name):
                lines.write(line + "\n")

        speakers = [threading.Thread(target=say, args=(f"thread{n}",)) for n in range(threads)]
        for speaker in speakers:
            speaker.start()
        for n, line in enumerate(numbered("call")):
            lines.gather(Words(line))
            if n % 10 == 0:
                await asyncio.sleep(0)
        for speaker in speakers:
            await asyncio.to_thread(speaker.join)
        lines.flush()

    asyncio.run(work())
    said = stream.lines()
    for name in ("call", *(f"thread{n}" for n in range(threads))):
        assert [line for line in said if line.startswith(f"{name} ")] == list(numbered(name))
    assert len(said) == (threads + 1) * each


def test_a_line_that_comes_while_another_is_made_is_written_too() -> None:
    """As when garbage is collected in between, and a task that was left says so."""
    stream = Stream()
    lines = Lines(stream)

    class Interrupted:
        def render(self) -> bytes:
            lines.write("in between\n")
            return b"call\n"

    async def work() -> None:
        lines.gather(Interrupted())
        lines.flush()

    worker = threading.Thread(target=asyncio.run, args=(work(),), daemon=True)
    worker.start()
    worker.join(30)
    assert stream.lines() == ["in between", "call"]
