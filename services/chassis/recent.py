"""The last events of a feed, in memory: who follows the feed at its end is served from here."""

from typing import TypeVar

from services.chassis.sequencer import NUMBERED_EVENTS, Numbered
from vafa.events.v1 import events_pb2

KEPT_EVENTS = NUMBERED_EVENTS
Page = TypeVar("Page", events_pb2.ListEventsResponse, events_pb2.StreamEventsResponse)


class Recent:
    """The end of the feed as the numbering last saw it, and the events before it without a gap.

    It knows nothing until the first numbering.
    """

    def __init__(self) -> None:
        self._epoch = ""
        self._head_position = 0
        self._events: list[events_pb2.Event] = []

    def note(self, numbered: Numbered) -> bool:
        """Take what was numbered; return whether the feed has moved since the last time."""
        known = self._epoch, self._head_position
        first = numbered.head_position - len(numbered.events) + 1
        if known != (numbered.epoch, first - 1):
            # Another replica has numbered in between, or this is another feed by now.
            self._events = []
        self._epoch, self._head_position = numbered.epoch, numbered.head_position
        self._events += [read_event(*one) for one in numbered.events]
        del self._events[:-KEPT_EVENTS]
        return known != (self._epoch, self._head_position)

    def page(self, after: events_pb2.Cursor, size: int) -> events_pb2.StreamEventsResponse | None:
        """Return the events after a cursor; None if the database must be asked."""
        before_first = self._head_position - len(self._events)
        if not self._epoch or after.epoch != self._epoch:
            return None
        if not before_first <= after.position <= self._head_position:
            return None
        begin = after.position - before_first
        page = events_pb2.StreamEventsResponse(events=self._events[begin : begin + size])
        set_places(page, self._epoch, after.position, self._head_position)
        return page


def read_event(position: int, payload: bytes) -> events_pb2.Event:
    """Return an event as it lies in the outbox, with its position."""
    event = events_pb2.Event.FromString(payload)
    event.position = position
    return event


def set_places(page: Page, epoch: str, after_position: int, head_position: int) -> None:
    """Set `next` behind the last event of a page, or behind a position if it is empty; and
    `head`, which is never before it.
    """
    last = page.events[-1].position if page.events else after_position
    page.next.epoch = page.head.epoch = epoch
    page.next.position = last
    page.head.position = max(head_position, last)
