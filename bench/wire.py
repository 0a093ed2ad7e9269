"""A small HTTP/2 client that calls gRPC methods at little cost to the machine.

A client in Python with the whole of gRPC costs more than the service that it calls, and on a
machine that both share it would measure itself. This one writes header blocks that never
change, keeps no state of header compression (it asks for tables of no size), and reads no more
of an answer than its status. Every answer that is not `grpc-status: 0` is counted by its number.
"""

import math
import selectors
import socket
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import quantiles

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
HEADER_TABLE_SIZE, ENABLE_PUSH, INITIAL_WINDOW_SIZE = 1, 2, 4
FRAME_HEAD_BYTES = 9
LARGEST_WINDOW = 2**31 - 1
FIRST_WINDOW = 2**16 - 1
LARGEST_FRAME = 2**14
CANCEL = (8).to_bytes(4, "big")
# As a server without a table writes it: a literal name and a literal value.
STATUS_OK = b"\x0bgrpc-status\x010"
# Stands for the status of a stream that was reset.
RESET = -1
READ_BYTES = 256 * 1024


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    head = (len(payload) << 8 | kind).to_bytes(4, "big") + bytes((flags,))
    return head + stream.to_bytes(4, "big") + payload


def _setting(number: int, value: int) -> bytes:
    return number.to_bytes(2, "big") + value.to_bytes(4, "big")


def _status(block: bytes) -> int:
    """Return the status in a block of trailers."""
    if STATUS_OK in block:
        return 0
    headers = {str(name): str(value) for name, value in hpack.Decoder().decode(block)}
    return int(headers["grpc-status"])


@dataclass(frozen=True)
class Target:
    """A method of a server, and as whom it is called."""

    address: str
    path: str
    token: str = ""

    def header_block(self) -> bytes:
        """Return the headers of a call, which leave no trace in any table."""
        encoder = hpack.Encoder()
        encoder.header_table_size = 0
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", self.path),
            (":authority", self.address),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]
        if self.token:
            headers.append(("authorization", f"Bearer {self.token}"))
        return bytes(encoder.encode(headers, huffman=False))


@dataclass
class Answers:
    """What came of the calls: the latencies of those that succeeded, and how the others ended."""

    latencies: list[float] = field(default_factory=list)
    failures: Counter[int] = field(default_factory=Counter)
    hung_up: int = 0
    seconds: float = 0.0

    @property
    def per_second(self) -> float:
        """How many calls succeeded in a second."""
        return len(self.latencies) / self.seconds

    def percentile_ms(self, percent: int) -> float:
        """Return a percentile of the latencies of the calls that succeeded."""
        return quantiles(self.latencies, n=100)[percent - 1] * 1000


class _Connection:
    """A connection and the calls that are on it."""

    def __init__(self, target: Target, answers: Answers) -> None:
        host, _, port = target.address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = answers
        self._headers = target.header_block()
        self._next_stream = 1
        self._window = FIRST_WINDOW
        self._stalled: deque[tuple[bytes, float]] = deque()
        self._began: dict[int, float] = {}
        self._input = bytearray()
        settings = _setting(HEADER_TABLE_SIZE, 0) + _setting(ENABLE_PUSH, 0)
        settings += _setting(INITIAL_WINDOW_SIZE, LARGEST_WINDOW)
        more = (LARGEST_WINDOW - FIRST_WINDOW).to_bytes(4, "big")
        self._output = [PREFACE, _frame(SETTINGS, 0, 0, settings), _frame(WINDOW_UPDATE, 0, 0, more)]
        self.leaving = False

    @property
    def pending(self) -> int:
        """How many calls are on it."""
        return len(self._began) + len(self._stalled)

    def call(self, message: bytes, due: float) -> None:
        """Begin a call as soon as the server has room for it; its time counts from `due`."""
        if len(message) + 5 > min(self._window, LARGEST_FRAME) and len(message) + 5 > self._window:
            self._stalled.append((message, due))
            return
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        body = b"\0" + len(message).to_bytes(4, "big") + message
        self._window -= len(body)
        self._began[stream] = due
        self._output.append(_frame(HEADERS, END_HEADERS, stream, self._headers))
        for at in range(0, len(body), LARGEST_FRAME):
            part = body[at : at + LARGEST_FRAME]
            last = at + LARGEST_FRAME >= len(body)
            self._output.append(_frame(DATA, END_STREAM if last else 0, stream, part))

    def hang_up(self) -> None:
        """Cancel the oldest call."""
        stream = next(iter(self._began))
        del self._began[stream]
        self._answers.hung_up += 1
        self._output.append(_frame(RST_STREAM, 0, stream, CANCEL))

    def flush(self) -> None:
        """Send what was begun."""
        if self._output:
            self.socket.sendall(b"".join(self._output))
            self._output.clear()

    def receive(self) -> int:
        """Take what has come; return how many calls have ended."""
        came = self.socket.recv(READ_BYTES)
        if not came:
            raise ConnectionError("the server closed the connection")
        data = self._input
        data += came
        at, ended, now = 0, 0, time.perf_counter()
        while len(data) - at >= FRAME_HEAD_BYTES:
            size = int.from_bytes(data[at : at + 3], "big")
            if len(data) - at < FRAME_HEAD_BYTES + size:
                break
            kind, flags = data[at + 3], data[at + 4]
            stream = int.from_bytes(data[at + 5 : at + 9], "big")
            payload = bytes(data[at + FRAME_HEAD_BYTES : at + FRAME_HEAD_BYTES + size])
            at += FRAME_HEAD_BYTES + size
            ended += self._take(kind, flags, stream, payload, now)
        del data[:at]
        return ended

    def _take(self, kind: int, flags: int, stream: int, payload: bytes, now: float) -> int:
        if kind == HEADERS and flags & END_STREAM:
            return self._end(stream, _status(payload), now)
        if kind == RST_STREAM:
            return self._end(stream, RESET, now)
        if kind == PING and not flags & ACK:
            self._output.append(_frame(PING, ACK, 0, payload))
        elif kind == SETTINGS and not flags & ACK:
            self._output.append(_frame(SETTINGS, ACK, 0))
        elif kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload, "big")
            waiting, self._stalled = self._stalled, deque()
            for message, due in waiting:
                self.call(message, due)
        elif kind == GOAWAY:
            self.leaving = True
        return 0

    def _end(self, stream: int, status: int, now: float) -> int:
        began = self._began.pop(stream, None)
        if began is None:
            # One that was hung up.
            return 0
        if status == 0:
            self._answers.latencies.append(now - began)
        else:
            self._answers.failures[status] += 1
        return 1


