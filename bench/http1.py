"""A connection over HTTP/1.1 that is kept, with one request on it at a time."""

from collections import deque
from functools import partial

from bench import load
from bench.load import Begun, Ended
from bench.stream import Stream

END_OF_HEAD = b"\r\n\r\n"
LENGTH, CLOSE = b"\r\ncontent-length:", b"\r\nconnection: close"


class ProtocolError(Exception):
    """The server sent what this client does not read."""


class Connection(Stream):
    """A connection and the calls that are on it; a message is a whole request."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.leaving = False
        self._due: float | None = None
        self._queued: deque[Begun] = deque()
        self._input = b""

    @property
    def pending(self) -> int:
        """How many calls are on it."""
        return len(self._queued) + (self._due is not None)

    def call(self, message: bytes, due: float) -> None:
        """Send a request once those before it are answered; its time counts from `due`."""
        if self._due is None:
            self._due = due
            self.output.append(message)
        else:
            self._queued.append((message, due))

    def hang_up(self) -> bool:
        """Cancel nothing: HTTP/1.1 knows no way to give up a request but the connection."""
        return False

    def receive(self) -> list[Ended]:
        """Take what has come, and return what ended; raises OSError for a lost connection."""
        self._input += self.read()
        head, found, body = self._input.partition(END_OF_HEAD)
        lowered = head.lower()
        if not found or len(body) < _length(lowered):
            return []
        if len(body) > _length(lowered) or self._due is None:
            raise ProtocolError("more than was asked for")
        status = int(head[9:12])
        ended = self._due, 0 if 200 <= status < 300 else status
        self._input, self._due = b"", None
        self.leaving = CLOSE in lowered
        if self._queued and not self.leaving:
            self.call(*self._queued.popleft())
        return [ended]

    def take_back(self) -> list[Begun]:
        """Return the calls that the server has not begun, and never will on this connection."""
        if not self.leaving:
            return []
        returned = list(self._queued)
        self._queued.clear()
        return returned


def _length(head: bytes) -> int:
    at = head.find(LENGTH)
    if at < 0:
        raise ProtocolError("an answer of unknown length")
    return int(head[at + len(LENGTH) :].split(b"\r\n", 1)[0])


def caller(address: str, connections: int) -> load.Caller:
    """Return a caller with so many connections to a server, so that as many can be in flight."""
    return load.Caller([partial(Connection, address)] * connections)


def request(method: str, path: str, address: str, body: bytes = b"") -> bytes:
    """Return a whole request, with a body of JSON if it has one."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {address}", "Accept: application/json"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + END_OF_HEAD + body
