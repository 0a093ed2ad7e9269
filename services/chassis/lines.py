"""Standard output as lines: whole ones from every thread, and few system calls for many calls."""

import asyncio
import io
import threading
from collections import deque
from typing import BinaryIO, Protocol

# How long a line that is gathered may wait for others that are written with it.
GATHER_SECONDS = 0.02


class Line(Protocol):
    """What becomes a line."""

    def render(self) -> bytes:
        """Return the line with its end."""


class Lines(io.TextIOBase):
    """Writes lines to a stream, whole and in the order in which they were given.

    `write` and `flush` are for any thread, and write at once, what was gathered first. `gather`
    is for the event loop alone.
    """

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        # What the collector of garbage destroys may have a word to say, in the midst of a line.
        self._lock = threading.RLock()
        self._gathered: deque[Line] = deque()
        self._is_due = False

    def gather(self, line: Line) -> None:
        """Write a line within 20 milliseconds, together with others."""
        self._gathered.append(line)
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(GATHER_SECONDS, self._write_gathered)

    def write(self, text: str) -> int:
        """Write lines, each with its end."""
        self._write_after_gathered(text.encode())
        return len(text)

    def flush(self) -> None:
        """Write what was gathered."""
        self._write_after_gathered(b"")

    def _write_gathered(self) -> None:
        self._is_due = False
        self._write_after_gathered(b"")

    def _write_after_gathered(self, last: bytes) -> None:
        with self._lock:
            content: list[bytes] = []
            # One by one, since the event loop may gather meanwhile.
            while self._gathered:
                content.append(self._gathered.popleft().render())
            content.append(last)
            if any(content):
                self._stream.write(b"".join(content))
                self._stream.flush()
