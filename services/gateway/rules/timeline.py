"""The order of a timeline: one sequence out of what several sources have."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import NamedTuple, TypeVar

Entry = TypeVar("Entry")


class Place(NamedTuple):
    """Where an entry stands: when it happened, the number of its kind, its resource name."""

    time: datetime
    kind: int
    name: str

    @property
    def rank(self) -> tuple[datetime, int, tuple[str, ...]]:
        """What falls from each entry to the next, as it does in the list of every source."""
        return self.time, -self.kind, tuple(self.name.split("/"))


def first_entries(
    sources: Iterable[Sequence[Entry]], place_of: Callable[[Entry], Place], count: int
) -> list[Entry]:
    """Return the first entries of the one sequence that sources come to, each in its order."""
    merged = merge(*sources, key=lambda entry: place_of(entry).rank, reverse=True)
    return list(islice(merged, count))


def behind(place: Place, kind: int, time_field: str) -> str:
    """Return the filter for those of a kind that stand behind a place, whose own entry is not
    among them.
    """
    time = filter_time(place.time)
    if kind < place.kind:
        return f"{time_field} < {time}"
    if kind > place.kind:
        return f"{time_field} <= {time}"
    # The first condition says nothing new: it is for the index.
    return f'{time_field} <= {time} AND ({time_field} < {time} OR name < "{place.name}")'


def filter_time(time: datetime) -> str:
    """Return a time as it is written in a filter."""
    return f'"{time.isoformat(timespec="microseconds")}"'
