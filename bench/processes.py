"""What processes use of the machine."""

import os
from collections.abc import Iterable
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# Of the fields of /proc/PID/stat after the name: its own time, and that of its dead children.
OWN, WITH_DEAD_CHILDREN = slice(11, 13), slice(11, 15)


def _seconds(pid: int, fields: slice) -> float:
    values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, values[fields])) / TICKS_PER_SECOND


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time that processes have used."""
    return sum(_seconds(pid, OWN) for pid in pids)


def family_cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process and all its children have used, dead ones too."""
    seconds = _seconds(pid, WITH_DEAD_CHILDREN)
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            seconds += _seconds(int(child), OWN)
        except (FileNotFoundError, ProcessLookupError):
            # It has died since, and its time has gone to its parent.
            continue
    return seconds


def resident_mib(pid: int) -> float:
    """Return the memory that a process holds, in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
