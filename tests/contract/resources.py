"""How each resource and each RPC of the contract is exercised.

`EXERCISES` call the standard methods of every resource alike; `EXAMPLES` hold one request that
succeeds for every RPC. Every refusal that a test awaits goes through `refused`, which also
holds it against the failures that the contract declares for the method.
"""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

import grpc
import pytest
from google.longrunning import operations_pb2
from google.protobuf import struct_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from google.type import date_pb2, money_pb2
from sqlalchemy import Table

import vafa
from services.chassis.operations import operations_methods
from services.chassis.policy import Method, methods_of
from services.chassis.resource import Resource
from services.contacts.resources import CONTACT, INTERACTION
from services.feedback.resources import RESPONSE, SURVEY
from services.gateway.resources import API_KEY
from services.loyalty.resources import LEDGER_TRANSACTION, LOT, MEMBER, ORDER, PROGRAM
from tests.harness.suite import RunningSuite
from vafa.api.v1 import error_reason_pb2
from vafa.contacts.v1 import contacts_pb2, interactions_pb2
from vafa.errors import error_from_call
from vafa.events.v1 import events_pb2
from vafa.feedback.v1 import responses_pb2, surveys_pb2
from vafa.gateway.v1 import access_pb2, customers_pb2
from vafa.loyalty.v1 import ledger_pb2, members_pb2, orders_pb2, programs_pb2

OWN_SERVICES: Mapping[str, Sequence[ServiceDescriptor]] = {
    "contacts": (
        contacts_pb2.DESCRIPTOR.services_by_name["ContactService"],
        interactions_pb2.DESCRIPTOR.services_by_name["InteractionService"],
    ),
    "loyalty": (
        programs_pb2.DESCRIPTOR.services_by_name["ProgramService"],
        members_pb2.DESCRIPTOR.services_by_name["MemberService"],
        orders_pb2.DESCRIPTOR.services_by_name["OrderService"],
        ledger_pb2.DESCRIPTOR.services_by_name["LedgerService"],
    ),
    "feedback": (
        surveys_pb2.DESCRIPTOR.services_by_name["SurveyService"],
        responses_pb2.DESCRIPTOR.services_by_name["ResponseService"],
    ),
    "gateway": (
        access_pb2.DESCRIPTOR.services_by_name["AccessService"],
        customers_pb2.DESCRIPTOR.services_by_name["CustomerService"],
    ),
}
EVERYWHERE = methods_of(events_pb2.DESCRIPTOR.services_by_name["EventService"])
# Of each process, all that it serves.
SERVED: Mapping[str, tuple[Method, ...]] = {
    process: (
        *(method for service in services for method in methods_of(service)),
        *EVERYWHERE,
        *operations_methods(),
    )
    for process, services in OWN_SERVICES.items()
}
METHODS = {method.path: method for methods in SERVED.values() for method in methods}
COMMON_REASONS = {
    value.name
    for value in error_reason_pb2.ErrorReason.DESCRIPTOR.values
    if value.number < error_reason_pb2.RESOURCE_NOT_FOUND
}
# Neither in the order of ASCII without case nor in that of any alphabet; and some stand twice.
NAMES = ("beta", "Beta", "آذر", "Émile", "alpha")
SOME_TIME = datetime(2024, 3, 20, 3, 6, 21, 123456, tzinfo=UTC)


def new_tag() -> str:
    """Return letters and digits that nobody else has used."""
    return uuid.uuid4().hex[:12]


def timestamp(moment: datetime) -> Timestamp:
    """Return a moment as it travels."""
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def require_declared(error: vafa.VafaError) -> None:
    """Fail unless the method declares the reason, or any method may give it."""
    method = METHODS[error.method]
    package = method.service.rpartition(".")[0]
    of_all = error.domain == "vafa.api.v1"
    assert of_all or error.domain == package, f"{error.domain} for a call to {package}"
    assert error.reason in method.failures or (of_all and error.reason in COMMON_REASONS), (
        f"{error.method} does not declare {error.reason}"
    )


