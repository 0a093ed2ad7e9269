"""A file of settings that is read again when it has changed."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import jwt
import structlog

# What reading a file of keys, issuers or roles that is not one may raise.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError)
LOOK_SECONDS = 1.0
log = structlog.get_logger()
T = TypeVar("T")


class WatchedFile(Generic[T]):
    """What a file says, read again when the file has changed; looked at once a second at most.

    A file that is gone, or changes into one that `read` refuses with one of UNREADABLE, is
    passed over: the last good value stays. What is refused is read again all the same, since it
    may want another file that comes later. At first, either is raised.
    """

    def __init__(self, path: Path, read: Callable[[bytes], T]) -> None:
        self._path = path
        self._read = read
        self._looked_at = time.monotonic()
        self._signature = self._sign()
        self._refused: tuple[int, int] | None = None
        self.value = read(path.read_bytes())

    def _sign(self) -> tuple[int, int]:
        stat = self._path.stat()
        return stat.st_mtime_ns, stat.st_ino

    def changed(self) -> bool:
        """Whether the value is new since the last time this was asked."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return False
        self._looked_at = time.monotonic()
        try:
            signature = self._sign()
            if signature == self._signature:
                return False
            content = self._path.read_bytes()
        except OSError:
            return False
        try:
            self.value = self._read(content)
        except UNREADABLE as error:
            if signature != self._refused:
                log.error("file_unreadable", file=self._path.name, problem=str(error))
            self._refused = signature
            return False
        self._signature, self._refused = signature, None
        return True
