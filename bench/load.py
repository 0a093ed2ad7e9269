"""Load: calls over some connections, so many in flight or so many a second, and what came of them.

What a connection speaks is its own affair: `bench.http2` speaks gRPC, `bench.http1` HTTP/1.1.
"""

import math
import selectors
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from statistics import quantiles
from typing import Protocol

# Stand for the statuses of calls that have none: the server broke off the call, or the connection.
RESET, LOST = -1, -2
PATIENCE_SECONDS = 30.0
RETRY_SECONDS = 0.05
# When a call was due (see time.perf_counter), and its status; 0 is success.
Ended = tuple[float, int]
Begun = tuple[bytes, float]


@dataclass
class Answers:
    """What came of the calls: the latencies of those that succeeded, and how the others ended."""

    latencies: list[float] = field(default_factory=list)
    failures: Counter[int] = field(default_factory=Counter)
    hung_up: int = 0
    # How long calls were begun, and how many had succeeded by then: those that end while the
    # last are waited for have the server to themselves, and are in no rate.
    seconds: float = 0.0
    succeeded_in_time: int = 0

    @property
    def per_second(self) -> float:
        """How many calls succeeded in a second."""
        return self.succeeded_in_time / self.seconds

    @property
    def ended(self) -> int:
        """How many calls were waited for to their end, whatever it was."""
        return len(self.latencies) + self.failures.total()

    def percentile_ms(self, percent: int) -> float:
        """Return a percentile of the latencies of the calls that succeeded."""
        return quantiles(self.latencies, n=100)[percent - 1] * 1000

    def take(self, ended: Ended, now: float) -> None:
        """Count a call that ended now."""
        due, status = ended
        if status == 0:
            self.latencies.append(now - due)
        else:
            self.failures[status] += 1


class Connection(Protocol):
    """A connection and the calls that are on it; nothing here waits for the server."""

    @property
    def socket(self) -> socket.socket:
        """What it is connected by."""

    @property
    def pending(self) -> int:
        """How many calls are on it."""

    @property
    def leaving(self) -> bool:
        """Whether the server takes no further calls on it."""

    def call(self, message: bytes, due: float) -> None:
        """Begin a call as soon as the server has room for it."""

    def hang_up(self) -> bool:
        """Cancel the oldest call; false if there is none."""

    def flush(self) -> bool:
        """Send what was begun, as far as it goes; false if some of it must wait."""

    def receive(self) -> list[Ended]:
        """Take what has come, and return what ended; raises OSError for a lost connection."""

    def take_back(self) -> list[Begun]:
        """Return the calls that the server has not begun, and never will on this connection."""