@dataclass
class Refused:
    """A refusal, once it has come."""

    error: vafa.VafaError | None = None

    @property
    def fields(self) -> list[str]:
        """The paths of the fields that were refused."""
        assert self.error is not None
        return [violation.field for violation in self.error.field_violations]

    @property
    def metadata(self) -> Mapping[str, str]:
        """The particulars."""
        assert self.error is not None
        return self.error.metadata


@contextmanager
def refused(kind: type[vafa.VafaError], reason: str) -> Iterator[Refused]:
    """Fail unless the call within is refused so, with a reason that its method declares."""
    outcome = Refused()
    with pytest.raises(kind) as caught:
        yield outcome
    outcome.error = caught.value
    require_declared(caught.value)
    assert (type(caught.value), caught.value.reason) == (kind, reason), str(caught.value)


class Answer(NamedTuple):
    """What came back, before anything read it."""

    raw: bytes
    trailers: Mapping[str, str | bytes]


class Wire:
    """Calls a suite with bytes, as they are, over connections of its own."""

    def __init__(self, suite: RunningSuite) -> None:
        self._suite = suite
        self._channels: dict[str, grpc.Channel] = {}

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        for channel in self._channels.values():
            channel.close()

    @cached_property
    def token(self) -> str:
        """A token with all permissions."""
        return self._suite.token()

    def call(
        self,
        process: str,
        path: str,
        raw: bytes,
        *,
        token: str | None = None,
        timeout_seconds: float = 10,
    ) -> Answer:
        """Call a method of a process; no token is sent if it is empty. Raises a VafaError."""
        if process not in self._channels:
            address = self._suite.addresses[process]
            unlimited = (("grpc.max_send_message_length", -1),)
            self._channels[process] = grpc.insecure_channel(address, unlimited)
        token = self.token if token is None else token
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        options: dict[str, Any] = {"metadata": metadata, "timeout": timeout_seconds}
        channel: Any = self._channels[process]
        try:
            if path in METHODS and METHODS[path].descriptor.server_streaming:
                stream = channel.unary_stream(path, None, None)(raw, **options)
                first = next(iter(stream))
                stream.cancel()
                return Answer(first, {})
            response, call = channel.unary_unary(path, None, None).with_call(raw, **options)
        except grpc.RpcError as error:
            raise error_from_call(error, path) from error
        return Answer(response, dict(call.trailing_metadata()))


def _events_between(
    client: vafa.Suite,
    process: str,
    after: events_pb2.Cursor,
    first_subject: str,
    last_subject: str,
) -> list[events_pb2.Event]:
    """Return the events behind the creation of one subject and before that of another, once
    both are there: events are numbered a moment after their commits.
    """
    found: list[events_pb2.Event] = []
    request = events_pb2.ListEventsRequest(parent=f"feeds/{process}", after=after, page_size=1000)
    ends_at = time.monotonic() + 10
    while time.monotonic() < ends_at:
        page = client.events(process).ListEvents(request)
        found += page.events
        request.after.CopyFrom(page.next)
        subjects = [event.subject for event in found]
        if last_subject in subjects:
            between = slice(subjects.index(first_subject) + 1, subjects.index(last_subject))
            return found[between]
        if not page.events:
            time.sleep(0.01)
    raise AssertionError(f"no event of {last_subject}")


# Of each process, the resource whose creation marks a place in its feed.
MARKS = {
    "contacts": "contact",
    "loyalty": "program",
    "feedback": "survey",
    "gateway": "api_key",
}


def events_of_change(
    client: vafa.Suite, process: str, change: Callable[[], Any]
) -> list[events_pb2.Event]:
    """Return the events of a change, and of nothing that was done before or comes later."""
    mark = EXERCISES[MARKS[process]]
    request = events_pb2.ListEventsRequest(parent=f"feeds/{process}", page_size=1)
    start = client.events(process).ListEvents(request).head
    first = mark.make(client).name
    change()
    return _events_between(client, process, start, first, mark.make(client).name)


