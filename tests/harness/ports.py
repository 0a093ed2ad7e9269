"""Ports of 127.0.0.1 that nobody else takes before they are used.

The system gives away ports of its own range to whoever calls out, at any moment, so a port of
that range may be free when it is looked at and taken when it is listened on. These are from
below it, and each is claimed in a file that all tests of the machine share, for as long as the
process that claimed it lives.
"""

import fcntl
import os
import random
import socket
import tempfile
from functools import cache
from pathlib import Path

# Below it begin those that the system gives away.
FIRST, END = 10_000, 30_000
# Of the services and the edge behind them, of the metrics of all five, of the edge's admin.
OFFSETS = (*range(5), *range(100, 105), 204)


@cache
def _claims() -> int:
    # Never closed: to close any descriptor of the file would give back all that is claimed.
    path = Path(tempfile.gettempdir()) / f"vafa-test-ports-{os.geteuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


_mine: set[int] = set()


def _claim(port: int) -> bool:
    """Claim a port for this process; false if it or another has it, or somebody listens there."""
    if port in _mine or not is_free(port):
        return False
    try:
        fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    _mine.add(port)
    return True


def is_free(port: int) -> bool:
    """Whether a process could listen on a port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port that nobody listens on, claimed until this process ends."""
    for port in random.sample(range(FIRST, END), 2_000):
        if _claim(port):
            return port
    raise AssertionError("no free ports")


def free_base_port() -> int:
    """Return a port that `vafa up` can begin at, with its edge four above, all of them claimed."""
    for base in random.sample(range(FIRST, END - max(OFFSETS), 10), 500):
        if all(_claim(base + offset) for offset in OFFSETS):
            return base
    raise AssertionError("no free ports")