class Caller:
    """Calls a method over several connections, and counts what comes of it."""

    def __init__(self, targets: Sequence[Target], connections: int = 4) -> None:
        self._selector = selectors.DefaultSelector()
        self.answers = Answers()
        self._targets = [targets[n % len(targets)] for n in range(max(connections, len(targets)))]
        self._live = [self._connect(target) for target in self._targets]

    def _connect(self, target: Target) -> _Connection:
        connection = _Connection(target, self.answers)
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.flush()
        return connection

    def in_flight(
        self,
        messages: Iterator[bytes],
        count: int,
        seconds: float,
        hang_up_every: int = 0,
    ) -> Answers:
        """Keep so many calls in flight for so long, and wait for the last.

        With `hang_up_every` of n, every n-th call is given up as soon as another ends.
        """
        self.answers = answers = Answers()
        for connection in self._live:
            connection._answers = answers
        began = time.perf_counter()
        ends_at = began + seconds
        for n in range(count):
            self._place(n).call(next(messages), time.perf_counter())
        self._flush()
        begun = count
        while (now := time.perf_counter()) < ends_at:
            for connection, ended in self._ready(ends_at - now):
                target = self._place_of(connection)
                for _ in range(ended):
                    target.call(next(messages), time.perf_counter())
                    begun += 1
                    if hang_up_every and begun % hang_up_every == 0:
                        target.hang_up()
                        target.call(next(messages), time.perf_counter())
                        begun += 1
            self._flush()
        answers.seconds = time.perf_counter() - began
        self._drain()
        return answers

    def at_rate(self, messages: Iterator[bytes], per_second: float, seconds: float) -> Answers:
        """Begin so many calls a second, however long they take; latencies count from when each
        was due.
        """
        self.answers = answers = Answers()
        for connection in self._live:
            connection._answers = answers
        began, done, total = time.perf_counter(), 0, int(per_second * seconds)
        while done < total:
            now = time.perf_counter()
            due = min(total, math.floor((now - began) * per_second) + 1)
            for n in range(done, due):
                self._place(n).call(next(messages), began + n / per_second)
            done = due
            self._flush()
            for _ in self._ready(max(0.0, began + done / per_second - time.perf_counter())):
                pass
            self._flush()
        self._drain()
        answers.seconds = time.perf_counter() - began
        return answers

    def close(self) -> None:
        """Close all connections."""
        for key in list(self._selector.get_map().values()):
            key.data.socket.close()
        self._selector.close()

    def _place(self, n: int) -> _Connection:
        return self._place_of(self._live[n % len(self._live)])

    def _place_of(self, connection: _Connection) -> _Connection:
        """Return the connection, or a new one in its place if the server wants to be rid of it."""
        if not connection.leaving:
            return connection
        n = self._live.index(connection) if connection in self._live else 0
        if self._live[n].leaving:
            self._live[n] = self._connect(self._targets[n])
        return self._live[n]

    def _ready(self, timeout: float) -> Iterator[tuple[_Connection, int]]:
        for key, _ in self._selector.select(timeout):
            connection = key.data
            try:
                ended = connection.receive()
            except ConnectionError:
                ended = connection.pending
                self.answers.failures[RESET] += ended
                connection.leaving = True
                self._selector.unregister(connection.socket)
            yield connection, ended

    def _flush(self) -> None:
        for key in list(self._selector.get_map().values()):
            with suppress(ConnectionError):
                key.data.flush()

    def _drain(self) -> None:
        ends_at = time.perf_counter() + 30
        while any(key.data.pending for key in self._selector.get_map().values()):
            if time.perf_counter() > ends_at:
                raise TimeoutError("calls without an answer")
            for _ in self._ready(1.0):
                pass
            self._flush()