def a_contact(tag: str, n: int = 0) -> contacts_pb2.Contact:
    """Return a contact that has every field a caller sets."""
    custom_fields = struct_pb2.Struct()
    custom_fields.update({"size": 42.5, "vip": True, "notes": ["a", None], "deep": {"er": tag}})
    return contacts_pb2.Contact(
        labels={"tag": tag, "n": str(n)},
        kind=contacts_pb2.Contact.KIND_PERSON,
        display_name=NAMES[n % len(NAMES)],
        given_name=f"given {tag}",
        family_name=f"family {tag}",
        emails=[contacts_pb2.EmailAddress(address=f"{tag}.{n}@example.org", label="work")],
        phones=[contacts_pb2.PhoneNumber(number=f"+9891212345{n:02}", label="mobile")],
        social_handles=[contacts_pb2.SocialHandle(network="telegram", handle=f"h{tag}")],
        occupation=f"occupation {tag}",
        birth_date=date_pb2.Date(year=1990, month=5, day=17),
        locale="fa-IR",
        acquisition_source=f"source {tag}",
        lifecycle_stage=contacts_pb2.Contact.LIFECYCLE_STAGE_CUSTOMER,
        owner=f"owner {tag}",
        custom_fields=custom_fields,
        external_ids=[contacts_pb2.ExternalId(system=f"shop-{tag}", value=f"{tag}-{n}")],
    )


def an_interaction(tag: str, n: int = 0) -> interactions_pb2.Interaction:
    """Return an interaction that has every field a caller sets."""
    return interactions_pb2.Interaction(
        labels={"tag": tag, "n": str(n)},
        channel=interactions_pb2.Interaction.CHANNEL_PHONE,
        direction=interactions_pb2.Interaction.DIRECTION_INBOUND,
        agent=f"agent {tag}",
        subject=f"subject {tag}",
        body=f"body {tag}",
        occur_time=timestamp(SOME_TIME.replace(minute=n % 3)),
    )


def a_program(tag: str, n: int = 0) -> programs_pb2.Program:
    """Return a programme that has every field a caller sets."""
    return programs_pb2.Program(
        labels={"tag": tag, "n": str(n)},
        display_name=NAMES[n % len(NAMES)],
        currency_code="IRR",
        earn_rate=programs_pb2.EarnRate(
            points=1, per_amount=money_pb2.Money(currency_code="IRR", units=10_000)
        ),
    )


def a_member(tag: str, n: int = 0) -> members_pb2.Member:
    """Return a member that has every field a caller sets."""
    return members_pb2.Member(contact=f"contacts/{tag}-{n}", labels={"tag": tag, "n": str(n)})


def an_order(tag: str, n: int = 0) -> orders_pb2.Order:
    """Return an order that has every field a caller sets."""
    amount = money_pb2.Money(currency_code="IRR", units=50_000 * (n + 1))
    return orders_pb2.Order(
        labels={"tag": tag, "n": str(n)},
        external_id=f"{tag}-{n}",
        contact=f"contacts/{tag}",
        order_time=timestamp(SOME_TIME.replace(minute=n % 3)),
        lines=[
            orders_pb2.OrderLine(
                sku=f"sku-{tag}", title="tea", category=f"c-{tag}", quantity=2, amount=amount
            )
        ],
        payments=[orders_pb2.Payment(method="card", amount=amount)],
    )


def a_survey(tag: str, n: int = 0) -> surveys_pb2.Survey:
    """Return a survey that has every field a caller sets."""
    return surveys_pb2.Survey(
        labels={"tag": tag, "n": str(n)},
        display_name=NAMES[n % len(NAMES)],
        kind=surveys_pb2.Survey.KIND_NPS,
        questions=[
            surveys_pb2.LocalizedText(language_code="fa", text=f"ما را معرفی می‌کنید؟ {tag}"),
            surveys_pb2.LocalizedText(language_code="en", text=f"Would you recommend us? {tag}"),
        ],
        touchpoint=f"checkout-{tag}",
    )


def a_response(tag: str, n: int = 0) -> responses_pb2.Response:
    """Return a response that has every field a caller sets."""
    return responses_pb2.Response(
        labels={"tag": tag, "n": str(n)},
        contact=f"contacts/{tag}",
        score=7 + n % 3,
        comment=f"comment {tag}",
        language_code="fa",
        answer_time=timestamp(SOME_TIME.replace(minute=n % 3)),
        agent=f"agent {tag}",
        order=f"programs/{tag}/orders/{n}",
    )


