"""Calls in numbers: as many as go with so many in flight, or so many a second."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from typing import Any

IN_FLIGHT = 32
Call = Callable[[int], Awaitable[Any]]


@dataclass(frozen=True)
class Measured:
    """One call on one database: a second's worth, its latencies, and the service's CPU."""

    calls_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float


async def measure(pid: int, call: Call, seconds: float) -> Measured:
    """Call with 32 in flight for some seconds; the CPU is that of the process `pid`."""
    latencies: list[float] = []
    numbers = count()
    ends_at = time.monotonic() + seconds

    async def caller() -> None:
        while time.monotonic() < ends_at:
            began = time.monotonic()
            await call(next(numbers))
            latencies.append(time.monotonic() - began)

    cpu_before, began = cpu_seconds(pid), time.monotonic()
    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    took, cpu = time.monotonic() - began, cpu_seconds(pid) - cpu_before
    cuts = quantiles(latencies, n=100)
    done = len(latencies)
    return Measured(done / took, cuts[49] * 1000, cuts[98] * 1000, cpu / done * 1000)


async def at_rate(call: Call, calls_per_second: float, seconds: float) -> list[float]:
    """Begin so many calls a second, however long they take; return the latencies in seconds."""
    began, latencies = time.monotonic(), list[float]()

    async def one(number: int) -> None:
        called_at = time.monotonic()
        await call(number)
        latencies.append(time.monotonic() - called_at)

    async with asyncio.TaskGroup() as calls:
        for number in range(int(calls_per_second * seconds)):
            due = began + number / calls_per_second
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            calls.create_task(one(number))
    return latencies


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Return the memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def middle(values: list[float]) -> str:
    """Return the median with the range, such as `0.91 (0.88 to 0.93)`."""
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
