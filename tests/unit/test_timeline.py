"""The order of a timeline: any sources, read in pages of any size, come to one sequence."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.chassis.filter_memory import matches
from services.chassis.filters import FieldType, FilterField, parse
from services.chassis.identifiers import Pattern
from services.gateway.rules.timeline import Place, behind, first_entries
from vafa.loyalty.v1 import orders_pb2

START = datetime(2026, 3, 20, 23, 59, 59, 999_998, tzinfo=UTC)
KINDS = (1, 2, 3, 4)
FIELDS: Mapping[str, FilterField] = {
    "name": FilterField(
        "name", FieldType.NAME, ids=Pattern("programs/{program}/orders/{order}").parse
    ),
    "order_time": FilterField("order_time", FieldType.TIME),
}


class Entry(NamedTuple):
    """What a source of a kind has."""

    kind: int
    order: orders_pb2.Order


def an_entry(kind: int, microseconds: int, program: str, order: str) -> Entry:
    """Return an entry that happened so long after the start."""
    message = orders_pb2.Order(name=f"programs/{program}/orders/{order}")
    message.order_time.FromDatetime(START + timedelta(microseconds=microseconds))
    return Entry(kind, message)


def place_of(entry: Entry) -> Place:
    """Return where an entry stands."""
    time = entry.order.order_time.ToDatetime(tzinfo=UTC)
    return Place(time, entry.kind, entry.order.name)


def ids_of(entry: Entry) -> tuple[str, ...]:
    """Return the ids in the name of an entry."""
    _, program, _, order = entry.order.name.split("/")
    return program, order


# Few times and few ids, so that many entries tie; as texts `a-b/…` and `a/…` stand the other
# way round than by their ids.
ENTRIES = st.lists(
    st.builds(
        an_entry,
        st.sampled_from(KINDS),
        st.integers(0, 3),
        st.sampled_from(["a", "a-b", "b"]),
        st.sampled_from(["x", "x-1", "x1", "y"]),
    ),
    unique_by=lambda entry: (entry.kind, entry.order.name),
    max_size=40,
)


def listed(source: Sequence[Entry], filter: str, count: int) -> list[Entry]:
    """Return the page that a List gives: those that the filter asks for, the latest first."""
    expression = parse(filter, FIELDS)
    found = [one for one in source if expression is None or matches(expression, one.order)]
    found.sort(key=lambda one: (one.order.order_time.ToNanoseconds(), ids_of(one)), reverse=True)
    return found[:count]


def read(entries: Sequence[Entry], page_size: int) -> list[Entry]:
    """Return the timeline of the entries, read page by page."""
    sources = {kind: [one for one in entries if one.kind == kind] for kind in KINDS}
    sequence: list[Entry] = []
    place: Place | None = None
    while True:
        pages = [
            listed(source, behind(place, kind, "order_time") if place else "", page_size + 1)
            for kind, source in sources.items()
        ]
        found = first_entries(pages, place_of, page_size + 1)
        sequence += found[:page_size]
        if len(found) <= page_size:
            return sequence
        place = place_of(sequence[-1])


def in_order(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries as the contract orders them: by time, kind and ids, one by one."""
    found = sorted(entries, key=ids_of, reverse=True)
    found.sort(key=lambda entry: entry.kind)
    found.sort(key=lambda entry: entry.order.order_time.ToNanoseconds(), reverse=True)
    return found


AT_ONE_TIME = [an_entry(kind, 0, "a", f"x{n}") for kind in KINDS for n in range(10)]


@settings(max_examples=300, deadline=None)
@given(ENTRIES, st.integers(1, 45))
@example(AT_ONE_TIME, 1)
@example(AT_ONE_TIME, 7)
@example([an_entry(1, 0, "a", "x"), an_entry(1, 0, "a-b", "x"), an_entry(1, 0, "a", "y")], 1)
def test_pages_of_any_size_give_every_entry_once_and_in_order(
    entries: list[Entry], page_size: int
) -> None:
    assert read(entries, page_size) == in_order(entries)


@settings(max_examples=100, deadline=None)
@given(ENTRIES, ENTRIES, st.integers(1, 10))
def test_what_is_added_in_front_of_a_place_moves_nothing_behind_it(
    entries: list[Entry], added: list[Entry], page_size: int
) -> None:
    sequence = in_order(entries)
    names = {(entry.kind, entry.order.name) for entry in entries}
    for last in sequence[page_size - 1 :: page_size]:
        place = place_of(last)
        later = [
            entry
            for entry in added
            if place_of(entry).rank > place.rank and (entry.kind, entry.order.name) not in names
        ]
        behind_it = [
            listed([one for one in [*entries, *later] if one.kind == kind], text, len(entries))
            for kind in KINDS
            for text in [behind(place, kind, "order_time")]
        ]
        rest = sequence[sequence.index(last) + 1 :]
        assert first_entries(behind_it, place_of, len(entries)) == rest


@pytest.mark.parametrize("count", [0, 1, 3, 9])
def test_no_more_entries_come_than_are_asked_for(count: int) -> None:
    source = in_order([an_entry(1, n, "a", "x") for n in range(3)])
    assert first_entries([source, []], place_of, count) == source[:count]