# Ahead of every run, and the same within it.
SOME_EXPIRY = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)


def an_api_key(tag: str, n: int = 0) -> access_pb2.ApiKey:
    """Return an API key that has every field a caller sets."""
    return access_pb2.ApiKey(
        labels={"tag": tag, "n": str(n)},
        display_name=NAMES[n % len(NAMES)],
        roles=["roles/support", "roles/reader"],
        expire_time=timestamp(SOME_EXPIRY + timedelta(minutes=n % 3)),
    )


def a_published_survey(client: vafa.Suite) -> str:
    """Return the name of a survey that can be answered."""
    name = str(EXERCISES["survey"].make(client).name)
    return client.surveys.PublishSurvey(surveys_pb2.PublishSurveyRequest(name=name)).name


def a_member_of_a_new_program(client: vafa.Suite) -> str:
    """Return the name of a member without points."""
    return str(EXERCISES["member"].make(client).name)


@dataclass(frozen=True)
class Exercise:
    """How one resource is made and called.

    `sample(tag, n)` is a message as a caller gives it; `parent(client)` makes a parent and
    returns its name. `make_under(client, parent, tag, n)` stands for a Create where there is
    none. `misses` are the values, by path, that no sample has, where one cannot be derived.
    """

    process: str
    stub: str
    resource: Resource[Any]
    sample: Callable[..., Any] | None = None
    parent: Callable[[vafa.Suite], str] | None = None
    make_under: Callable[[vafa.Suite, str, str, int], Any] | None = None
    misses: Mapping[str, str] = field(default_factory=dict)

    @property
    def service(self) -> ServiceDescriptor:
        """The service that has the resource's methods."""
        services: list[ServiceDescriptor]
        services = list(self.resource.message.DESCRIPTOR.file.services_by_name.values())
        [service] = services
        return service

    def method(self, verb: str) -> MethodDescriptor | None:
        """Return the standard method of that verb, such as `BatchGet`, if there is one."""
        plural = verb == "List" or verb.startswith("Batch")
        noun = self.resource.plural_name if plural else self.resource.type_name
        return self.service.methods_by_name.get(verb + noun)

    def path(self, verb: str) -> str:
        """Return the path by which the method is called."""
        method = self.method(verb)
        assert method is not None
        return f"/{self.service.full_name}/{method.name}"

    def request(self, verb: str, **fields: Any) -> Any:
        """Return a request of the method; `parent` is left out where it has none."""
        message_type = METHODS[self.path(verb)].descriptor.input_type
        if not fields.get("parent"):
            fields.pop("parent", None)
        return GetMessageClass(message_type)(**fields)

    def call(self, client: vafa.Suite, verb: str, **fields: Any) -> Any:
        """Call the method."""
        name = self.path(verb).rpartition("/")[2]
        answer = getattr(getattr(client, self.stub), name)(self.request(verb, **fields))
        # It comes with its secret.
        return answer.api_key if isinstance(answer, access_pb2.CreateApiKeyResponse) else answer

    def list_all(self, client: vafa.Suite, **fields: Any) -> list[Any]:
        """Return one page of the list."""
        return list(getattr(self.call(client, "List", **fields), self.resource.plural))

    def new_parent(self, client: vafa.Suite) -> str:
        """Make a parent and return its name; empty for a resource without one."""
        return self.parent(client) if self.parent else ""

    def make(self, client: vafa.Suite, parent: str = "", tag: str = "", n: int = 0) -> Any:
        """Make a resource like the sample."""
        parent, tag = parent or self.new_parent(client), tag or new_tag()
        if self.make_under:
            return self.make_under(client, parent, tag, n)
        assert self.sample is not None
        own = {self.resource.singular: self.sample(tag, n)}
        return self.call(client, "Create", parent=parent, **own)

    def scope(self, tag: str) -> str:
        """Return the filter for what one test made; empty where the parent is the test's own."""
        return f'labels.tag = "{tag}"' if "labels.*" in self.resource.filter_fields else ""


def _record(client: vafa.Suite, parent: str, tag: str, n: int) -> orders_pb2.Order:
    order = an_order(tag, n)
    return client.orders.RecordOrder(orders_pb2.RecordOrderRequest(parent=parent, order=order))


