"""Calls that are made again while what is in the way may pass."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import vafa

T = TypeVar("T")
Reach = Callable[[], vafa.aio.Suite]
"""Gives the suite for an attempt of a call."""

FIRST_DELAY_SECONDS = 0.1
MAX_DELAY_SECONDS = 2.0
# What passes: nobody there, no answer in time, too much to do, cut off as a service ended.
TRANSIENT = (vafa.Unavailable, vafa.DeadlineExceeded, vafa.ResourceExhausted, vafa.Cancelled)


async def call_patiently(
    reach: Reach, call: Callable[[vafa.aio.Suite], Awaitable[T]], patience_seconds: float
) -> T:
    """Make a call, and again until it is not refused for what passes, or patience ends.

    Then it raises what the last attempt raised.
    """
    ends_at = time.monotonic() + patience_seconds
    delay_seconds = FIRST_DELAY_SECONDS
    while True:
        try:
            return await call(reach())
        except TRANSIENT as error:
            delay_seconds = max(delay_seconds, error.retry_delay_seconds or 0)
            if time.monotonic() + delay_seconds > ends_at:
                raise
        await asyncio.sleep(delay_seconds)
        delay_seconds = min(2 * delay_seconds, MAX_DELAY_SECONDS)
