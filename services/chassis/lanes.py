"""Lanes: threads for one kind of work, and a fair and bounded queue before them."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from services.chassis import errors
from services.chassis.fairness import FairQueue, Kind
from services.chassis.metrics import Metrics

T = TypeVar("T")
RETRY_SECONDS = 0.5


class Lane:
    """Threads that do what waits before them; a kind of work may wait as its limit says."""

    def __init__(
        self, name: str, threads: int, waiting_limits: Mapping[Kind, int], metrics: Metrics
    ) -> None:
        self._limits = waiting_limits
        self._queue: FairQueue[Callable[[], None]] = FairQueue()
        self._changed = threading.Condition()
        self._closed = False
        self._idle = threads
        self._size, self._in_use, self._waiting, self._wait = metrics.lane(name)
        self._size.set(threads)
        self._threads = [
            threading.Thread(target=self._serve, name=f"{name}-{n}") for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, work: Callable[[], T], kind: Kind = Kind.INTERACTIVE, owner: str = "") -> T:
        """Run the work on a thread of the lane; raises Overloaded if too much waits already.

        What has begun goes on to its end, also if the caller gives up.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        asked = time.monotonic()

        def job() -> None:
            if future.cancelled():
                return
            self._wait.observe(time.monotonic() - asked)
            try:
                result = work()
            except BaseException as error:
                loop.call_soon_threadsafe(_fail, future, error)
            else:
                loop.call_soon_threadsafe(_succeed, future, result)

        with self._changed:
            # What idle threads will take in a moment does not wait.
            if not self._queue.has_room(kind, owner, self._limits[kind] + self._idle):
                text = "too many calls wait"
                raise errors.Overloaded(text, retry_delay_seconds=RETRY_SECONDS)
            self._queue.put(kind, owner, job)
            self._waiting.set(len(self._queue))
            self._changed.notify()
        return await future

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._queue:
                    if self._closed:
                        return
                    self._changed.wait()
                job = self._queue.take()
                self._idle -= 1
                self._waiting.set(len(self._queue))
                self._in_use.set(len(self._threads) - self._idle)
            job()
            with self._changed:
                self._idle += 1
                self._in_use.set(len(self._threads) - self._idle)

    def close(self) -> None:
        """End the threads once their work is done."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()


def _succeed(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