def _award(client: vafa.Suite, parent: str, tag: str, n: int) -> ledger_pb2.LedgerTransaction:
    return client.ledger.AwardPoints(
        ledger_pb2.AwardPointsRequest(member=parent, points=10 + n % 3, reason=f"r-{tag}")
    )


def _award_lot(client: vafa.Suite, parent: str, tag: str, n: int) -> ledger_pb2.Lot:
    _award(client, parent, tag, n)
    latest = ledger_pb2.ListLotsRequest(parent=parent, order_by="create_time desc", page_size=1)
    return client.ledger.ListLots(latest).lots[0]


EXERCISES: Mapping[str, Exercise] = {
    "contact": Exercise(
        "contacts",
        "contacts",
        CONTACT,
        a_contact,
        misses={
            "emails.address": "nobody@example.org",
            "phones.number": "+989129999999",
        },
    ),
    "interaction": Exercise(
        "contacts",
        "interactions",
        INTERACTION,
        an_interaction,
        parent=lambda client: str(EXERCISES["contact"].make(client).name),
    ),
    "program": Exercise("loyalty", "programs", PROGRAM, a_program),
    "member": Exercise(
        "loyalty",
        "members",
        MEMBER,
        a_member,
        parent=lambda client: str(EXERCISES["program"].make(client).name),
    ),
    "order": Exercise(
        "loyalty",
        "orders",
        ORDER,
        an_order,
        parent=lambda client: str(EXERCISES["program"].make(client).name),
        make_under=_record,
    ),
    "lot": Exercise(
        "loyalty", "ledger", LOT, parent=a_member_of_a_new_program, make_under=_award_lot
    ),
    "ledger_transaction": Exercise(
        "loyalty",
        "ledger",
        LEDGER_TRANSACTION,
        parent=a_member_of_a_new_program,
        make_under=_award,
    ),
    "api_key": Exercise("gateway", "api_keys", API_KEY, an_api_key),
    "survey": Exercise("feedback", "surveys", SURVEY, a_survey),
    "response": Exercise("feedback", "responses", RESPONSE, a_response, parent=a_published_survey),
}


def a_row(table: Table, n: int) -> dict[str, Any]:
    """Return a row of any table. Rows with equal numbers belong to each other, and all rows of
    the ledger to the first member.
    """
    values: dict[type, Any] = {
        str: f"x{n}",
        int: n + 1,
        bool: False,
        bytes: b"x",
        dict: {},
        object: {},
        datetime: SOME_TIME + timedelta(seconds=n),
        date: SOME_TIME.date(),
    }
    row = {column.name: values[column.type.python_type] for column in table.columns}
    if "ledger_transaction_id" in row:
        row |= {"program_id": "x0", "member_id": "x0"}
    return row


def with_methods(*verbs: str) -> list[str]:
    """Return the resources that have all these standard methods."""
    return [
        name
        for name, exercise in EXERCISES.items()
        if all(exercise.method(verb) is not None for verb in verbs)
    ]


