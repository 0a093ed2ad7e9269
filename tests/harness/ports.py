"""Ports for what listens on several at once."""

import random
import socket

# Of the services and the edge behind them, of the metrics of all five, of the edge's admin.
OFFSETS = (*range(5), *range(100, 105), 204)


def is_free(port: int) -> bool:
    """Whether a process could listen on a port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_base_port() -> int:
    """Return a port that `vafa up` can begin at, with its edge four above, below those that the
    system gives away.
    """
    for base in random.sample(range(10_000, 30_000, 10), 200):
        if all(is_free(base + offset) for offset in OFFSETS):
            return base
    raise AssertionError("no free ports")
