"""The timeline of a customer: one sequence, read as it was at one time, page by page."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, TypeAlias

from services.chassis.call import Call
from services.chassis.codecs import time_of
from services.chassis.errors import ResourceNotFound, Unauthenticated, Unavailable
from services.chassis.pages import Cursor
from services.gateway import forwarding
from services.gateway.rules.timeline import Place, behind, filter_time, first_entries
from vafa import errors
from vafa.aio import Suite
from vafa.contacts.v1 import contacts_pb2, interactions_pb2
from vafa.feedback.v1 import responses_pb2
from vafa.gateway.v1 import customers_pb2
from vafa.loyalty.v1 import ledger_pb2, orders_pb2

Entry = customers_pb2.TimelineEntry
Kind: TypeAlias = customers_pb2.TimelineEntry.Kind.ValueType
DEFAULT_SIZE = 50
LARGEST_SIZE = 200
# How old a time must be before it is read at: a write takes its time of recording at its
# beginning, and is there to be seen at its end.
SETTLING_SECONDS = 0.2
# A source that gives no answer, and may give one later.
SILENCE = (
    errors.Unavailable,
    errors.DeadlineExceeded,
    errors.ResourceExhausted,
    errors.Cancelled,
)


@dataclass(frozen=True)
class Source:
    """A list that entries of one kind come from.

    `time_field` is when they happened. `request` is the question for all that the list has of
    a contact, by the contact's id; `ask` puts it. The answer has them in its field `things`,
    and an entry in its field `thing`.
    """

    kind: Kind
    service: str
    time_field: str
    thing: str
    things: str
    request: Callable[[str], Any]
    ask: Callable[[Suite], Any]


SOURCES: Mapping[Kind, Source] = {
    source.kind: source
    for source in (
        Source(
            kind=Entry.KIND_INTERACTION,
            service="contacts",
            time_field="occur_time",
            thing="interaction",
            things="interactions",
            request=lambda id_: interactions_pb2.ListInteractionsRequest(parent=f"contacts/{id_}"),
            ask=lambda suite: suite.interactions.ListInteractions,
        ),
        Source(
            kind=Entry.KIND_ORDER,
            service="loyalty",
            time_field="order_time",
            thing="order",
            things="orders",
            request=lambda id_: orders_pb2.ListOrdersRequest(
                parent="programs/-", filter=f'contact = "contacts/{id_}"'
            ),
            ask=lambda suite: suite.orders.ListOrders,
        ),
        Source(
            kind=Entry.KIND_LEDGER_TRANSACTION,
            service="loyalty",
            time_field="create_time",
            thing="ledger_transaction",
            things="ledger_transactions",
            # A member bears the id of its contact.
            request=lambda id_: ledger_pb2.ListLedgerTransactionsRequest(
                parent=f"programs/-/members/{id_}"
            ),
            ask=lambda suite: suite.ledger.ListLedgerTransactions,
        ),
        Source(
            kind=Entry.KIND_RESPONSE,
            service="feedback",
            time_field="answer_time",
            thing="response",
            things="responses",
            request=lambda id_: responses_pb2.ListResponsesRequest(
                parent="surveys/-", filter=f'contact = "contacts/{id_}"'
            ),
            ask=lambda suite: suite.responses.ListResponses,
        ),
    )
}


@dataclass(frozen=True)
class Reading:
    """Which sequence is read, and behind which place; none at its beginning."""

    contact_id: str
    sources: Sequence[Source]
    read_time: datetime
    place: Place | None


class Timeline:
    """Reads timelines. It keeps nothing: where a reading stands is in its page token."""

    def __init__(self, suite: Suite, page_token_key: bytes) -> None:
        self._suite = suite
        self._page_token_key = page_token_key

    async def page(
        self, request: customers_pb2.ListTimelineRequest, call: Call
    ) -> customers_pb2.ListTimelineResponse:
        """Return the page that is asked for; see ListTimeline of the contract.

        Raises ResourceNotFound, PageTokenInvalid, Unavailable, Unauthenticated.
        """
        kinds = sorted(request.kinds or SOURCES)
        bound = ("timeline", request.parent, *(Entry.Kind.Name(kind) for kind in kinds))
        cursor = Cursor(self._page_token_key, bound)
        reading = _reading(request, [SOURCES[kind] for kind in kinds], cursor)
        size = min(request.page_size or DEFAULT_SIZE, LARGEST_SIZE)
        if reading.place is None:
            await _settle(reading.read_time)
        listed, withheld = await self._ask(reading, size + 1, request.parent, call)
        found = first_entries(listed, _place, size + 1)
        answer = customers_pb2.ListTimelineResponse(entries=found[:size], withheld_kinds=withheld)
        answer.read_time.FromDatetime(reading.read_time)
        if len(found) > size:
            answer.next_page_token = cursor.write([*_place(found[size - 1]), reading.read_time])
        return answer

    async def _ask(
        self, reading: Reading, count: int, customer: str, call: Call
    ) -> tuple[list[list[Entry]], list[Kind]]:
        """Return the next entries of each source, and the kinds that the caller may not see."""
        how = forwarding.for_caller(call)
        questions = [
            source.ask(self._suite)(page_request(source, reading, count), **how)
            for source in reading.sources
        ]
        answers = await asyncio.gather(*map(forwarding.answer_or_error, questions))
        listed: list[list[Entry]] = []
        withheld: list[Kind] = []
        # Whether there is such a contact comes before what else went wrong.
        if any(isinstance(answer, errors.NotFound) for answer in answers):
            raise ResourceNotFound(customer)
        for source, answer in zip(reading.sources, answers, strict=True):
            if isinstance(answer, errors.PermissionDenied):
                withheld.append(source.kind)
            elif isinstance(answer, errors.VafaError):
                _refuse(source.service, answer)
            else:
                listed.append([_entry(source, thing) for thing in getattr(answer, source.things)])
        seen = {source.kind for source in reading.sources} - set(withheld)
        if Entry.KIND_INTERACTION not in seen:
            # No list of the others knows who is a contact.
            await self._require_contact(reading.contact_id, customer, call)
        return listed, withheld

    async def _require_contact(self, contact_id: str, customer: str, call: Call) -> None:
        """Raise ResourceNotFound if there is no such contact and the caller may know that."""
        request = contacts_pb2.GetContactRequest(name=f"contacts/{contact_id}")
        question = self._suite.contacts.GetContact(request, **forwarding.for_caller(call))
        answer = await forwarding.answer_or_error(question)
        if isinstance(answer, errors.NotFound):
            raise ResourceNotFound(customer)
        if isinstance(answer, errors.VafaError) and not isinstance(answer, errors.PermissionDenied):
            _refuse("contacts", answer)


def _reading(
    request: customers_pb2.ListTimelineRequest, sources: Sequence[Source], cursor: Cursor
) -> Reading:
    contact_id = request.parent.removeprefix("customers/")
    if request.page_token:
        types = (datetime, int, str, datetime)
        *place, read_time = cursor.read(request.page_token, types)
        return Reading(contact_id, sources, read_time, Place(*place))
    now = datetime.now(UTC)
    read_time = min(now, time_of(request, "read_time") or now)
    return Reading(contact_id, sources, read_time, None)


async def _settle(read_time: datetime) -> None:
    """Wait until what was being recorded at a time is recorded."""
    settled = read_time + timedelta(seconds=SETTLING_SECONDS)
    await asyncio.sleep(max(0.0, (settled - datetime.now(UTC)).total_seconds()))


def page_request(source: Source, reading: Reading, count: int) -> Any:
    """Return the question for the next entries of a source, at most so many."""
    request = source.request(reading.contact_id)
    conditions = [request.filter, f"create_time <= {filter_time(reading.read_time)}"]
    if reading.place is not None:
        conditions.append(behind(reading.place, source.kind, source.time_field))
    request.filter = " AND ".join(condition for condition in conditions if condition)
    request.order_by = f"{source.time_field} desc"
    request.page_size = count
    return request


def _entry(source: Source, thing: Any) -> Entry:
    entry = Entry(kind=source.kind, time=getattr(thing, source.time_field))
    getattr(entry, source.thing).CopyFrom(thing)
    return entry


def _place(entry: Entry) -> Place:
    name = getattr(entry, SOURCES[entry.kind].thing).name
    return Place(time_of(entry, "time"), entry.kind, name)


def _refuse(service: str, error: errors.VafaError) -> NoReturn:
    """Raise what the caller is told of a service that gave no answer."""
    if isinstance(error, errors.Unauthenticated):
        raise Unauthenticated("the token was not accepted") from error
    if isinstance(error, SILENCE):
        text = f"the {service} service does not answer ({error.code.name})"
        raise Unavailable(text, retry_delay_seconds=1, service=service) from error
    raise error
