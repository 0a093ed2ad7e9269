"""Tokens that an API key is exchanged for: renewed before they end, by one exchange at a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Self

from vafa.errors import Cancelled, DeadlineExceeded, ResourceExhausted, Unavailable, VafaError
from vafa.gateway.v1.access_pb2 import AccessToken

# The part of its life after which a token is renewed.
RENEWED_AFTER = 0.8
# How long a good token is used on after its renewal failed.
RETRY_SECONDS = 5.0
# What a good token outlasts.
PASSING = (Unavailable, DeadlineExceeded, ResourceExhausted, Cancelled)


@dataclass(frozen=True)
class _Held:
    """A token, and the local times at which it is due to be renewed and at which it ends.

    Both are counted from before it was asked for, so no clock but one's own matters.
    """

    text: str = field(default="", repr=False)
    renew_at: float = 0.0
    ends_at: float = 0.0

    @property
    def is_due(self) -> bool:
        return time.time() >= self.renew_at

    @property
    def has_ended(self) -> bool:
        return time.time() >= self.ends_at

    @classmethod
    def of(cls, answer: AccessToken, asked_at: float) -> Self:
        """Return the token of an answer that was asked for at that time."""
        seconds = answer.lifetime.ToTimedelta().total_seconds()
        return cls(answer.token, asked_at + RENEWED_AFTER * seconds, asked_at + seconds)

    def kept_after(self, error: VafaError) -> Self:
        """Return the token, good though its renewal failed; raises the error where it is not."""
        if self.has_ended or not isinstance(error, PASSING):
            raise error
        return replace(self, renew_at=time.time() + RETRY_SECONDS)


class ExchangedToken:
    """Gives the present token to any number of threads. Those who need one while an exchange is
    under way get what comes of it, be it an error.
    """

    def __init__(self, exchange: Callable[[], AccessToken]) -> None:
        self._exchange = exchange
        self._held = _Held()
        self._lock = Lock()
        self._under_way: Future[None] | None = None

    def __call__(self) -> str:
        """Return the token; raises the VafaError of an exchange that failed."""
        with self._lock:
            if not self._held.is_due:
                return self._held.text
            under_way = self._under_way
            if under_way is None:
                mine = self._under_way = Future[None]()
            elif not self._held.has_ended:
                return self._held.text
        if under_way is None:
            self._renew(mine)
            under_way = mine
        under_way.result()
        return self._held.text

    def _renew(self, outcome: Future[None]) -> None:
        asked_at = time.time()
        try:
            try:
                self._held = _Held.of(self._exchange(), asked_at)
            except VafaError as error:
                self._held = self._held.kept_after(error)
        except BaseException as error:
            self._under_way = None
            outcome.set_exception(error)
        else:
            self._under_way = None
            outcome.set_result(None)


class AioExchangedToken:
    """Gives the present token to any number of tasks of one event loop, as ExchangedToken does."""

    def __init__(self, exchange: Callable[[], Awaitable[AccessToken]]) -> None:
        self._exchange = exchange
        self._held = _Held()
        self._under_way: asyncio.Task[None] | None = None

    async def __call__(self) -> str:
        """Return the token; raises the VafaError of an exchange that failed."""
        if not self._held.is_due:
            return self._held.text
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.create_task(self._renew())
            # Everybody who waits may have given up by then.
            self._under_way.add_done_callback(lambda task: task.cancelled() or task.exception())
        elif not self._held.has_ended:
            return self._held.text
        # Who gives up does not end the exchange for the others.
        await asyncio.shield(self._under_way)
        return self._held.text

    async def _renew(self) -> None:
        asked_at = time.time()
        try:
            self._held = _Held.of(await self._exchange(), asked_at)
        except VafaError as error:
            self._held = self._held.kept_after(error)
