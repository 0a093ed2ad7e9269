"""The end of a feed in memory: what it serves is what the database would have served."""

from collections.abc import Sequence

from services.chassis.recent import KEPT_EVENTS, Recent
from services.chassis.sequencer import Numbered
from vafa.events.v1 import events_pb2

EPOCH, OTHER = "3f0c", "77aa"


def numbered(first: int, count: int, epoch: str = EPOCH) -> Numbered:
    """Return events from a position on, as they are numbered."""
    return Numbered(
        epoch, first + count - 1, [(n, payload(n)) for n in range(first, first + count)]
    )


def payload(position: int) -> bytes:
    """Return an event as it lies in the outbox."""
    return events_pb2.Event(uid=f"uid-{position}", type="contact.created").SerializeToString()


def at(position: int, epoch: str = EPOCH) -> events_pb2.Cursor:
    """Return a cursor."""
    return events_pb2.Cursor(epoch=epoch, position=position)


def positions(page: events_pb2.StreamEventsResponse | None) -> list[int]:
    """Return the positions of a page that must be there, and whose events must be theirs."""
    assert page is not None
    assert [event.uid for event in page.events] == [f"uid-{one.position}" for one in page.events]
    return [event.position for event in page.events]


def recent(*known: Numbered) -> Recent:
    """Return what is in memory after some numberings."""
    feed = Recent()
    for one in known:
        feed.note(one)
    return feed


def served(feed: Recent, after: Sequence[int]) -> list[bool]:
    """Return for each of some positions whether the events after it are in memory."""
    return [feed.page(at(position), 100) is not None for position in after]


def test_before_the_first_numbering_the_database_is_asked() -> None:
    assert Recent().page(events_pb2.Cursor(), 100) is None


def test_a_page_holds_what_follows_the_cursor_and_says_where_it_ends() -> None:
    feed = recent(numbered(5, 3), numbered(8, 2))
    page = feed.page(at(5), 3)
    assert positions(page) == [6, 7, 8]
    assert page is not None
    assert page.next == at(8)
    assert page.head == at(9)
    end = feed.page(at(9), 3)
    assert positions(end) == []
    assert end is not None
    assert end.next == end.head == at(9)


def test_what_is_not_in_memory_is_left_to_the_database() -> None:
    feed = recent(numbered(5, 3))
    assert served(feed, [3, 4, 7, 8]) == [False, True, True, False]
    assert feed.page(at(5, OTHER), 100) is None


def test_what_another_replica_numbered_in_between_is_left_to_the_database() -> None:
    feed = recent(numbered(5, 3), numbered(9, 2))
    assert served(feed, [4, 7, 8, 10]) == [False, False, True, True]
    assert positions(feed.page(at(8), 100)) == [9, 10]
    assert feed.note(Numbered(EPOCH, 12, []))
    assert served(feed, [8, 11, 12]) == [False, False, True]


def test_a_feed_under_a_new_epoch_begins_anew_in_memory() -> None:
    feed = recent(numbered(5, 3))
    assert feed.note(numbered(8, 1, OTHER))
    assert feed.page(at(7), 100) is None
    assert positions(feed.page(at(7, OTHER), 100)) == [8]
    assert feed.page(at(6, OTHER), 100) is None


def test_a_numbering_that_finds_nothing_new_says_so() -> None:
    feed = Recent()
    assert feed.note(numbered(1, 2))
    assert not feed.note(Numbered(EPOCH, 2, []))
    assert positions(feed.page(at(0), 100)) == [1, 2]


def test_only_so_many_events_are_kept() -> None:
    feed = recent(numbered(1, 1), numbered(2, KEPT_EVENTS))
    assert served(feed, [0, 1]) == [False, True]
    assert positions(feed.page(at(1), 1)) == [2]
