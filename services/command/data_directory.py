"""The data directory of a suite on one machine: private files, and one owner at a time."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class CannotStart(Exception):
    """The suite cannot run here as things are; the text tells the operator why."""


class DataDirectoryInUse(CannotStart):
    """Another supervisor holds the data directory. `pid` is None if it has not said it yet."""

    def __init__(self, directory: Path, pid: int | None) -> None:
        holder = "another process" if pid is None else f"process {pid}"
        super().__init__(f"{directory} is in use: its suite is run by {holder}")
        self.directory = directory
        self.pid = pid


def make_private_directory(directory: Path) -> None:
    """Make directory with mode 0700, and its parents as usual. One that exists stays as it is."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_private_file(path: Path, content: bytes) -> None:
    """Put content at path with mode 0600; a reader sees the former content or all of the new."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Wait until no other process is in this block for directory, then hold the others off."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def supervised(directory: Path) -> Iterator[None]:
    """Own directory, made if need be; its supervisor.lock tells this process's id meanwhile.

    Raises DataDirectoryInUse if another process owns it. The system frees the lock when the
    owner ends, however it ends.
    """
    make_private_directory(directory)
    descriptor = os.open(directory / "supervisor.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.read(descriptor, 20).strip()
            raise DataDirectoryInUse(directory, int(text) if text else None) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b"%d\n" % os.getpid())
        # The file is never removed: two processes could then lock two files of one name.
        yield
    finally:
        os.close(descriptor)
