"""How long API keys and their tokens live."""

from datetime import datetime, timedelta

DEFAULT_LIFETIME = timedelta(days=90)
LONGEST_LIFETIME = timedelta(days=400)


def is_expiry(expire_time: datetime, now: datetime) -> bool:
    """Whether a key that is made now may expire then."""
    return now < expire_time <= now + LONGEST_LIFETIME


def token_lifetime_seconds(expire_time: datetime, issue_second: int, longest_seconds: int) -> int:
    """Return how long a token of a key may live: never beyond the key, and 0 if not a second.

    A token is issued and expires at whole seconds from 1970, UTC.
    """
    return max(0, min(longest_seconds, int(expire_time.timestamp()) - issue_second))
