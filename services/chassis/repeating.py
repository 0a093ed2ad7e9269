"""Work on the database that is run again after a failure that will pass."""

import time
from collections.abc import Callable
from typing import TypeVar

import psycopg
import structlog
from sqlalchemy.exc import DBAPIError, OperationalError

from services.chassis import errors
from services.chassis.writes import RunAgain

T = TypeVar("T")
log = structlog.get_logger()

# The same command may succeed when it is run again: serialization failure, deadlock, lock not
# available, statement cancelled, the server going away; and, once somebody has seen to it: no
# room on the disk or in the memory, no more connections, a database that may only be read.
TRANSIENT_SQLSTATES = frozenset(
    {"40001", "40P01", "55P03", "57014", "57P01", "57P02", "57P03"}
    | {"53100", "53200", "53300", "58030", "25006"}
)
TRANSIENT_SQLITE = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN")
ATTEMPTS = 3


def _is_transient(error: DBAPIError) -> bool:
    """Whether the same work may succeed if it is run again.

    A connection lost during the commit counts too: what was committed is found by its
    request_id when the command runs again.
    """
    if error.connection_invalidated or getattr(error.orig, "sqlstate", None) in TRANSIENT_SQLSTATES:
        return True
    if isinstance(error.orig, psycopg.OperationalError) and error.orig.sqlstate is None:
        # Not the server's word: the connection itself failed, be it while rolling back.
        return True
    if getattr(error.orig, "sqlite_errorname", "").startswith(TRANSIENT_SQLITE):
        return True
    text = str(error.orig)
    return isinstance(error, OperationalError) and (
        "database is locked" in text or "connection" in text or "timeout" in text
    )


def _kind(error: DBAPIError | RunAgain) -> str:
    """Return what happened as the database names it, such as SQLITE_FULL or 40001."""
    orig = getattr(error, "orig", None)
    told = getattr(orig, "sqlstate", None) or getattr(orig, "sqlite_errorname", None)
    return str(told or type(error).__name__)


def again(once: Callable[[], T], ends_at: float) -> T:
    """Run once, and again after a failure that will pass, until the deadline at most."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return once()
        except (DBAPIError, RunAgain) as error:
            if isinstance(error, DBAPIError) and not _is_transient(error):
                raise
            log.warning("database_transient", attempt=attempt, kind=_kind(error))
            if attempt == ATTEMPTS or time.monotonic() >= ends_at:
                text = "the database could not be reached in time; repeat with the same request_id"
                raise errors.Unavailable(text, retry_delay_seconds=1) from error
            time.sleep(0.02 * attempt)
    raise AssertionError