class Caller:
    """Keeps a connection to each of some servers, and another when that one goes."""

    def __init__(self, connects: Sequence[Callable[[], Connection]]) -> None:
        self._connects = connects
        self._selector = selectors.DefaultSelector()
        self._answers = Answers()
        self._live: list[Connection | None] = [None] * len(connects)
        # Calls for a server that cannot be reached; their time runs.
        self._waiting: list[deque[Begun]] = [deque() for _ in connects]
        self._retry_at = 0.0
        for n in range(len(connects)):
            self._connect(n)

    def in_flight(
        self, messages: Iterator[bytes], count: int, seconds: float, hang_up_every: int = 0
    ) -> Answers:
        """Keep so many calls in flight for so long, and wait for the last.

        With `hang_up_every` of n, another call is given up at each n-th that begins.
        """
        answers = self._answers = Answers()
        began = time.perf_counter()
        ends_at = began + seconds
        for n in range(count):
            self._begin(n % len(self._live), next(messages), time.perf_counter())
        self._flush_all()
        begun = count
        while (now := time.perf_counter()) < ends_at:
            for n, ended, ended_at in self._turn(ends_at - now):
                for _ in range(ended):
                    self._begin(n, next(messages), ended_at)
                    begun += 1
                    if hang_up_every and begun % hang_up_every == 0 and self._hang_up(n):
                        self._begin(n, next(messages), ended_at)
                self._flush(n)
        self._settle(began)
        return answers

    def all_of(self, messages: Iterator[bytes], count: int) -> Answers:
        """Make all the calls that are given, so many in flight; the time is that of them all."""
        answers = self._answers = Answers()
        began = time.perf_counter()
        for n, message in enumerate(islice(messages, count)):
            self._begin(n % len(self._live), message, time.perf_counter())
        self._flush_all()
        while self._is_pending():
            for n, ended, ended_at in self._turn(PATIENCE_SECONDS):
                for message in islice(messages, ended):
                    self._begin(n, message, ended_at)
                self._flush(n)
        answers.seconds = time.perf_counter() - began
        answers.succeeded_in_time = len(answers.latencies)
        return answers

    def at_rate(self, messages: Iterator[bytes], per_second: float, seconds: float) -> Answers:
        """Begin so many calls a second, however long they take, and wait for the last; latencies
        count from when each was due.
        """
        answers = self._answers = Answers()
        began, begun, total = time.perf_counter(), 0, int(per_second * seconds)
        while begun < total:
            due = min(total, math.floor((time.perf_counter() - began) * per_second) + 1)
            for n in range(begun, due):
                self._begin(n % len(self._live), next(messages), began + n / per_second)
            begun = due
            self._flush_all()
            for _ in self._turn(max(0.0, began + begun / per_second - time.perf_counter())):
                pass
        self._settle(began)
        return answers

    def close(self) -> None:
        """Close all connections."""
        for key in list(self._selector.get_map().values()):
            key.data[1].socket.close()
        self._selector.close()

    def _connect(self, n: int) -> Connection | None:
        """Return a new connection in the place of the last, or None if there is no server."""
        try:
            connection = self._connects[n]()
        except OSError:
            self._live[n] = None
            return None
        connection.socket.setblocking(False)
        self._live[n] = connection
        self._selector.register(connection.socket, selectors.EVENT_READ, (n, connection))
        while self._waiting[n]:
            connection.call(*self._waiting[n].popleft())
        self._flush(n)
        return connection

    def _begin(self, n: int, message: bytes, due: float) -> None:
        connection = self._live[n]
        if connection is not None and connection.leaving:
            connection = self._connect(n)
        if connection is None:
            self._waiting[n].append((message, due))
        else:
            connection.call(message, due)

    def _hang_up(self, n: int) -> bool:
        connection = self._live[n]
        gone = connection is not None and connection.hang_up()
        self._answers.hung_up += gone
        return gone

    def _flush(self, n: int) -> None:
        connection = self._live[n]
        if connection is not None:
            self._send(n, connection)

    def _flush_all(self) -> None:
        for n in range(len(self._live)):
            self._flush(n)

    def _send(self, n: int, connection: Connection) -> None:
        """Send, and go on as soon as the socket takes more; a loss shows when it is read."""
        try:
            sent = connection.flush()
        except OSError:
            return
        wanted = selectors.EVENT_READ | (0 if sent else selectors.EVENT_WRITE)
        if self._selector.get_key(connection.socket).events != wanted:
            self._selector.modify(connection.socket, wanted, (n, connection))

    def _turn(self, timeout: float) -> Iterator[tuple[int, int, float]]:
        """Wait for answers; give the places where calls have ended, with how many, and when."""
        if None in self._live:
            timeout = min(timeout, RETRY_SECONDS)
            self._retry()
        for key, events in self._selector.select(timeout):
            n, connection = key.data
            if events & selectors.EVENT_READ:
                ended = self._receive(n, connection)
                now = time.perf_counter()
                for one in ended:
                    self._answers.take(one, now)
                yield n, len(ended), now
            if connection.socket.fileno() >= 0:
                self._send(n, connection)

    def _receive(self, n: int, connection: Connection) -> list[Ended]:
        try:
            ended = connection.receive()
        except BlockingIOError:
            return []
        except OSError:
            ended = [(0.0, LOST)] * connection.pending
            self._drop(n, connection)
            return ended
        for message, due in connection.take_back():
            self._begin(n, message, due)
        if connection.leaving and not connection.pending:
            self._drop(n, connection)
        return ended

    def _drop(self, n: int, connection: Connection) -> None:
        self._selector.unregister(connection.socket)
        connection.socket.close()
        if self._live[n] is connection:
            self._live[n] = None

    def _retry(self) -> None:
        now = time.perf_counter()
        if now < self._retry_at:
            return
        self._retry_at = now + RETRY_SECONDS
        for n, connection in enumerate(self._live):
            if connection is None:
                self._connect(n)

    def _settle(self, began: float) -> None:
        """Note how many calls succeeded in time; wait for the others."""
        self._answers.seconds = time.perf_counter() - began
        self._answers.succeeded_in_time = len(self._answers.latencies)
        ends_at = time.perf_counter() + PATIENCE_SECONDS
        while self._is_pending():
            if time.perf_counter() > ends_at:
                raise TimeoutError("calls without an answer")
            for _ in self._turn(1.0):
                pass

    def _is_pending(self) -> bool:
        keys = self._selector.get_map().values()
        return any(self._waiting) or any(key.data[1].pending for key in keys)
