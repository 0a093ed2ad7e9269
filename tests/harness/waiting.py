"""Waiting for what comes of itself."""

import time
from collections.abc import Callable

# Long enough for a machine with much else to do; only a test that fails waits so long.
PATIENCE_SECONDS = 30.0
PAUSE_SECONDS = 0.02


def until(
    holds: Callable[[], object], what: str = "it", *, within_seconds: float = PATIENCE_SECONDS
) -> None:
    """Wait until something holds; fails if it does not within these seconds."""
    ends_at = time.monotonic() + within_seconds
    while not holds():
        assert time.monotonic() < ends_at, f"not within {within_seconds:g} s: {what}"
        time.sleep(PAUSE_SECONDS)