class World:
    """What the examples are about, made when it is first asked for."""

    def __init__(self, client: vafa.Suite) -> None:
        self.client = client
        self.tag = new_tag()

    @cached_property
    def contact(self) -> str:
        """A contact with an e-mail address, a phone number and an external id."""
        return str(EXERCISES["contact"].make(self.client, tag=self.tag).name)

    @cached_property
    def deleted_contact(self) -> str:
        """A contact that was deleted."""
        name = str(EXERCISES["contact"].make(self.client).name)
        self.client.contacts.DeleteContact(contacts_pb2.DeleteContactRequest(name=name))
        return name

    @cached_property
    def interaction(self) -> str:
        """An interaction with the contact."""
        return str(EXERCISES["interaction"].make(self.client, self.contact).name)

    @cached_property
    def interaction_time(self) -> Timestamp:
        """When the interaction was recorded."""
        request = interactions_pb2.GetInteractionRequest(name=self.interaction)
        return self.client.interactions.GetInteraction(request).create_time

    @cached_property
    def program(self) -> str:
        """A programme."""
        return str(EXERCISES["program"].make(self.client).name)

    @cached_property
    def member(self) -> str:
        """A member of the programme who has 10 points."""
        name = str(EXERCISES["member"].make(self.client, self.program).name)
        _award(self.client, name, self.tag, 0)
        return name

    @cached_property
    def order(self) -> str:
        """An order of the programme."""
        return str(EXERCISES["order"].make(self.client, self.program).name)

    @cached_property
    def survey(self) -> str:
        """A survey that can be answered."""
        return a_published_survey(self.client)

    @cached_property
    def draft(self) -> str:
        """A survey that cannot be answered yet."""
        return str(EXERCISES["survey"].make(self.client).name)

    @cached_property
    def response(self) -> str:
        """A response to the survey."""
        return str(EXERCISES["response"].make(self.client, self.survey).name)

    @cached_property
    def api_key(self) -> access_pb2.CreateApiKeyResponse:
        """An API key with its secret."""
        request = access_pb2.CreateApiKeyRequest(api_key=an_api_key(self.tag))
        return self.client.api_keys.CreateApiKey(request)

    @cached_property
    def operation(self) -> str:
        """An operation of the loyalty service."""
        request = ledger_pb2.VerifyLedgerRequest(parent=self.program)
        return str(self.client.ledger.VerifyLedger(request).name)

    def award(self) -> ledger_pb2.AwardPointsRequest:
        """Return a request for points."""
        return ledger_pb2.AwardPointsRequest(member=self.member, points=5, reason="birthday")

    def upsert(self, n: int) -> contacts_pb2.UpsertContactRequest:
        """Return a request for a contact that is not there yet."""
        external_id = contacts_pb2.ExternalId(system="till", value=f"{self.tag}-{n}")
        contact = a_contact(new_tag())
        return contacts_pb2.UpsertContactRequest(external_id=external_id, contact=contact)


