"""What callers give, judged alike in every service; each refuses with the reason of its own."""

from collections.abc import Hashable, Iterable
from datetime import datetime, timedelta

from google.protobuf.message import Message

from services.chassis.codecs import time_of
from services.chassis.errors import Refusal

# Clocks differ.
CLOCK_SKEW = timedelta(minutes=1)


def time_or_now(message: Message, field: str, now: datetime, refusal: type[Refusal]) -> datetime:
    """Return when something happened that has happened: now if the field is absent.

    Raises the refusal, with the field, for a time more than a minute ahead.
    """
    given: datetime = time_of(message, field) or now
    if given > now + CLOCK_SKEW:
        text = "lies in the future"
        raise refusal(f"{field} {text}", violations=[(field, text)])
    return given


def first_repeated(values: Iterable[Hashable]) -> int | None:
    """Return the place of the first value that stood before, from 0; None if all differ."""
    seen: set[Hashable] = set()
    for n, value in enumerate(values):
        if value in seen:
            return n
        seen.add(value)
    return None