# One request that succeeds for each RPC of the contract, by its path. The services of each
# process come first in its path's package; events and operations are those of loyalty.
_Make = Callable[[World], Message]
_CONTACTS: Mapping[str, _Make] = {
    "GetContact": lambda w: contacts_pb2.GetContactRequest(name=w.contact),
    "ListContacts": lambda w: contacts_pb2.ListContactsRequest(
        page_size=2, filter=f'labels.tag = "{w.tag}"', order_by="display_name"
    ),
    "CreateContact": lambda w: contacts_pb2.CreateContactRequest(contact=a_contact(new_tag())),
    "UpdateContact": lambda w: contacts_pb2.UpdateContactRequest(
        contact=contacts_pb2.Contact(name=w.contact, display_name=f"new {new_tag()}")
    ),
    "DeleteContact": lambda w: contacts_pb2.DeleteContactRequest(
        name=EXERCISES["contact"].make(w.client).name
    ),
    "UndeleteContact": lambda w: contacts_pb2.UndeleteContactRequest(name=w.deleted_contact),
    "BatchGetContacts": lambda w: contacts_pb2.BatchGetContactsRequest(names=[w.contact]),
    "BatchCreateContacts": lambda w: contacts_pb2.BatchCreateContactsRequest(
        requests=[contacts_pb2.CreateContactRequest(contact=a_contact(new_tag()))]
    ),
    "UpsertContact": lambda w: w.upsert(0),
    "BatchUpsertContacts": lambda w: contacts_pb2.BatchUpsertContactsRequest(
        requests=[w.upsert(1), w.upsert(2)]
    ),
    "LookupContact": lambda w: contacts_pb2.LookupContactRequest(
        email=f"{w.tag}.0@example.org" if w.contact else ""
    ),
    "SearchContacts": lambda w: contacts_pb2.SearchContactsRequest(query=w.tag, page_size=2),
}
_INTERACTIONS: Mapping[str, _Make] = {
    "GetInteraction": lambda w: interactions_pb2.GetInteractionRequest(name=w.interaction),
    "ListInteractions": lambda w: interactions_pb2.ListInteractionsRequest(
        parent=w.contact, filter="channel = PHONE", order_by="occur_time desc"
    ),
    "CreateInteraction": lambda w: interactions_pb2.CreateInteractionRequest(
        parent=w.contact, interaction=an_interaction(new_tag())
    ),
}
_PROGRAMS: Mapping[str, _Make] = {
    "GetProgram": lambda w: programs_pb2.GetProgramRequest(name=w.program),
    "ListPrograms": lambda w: programs_pb2.ListProgramsRequest(
        page_size=2, filter='currency_code = "IRR"', order_by="display_name"
    ),
    "CreateProgram": lambda w: programs_pb2.CreateProgramRequest(program=a_program(new_tag())),
    "UpdateProgram": lambda w: programs_pb2.UpdateProgramRequest(
        program=programs_pb2.Program(name=w.program, display_name=f"new {new_tag()}")
    ),
    "GetProgramSummary": lambda w: programs_pb2.GetProgramSummaryRequest(
        name=f"{w.program}/summary"
    ),
}
_MEMBERS: Mapping[str, _Make] = {
    "GetMember": lambda w: members_pb2.GetMemberRequest(name=w.member),
    "ListMembers": lambda w: members_pb2.ListMembersRequest(
        parent=w.program, filter="points_balance >= 0", order_by="points_balance desc"
    ),
    "CreateMember": lambda w: members_pb2.CreateMemberRequest(
        parent=w.program, member=a_member(new_tag())
    ),
    "UpdateMember": lambda w: members_pb2.UpdateMemberRequest(
        member=members_pb2.Member(name=w.member, labels={"tag": new_tag()})
    ),
}
_ORDERS: Mapping[str, _Make] = {
    "GetOrder": lambda w: orders_pb2.GetOrderRequest(name=w.order),
    "ListOrders": lambda w: orders_pb2.ListOrdersRequest(
        parent=w.program, filter="points_earned > 0", order_by="order_time desc"
    ),
    "RecordOrder": lambda w: orders_pb2.RecordOrderRequest(
        parent=w.program, order=an_order(new_tag())
    ),
    "BatchRecordOrders": lambda w: orders_pb2.BatchRecordOrdersRequest(
        parent=w.program, orders=[an_order(new_tag())]
    ),
    "SummarizePurchases": lambda w: orders_pb2.SummarizePurchasesRequest(contact=w.contact),
}
_LEDGER: Mapping[str, _Make] = {
    "AwardPoints": lambda w: w.award(),
    "BatchAwardPoints": lambda w: ledger_pb2.BatchAwardPointsRequest(
        parent=w.program, requests=[w.award(), w.award()]
    ),
    "SpendPoints": lambda w: ledger_pb2.SpendPointsRequest(member=w.member, points=1, reason="tea"),
    "GetBalance": lambda w: ledger_pb2.GetBalanceRequest(name=f"{w.member}/balance"),
    "ListLots": lambda w: ledger_pb2.ListLotsRequest(
        parent=w.member, filter="points_remaining > 0", order_by="create_time desc"
    ),
    "ListLedgerTransactions": lambda w: ledger_pb2.ListLedgerTransactionsRequest(
        parent=w.member, filter="kind = AWARD", order_by="create_time desc"
    ),
    "VerifyLedger": lambda w: ledger_pb2.VerifyLedgerRequest(parent=w.program),
}
_SURVEYS: Mapping[str, _Make] = {
    "GetSurvey": lambda w: surveys_pb2.GetSurveyRequest(name=w.survey),
    "ListSurveys": lambda w: surveys_pb2.ListSurveysRequest(
        page_size=2, filter="kind = NPS AND state = PUBLISHED", order_by="display_name"
    ),
    "CreateSurvey": lambda w: surveys_pb2.CreateSurveyRequest(survey=a_survey(new_tag())),
    "UpdateSurvey": lambda w: surveys_pb2.UpdateSurveyRequest(
        survey=surveys_pb2.Survey(name=w.survey, display_name=f"new {new_tag()}")
    ),
    "PublishSurvey": lambda w: surveys_pb2.PublishSurveyRequest(name=w.draft),
    "CloseSurvey": lambda w: surveys_pb2.CloseSurveyRequest(name=w.survey),
}
_RESPONSES: Mapping[str, _Make] = {
    "GetResponse": lambda w: responses_pb2.GetResponseRequest(name=w.response),
    "ListResponses": lambda w: responses_pb2.ListResponsesRequest(
        parent=w.survey, filter="score >= 0", order_by="answer_time desc"
    ),
    "CreateResponse": lambda w: responses_pb2.CreateResponseRequest(
        parent=w.survey, response=a_response(new_tag())
    ),
    "GetMetric": lambda w: responses_pb2.GetMetricRequest(
        name=f"{w.response.partition('/responses/')[0]}/metric", filter="score > 0"
    ),
    "SummarizeScores": lambda w: responses_pb2.SummarizeScoresRequest(contact=w.contact),
}
_ACCESS: Mapping[str, _Make] = {
    "GetApiKey": lambda w: access_pb2.GetApiKeyRequest(name=w.api_key.api_key.name),
    "ListApiKeys": lambda w: access_pb2.ListApiKeysRequest(
        page_size=2, filter="state = ACTIVE", order_by="expire_time desc"
    ),
    "CreateApiKey": lambda w: access_pb2.CreateApiKeyRequest(api_key=an_api_key(new_tag())),
    "RevokeApiKey": lambda w: access_pb2.RevokeApiKeyRequest(name=w.api_key.api_key.name),
    "ExchangeApiKey": lambda w: access_pb2.ExchangeApiKeyRequest(secret=w.api_key.secret),
    "GetJsonWebKeySet": lambda w: access_pb2.GetJsonWebKeySetRequest(),
    "GetRole": lambda w: access_pb2.GetRoleRequest(name="roles/reader"),
    "ListRoles": lambda w: access_pb2.ListRolesRequest(page_size=2),
}
_CUSTOMERS: Mapping[str, _Make] = {
    "GetCustomer": lambda w: customers_pb2.GetCustomerRequest(
        name=w.contact.replace("contacts/", "customers/")
    ),
    # As it was when the interaction was recorded, and so the same whenever it is read.
    "ListTimeline": lambda w: customers_pb2.ListTimelineRequest(
        parent=w.contact.replace("contacts/", "customers/"), read_time=w.interaction_time
    ),
}
_EVENTS: Mapping[str, _Make] = {
    "ListEvents": lambda w: events_pb2.ListEventsRequest(parent="feeds/loyalty", page_size=2),
    "StreamEvents": lambda w: events_pb2.StreamEventsRequest(parent="feeds/loyalty"),
    "ListParkedEvents": lambda w: events_pb2.ListParkedEventsRequest(parent="feeds/loyalty"),
}
_OPERATIONS: Mapping[str, _Make] = {
    "GetOperation": lambda w: operations_pb2.GetOperationRequest(name=w.operation),
    "ListOperations": lambda w: operations_pb2.ListOperationsRequest(page_size=2),
    "WaitOperation": lambda w: operations_pb2.WaitOperationRequest(name=w.operation),
    "CancelOperation": lambda w: operations_pb2.CancelOperationRequest(name=w.operation),
}
EXAMPLES: Mapping[str, _Make] = {
    f"/{service}/{name}": make
    for service, of_service in {
        "vafa.contacts.v1.ContactService": _CONTACTS,
        "vafa.contacts.v1.InteractionService": _INTERACTIONS,
        "vafa.loyalty.v1.ProgramService": _PROGRAMS,
        "vafa.loyalty.v1.MemberService": _MEMBERS,
        "vafa.loyalty.v1.OrderService": _ORDERS,
        "vafa.loyalty.v1.LedgerService": _LEDGER,
        "vafa.feedback.v1.SurveyService": _SURVEYS,
        "vafa.feedback.v1.ResponseService": _RESPONSES,
        "vafa.gateway.v1.AccessService": _ACCESS,
        "vafa.gateway.v1.CustomerService": _CUSTOMERS,
        "vafa.events.v1.EventService": _EVENTS,
        "google.longrunning.Operations": _OPERATIONS,
    }.items()
    for name, make in of_service.items()
}


def process_of(path: str) -> str:
    """Return the process that a call by an example goes to."""
    package = path[1:].rpartition(".")[0]
    processes = {
        "vafa.contacts.v1": "contacts",
        "vafa.feedback.v1": "feedback",
        "vafa.gateway.v1": "gateway",
    }
    return processes.get(package, "loyalty")
