"""A customer's timeline: one sequence out of three services, whatever is recorded meanwhile."""

import itertools
import random
import signal
import threading
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client.parser import text_string_to_metric_families

import vafa
from services.gateway.timeline import SETTLING_SECONDS
from tests.contract.resources import Wire, refused, timestamp
from tests.harness.factories import a_published_survey, an_earning_program, answer, euros
from tests.harness.roles import write_roles
from tests.harness.suite import RunningSuite
from tests.harness.waiting import until
from vafa.contacts.v1 import contacts_pb2, interactions_pb2
from vafa.feedback.v1 import responses_pb2
from vafa.gateway.v1 import customers_pb2
from vafa.loyalty.v1 import ledger_pb2, members_pb2, orders_pb2, programs_pb2

Entry = customers_pb2.TimelineEntry
Interaction = interactions_pb2.Interaction
Request = customers_pb2.ListTimelineRequest
KINDS = (
    Entry.KIND_INTERACTION,
    Entry.KIND_ORDER,
    Entry.KIND_LEDGER_TRANSACTION,
    Entry.KIND_RESPONSE,
)
SERVICE_OF = dict(zip(KINDS, ("contacts", "loyalty", "loyalty", "feedback"), strict=True))
PAGE_SIZES = (1, 7, 100)
MICROSECOND = timedelta(microseconds=1)
ROLES = {
    "admin": ["*"],
    "service": ["contacts.read", "events.read"],
    "agent": ["customers.read", "interactions.read"],
    "cashier": ["customers.read", "contacts.read", "orders.read"],
    "auditor": ["customers.read", "points.read", "responses.read"],
    "onlooker": ["customers.read"],
    "stranger": ["contacts.read", "interactions.read"],
}


@dataclass
class Subject:
    """A contact of whom every service is told, and what it is told under."""

    client: vafa.Suite
    contact: str
    program: str
    survey: str
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def customer(self) -> str:
        """The name of the customer."""
        return self.contact.replace("contacts/", "customers/")

    @property
    def member(self) -> str:
        """The name of the member of the programme."""
        return self.contact.replace("contacts/", f"{self.program}/members/")

    def interact(self, at: datetime) -> None:
        """Record an interaction."""
        interaction = Interaction(
            channel=Interaction.CHANNEL_PHONE,
            direction=Interaction.DIRECTION_INBOUND,
            occur_time=timestamp(at),
        )
        self.client.interactions.CreateInteraction(
            interactions_pb2.CreateInteractionRequest(parent=self.contact, interaction=interaction)
        )

    def buy(self, at: datetime, program: str = "") -> None:
        """Record an order, and with it the points that it earns."""
        order = orders_pb2.Order(
            external_id=str(next(self.numbers)),
            contact=self.contact,
            order_time=timestamp(at),
            lines=[orders_pb2.OrderLine(sku="tea", quantity=1, amount=euros(2))],
        )
        request = orders_pb2.RecordOrderRequest(parent=program or self.program, order=order)
        self.client.orders.RecordOrder(request)

    def award(self, count: int) -> list[ledger_pb2.LedgerTransaction]:
        """Award points so many times at one and the same time."""
        one = ledger_pb2.AwardPointsRequest(member=self.member, points=1, reason="gift")
        batch = ledger_pb2.BatchAwardPointsRequest(parent=self.program, requests=[one] * count)
        return list(self.client.ledger.BatchAwardPoints(batch).ledger_transactions)

    def respond(self, at: datetime) -> None:
        """Record a response."""
        response = responses_pb2.Response(contact=self.contact, score=9, answer_time=timestamp(at))
        answer(self.client, self.survey, response)

    def tell(self, number: int, at: datetime) -> None:
        """Record something of one of the four kinds."""
        acts: Sequence[Callable[[], Any]] = (
            lambda: self.interact(at),
            lambda: self.buy(at),
            lambda: self.award(1),
            lambda: self.respond(at),
        )
        acts[number % len(acts)]()

    def recorded(self, read_time: Timestamp) -> list[Entry]:
        """Return what the services list as recorded up to a time, in the order of a timeline."""
        of_contact = f'contact = "{self.contact}"'
        responses = responses_pb2.ListResponsesRequest(parent="surveys/-", filter=of_contact)
        orders = orders_pb2.ListOrdersRequest(parent="programs/-", filter=of_contact)
        interactions = interactions_pb2.ListInteractionsRequest(parent=self.contact)
        client = self.client
        entries = [
            *(
                Entry(time=one.occur_time, kind=Entry.KIND_INTERACTION, interaction=one)
                for one in all_of(client.interactions.ListInteractions, interactions)
            ),
            *(
                Entry(time=one.order_time, kind=Entry.KIND_ORDER, order=one)
                for one in all_of(client.orders.ListOrders, orders)
            ),
            *(
                Entry(
                    time=one.create_time,
                    kind=Entry.KIND_LEDGER_TRANSACTION,
                    ledger_transaction=one,
                )
                for program in client.programs.ListPrograms(
                    programs_pb2.ListProgramsRequest(page_size=1000)
                ).programs
                if self.is_member_of(program.name)
                for one in all_of(
                    client.ledger.ListLedgerTransactions,
                    ledger_pb2.ListLedgerTransactionsRequest(
                        parent=self.contact.replace("contacts/", f"{program.name}/members/")
                    ),
                )
            ),
            *(
                Entry(time=one.answer_time, kind=Entry.KIND_RESPONSE, response=one)
                for one in all_of(client.responses.ListResponses, responses)
            ),
        ]
        until = read_time.ToNanoseconds()
        entries = [one for one in entries if thing(one).create_time.ToNanoseconds() <= until]
        entries.sort(key=lambda one: thing(one).name.split("/"), reverse=True)
        entries.sort(key=lambda one: one.kind)
        entries.sort(key=lambda one: one.time.ToNanoseconds(), reverse=True)
        return entries

    def is_member_of(self, program: str) -> bool:
        """Whether the contact is a member of a programme."""
        request = members_pb2.ListMembersRequest(
            parent=program, filter=f'contact = "{self.contact}"'
        )
        return bool(self.client.members.ListMembers(request).members)


def all_of(ask: Callable[[Any], Any], request: Any) -> list[Any]:
    """Return all that a list has."""
    request.page_size = 1000
    response = ask(request)
    assert not response.next_page_token
    [things] = [value for field, value in response.ListFields() if field.is_repeated] or [[]]
    return list(things)


def a_subject(client: vafa.Suite) -> Subject:
    """Make a contact, a programme that earns points, and a survey."""
    ada = contacts_pb2.Contact(display_name="Ada")
    contact = client.contacts.CreateContact(contacts_pb2.CreateContactRequest(contact=ada)).name
    subject = Subject(client, contact, an_earning_program(client), a_published_survey(client))
    subject.buy(datetime.now(UTC) - timedelta(days=30))
    return subject


def thing(entry: Entry) -> Any:
    """Return what an entry is about."""
    which = entry.WhichOneof("thing")
    assert which is not None
    return getattr(entry, which)


def names(entries: Sequence[Entry]) -> list[str]:
    """Return the names of what the entries are about."""
    return [thing(entry).name for entry in entries]


def read(
    client: vafa.Suite, request: Request, between_pages: Callable[[], None] = lambda: None
) -> tuple[list[Entry], Timestamp]:
    """Return a timeline read page by page, and the time it is read at."""
    entries: list[Entry] = []
    read_time: Timestamp | None = None
    while True:
        page = client.customers.ListTimeline(request)
        assert len(page.entries) <= request.page_size
        entries += page.entries
        assert read_time in (None, page.read_time)
        read_time = page.read_time
        if not page.next_page_token:
            return entries, read_time
        # A full page, since the next one has something to give.
        assert len(page.entries) == request.page_size
        request.page_token = page.next_page_token
        between_pages()


@dataclass
class Writer:
    """Records without end, about one customer, in a thread of its own: one act after the other,
    of which `begun` have begun.
    """

    subject: Subject
    begun: int = 0
    failure: BaseException | None = None
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Record until it is stopped: now, long ago, and when something else happened."""
        chance = random.Random(7)  # noqa: S311
        start = datetime.now(UTC)
        try:
            for number in itertools.count():
                if self.stopping.is_set():
                    return
                self.begun += 1
                back = chance.choice([0.0, 1.0, 60.0, chance.uniform(0, 3600)])
                self.subject.tell(number, start - timedelta(seconds=back))
        except BaseException as error:
            self.failure = error
            raise

    def wait(self) -> None:
        """Return once all is recorded that had begun, and another act has begun after it."""
        begun = self.begun
        until(lambda: self.begun > begun or self.failure, "another act")


@contextmanager
def writing(subject: Subject) -> Iterator[Writer]:
    """Let a writer record meanwhile; fails if it could not."""
    writer = Writer(subject)
    thread = threading.Thread(target=writer.run)
    thread.start()
    try:
        yield writer
    finally:
        writer.stopping.set()
        thread.join(timeout=10)
    assert not thread.is_alive()
    assert writer.failure is None


def test_pages_of_any_size_give_one_sequence_while_entries_are_recorded(
    suite: RunningSuite, client: vafa.Suite
) -> None:
    subject = a_subject(client)
    start = datetime.now(UTC)
    for number in range(24):
        subject.tell(number, start - timedelta(minutes=number % 5))
    before = names(subject.recorded(timestamp(datetime.now(UTC))))
    with suite.client() as other:
        told = Subject(other, subject.contact, subject.program, subject.survey)
        told.numbers = itertools.count(1_000_000)
        with writing(told) as writer:
            until(lambda: writer.begun > 8)
            read_time = timestamp(datetime.now(UTC))
            writer.wait()
            sequences = []
            for size in PAGE_SIZES:
                request = Request(parent=subject.customer, page_size=size, read_time=read_time)
                entries, same_time = read(client, request, between_pages=writer.wait)
                assert same_time == read_time
                sequences.append(entries)
    assert sequences[0] == sequences[1] == sequences[2]
    assert sequences[0] == subject.recorded(read_time)
    assert len(sequences[0]) > len(before) + 8
    assert {entry.kind for entry in sequences[0]} == set(KINDS)
    known = set(before)
    assert [name for name in names(sequences[0]) if name in known] == before
    now, _ = read(client, Request(parent=subject.customer, page_size=100))
    assert len(now) > len(sequences[0])


def test_forty_entries_of_one_microsecond_come_once_each_in_pages_of_any_size(
    client: vafa.Suite,
) -> None:
    subject = a_subject(client)
    # Programmes whose names, as texts, stand the other way round than by their ids.
    tag = uuid.uuid4().hex[:12]
    programs = [
        client.programs.CreateProgram(
            programs_pb2.CreateProgramRequest(
                program=programs_pb2.Program(display_name="Club", currency_code="EUR"),
                program_id=id_,
            )
        ).name
        for id_ in (tag, f"{tag}-b")
    ]
    at = subject.award(10)[0].create_time.ToDatetime(tzinfo=UTC)
    for n in range(10):
        subject.interact(at)
        subject.buy(at, programs[n % 2])
        subject.respond(at)
    for neighbour in (at - MICROSECOND, at + MICROSECOND):
        subject.interact(neighbour)
    expected = subject.recorded(timestamp(datetime.now(UTC)))
    assert len([entry for entry in expected if entry.time == timestamp(at)]) == 40
    for size in (*PAGE_SIZES, 10, 39, 40, 41):
        entries, _ = read(client, Request(parent=subject.customer, page_size=size))
        assert entries == expected, size


def test_only_the_kinds_asked_for_are_listed(client: vafa.Suite) -> None:
    subject = a_subject(client)
    start = datetime.now(UTC)
    for number in range(12):
        subject.tell(number, start - timedelta(minutes=number % 3))
    everything = subject.recorded(timestamp(datetime.now(UTC)))
    for kinds in ([one] for one in KINDS):
        entries, _ = read(client, Request(parent=subject.customer, page_size=2, kinds=kinds))
        assert entries == [entry for entry in everything if entry.kind in kinds]
        assert entries
    kinds = [Entry.KIND_RESPONSE, Entry.KIND_ORDER]
    entries, _ = read(client, Request(parent=subject.customer, page_size=3, kinds=kinds))
    assert entries == [entry for entry in everything if entry.kind in kinds]


def test_what_is_recorded_after_the_read_time_is_left_out_even_if_it_happened_before(
    client: vafa.Suite,
) -> None:
    subject = a_subject(client)
    now = datetime.now(UTC)
    subject.interact(now)
    subject.interact(now - timedelta(hours=2))
    request = Request(parent=subject.customer, page_size=1)
    first = client.customers.ListTimeline(request)
    before = subject.recorded(first.read_time)
    assert len(before) == 4
    subject.interact(now - timedelta(hours=1))
    request.page_token = first.next_page_token
    # Passed over beside a token.
    request.read_time.FromDatetime(datetime.now(UTC))
    rest, read_time = read(client, request)
    assert [*first.entries, *rest] == before
    assert read_time == first.read_time
    at_that_time = Request(parent=subject.customer, page_size=50, read_time=first.read_time)
    assert read(client, at_that_time)[0] == before
    long_ago = timestamp(now - timedelta(days=1))
    assert read(client, Request(parent=subject.customer, page_size=5, read_time=long_ago))[0] == []


def test_a_read_time_to_come_is_now(client: vafa.Suite) -> None:
    subject = a_subject(client)
    in_an_hour = timestamp(datetime.now(UTC) + timedelta(hours=1))
    before = datetime.now(UTC)
    request = Request(parent=subject.customer, page_size=50, read_time=in_an_hour)
    entries, read_time = read(client, request)
    assert before <= read_time.ToDatetime(tzinfo=UTC) <= datetime.now(UTC)
    assert entries == subject.recorded(read_time)


def test_a_first_page_is_read_once_what_was_being_recorded_is_there(client: vafa.Suite) -> None:
    subject = a_subject(client)
    page = client.customers.ListTimeline(Request(parent=subject.customer, page_size=1))
    settling = datetime.now(UTC) - page.read_time.ToDatetime(tzinfo=UTC)
    assert settling >= timedelta(seconds=SETTLING_SECONDS)


def test_what_a_caller_has_just_recorded_is_there(client: vafa.Suite) -> None:
    subject = a_subject(client)
    for number in range(4):
        subject.tell(number, datetime.now(UTC))
        expected = subject.recorded(timestamp(datetime.now(UTC)))
        entries, _ = read(client, Request(parent=subject.customer, page_size=50))
        assert entries == expected


def test_a_page_holds_fifty_by_default_and_two_hundred_at_most(client: vafa.Suite) -> None:
    subject = a_subject(client)
    subject.award(201)
    for size, expected in ((0, 50), (199, 199), (200, 200), (201, 200), (2**31 - 1, 200)):
        page = client.customers.ListTimeline(Request(parent=subject.customer, page_size=size))
        assert len(page.entries) == expected
        assert page.next_page_token
    with refused(vafa.InvalidArgument, "INVALID_FIELD") as refusal:
        client.customers.ListTimeline(Request(parent=subject.customer, page_size=-1))
    assert refusal.fields == ["page_size"]


def test_a_page_token_stands_for_one_customer_and_its_kinds(client: vafa.Suite) -> None:
    subject, other = a_subject(client), a_subject(client)
    kinds = [Entry.KIND_ORDER, Entry.KIND_LEDGER_TRANSACTION]
    mine = Request(parent=subject.customer, page_size=1, kinds=kinds)
    token = client.customers.ListTimeline(mine).next_page_token
    assert token
    reordered = Request(
        parent=subject.customer, page_size=10, page_token=token, kinds=reversed(kinds)
    )
    assert len(client.customers.ListTimeline(reordered).entries) == 1
    members = members_pb2.ListMembersRequest(parent="programs/-", page_size=1)
    middle = len(token) // 2
    tampered = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
    of_another_list = client.members.ListMembers(members).next_page_token
    assert of_another_list
    forged = token[::-1]
    for wrong in (
        Request(parent=other.customer, page_token=token, kinds=kinds),
        Request(parent=subject.customer, page_token=token),
        Request(parent=subject.customer, page_token=token, kinds=kinds[:1]),
        Request(parent=subject.customer, page_token=token, kinds=[*kinds, Entry.KIND_RESPONSE]),
        Request(parent=subject.customer, page_token=tampered, kinds=kinds),
        Request(parent=subject.customer, page_token=token[:-4], kinds=kinds),
        Request(parent=subject.customer, page_token=of_another_list, kinds=kinds),
        Request(parent=subject.customer, page_token=forged, kinds=kinds),
    ):
        with refused(vafa.InvalidArgument, "PAGE_TOKEN_INVALID") as refusal:
            client.customers.ListTimeline(wrong)
        assert refusal.fields == ["page_token"]


def test_a_contact_that_is_not_there_has_no_timeline(client: vafa.Suite) -> None:
    subject = a_subject(client)
    delete = contacts_pb2.DeleteContactRequest(name=subject.contact)
    client.contacts.DeleteContact(delete)
    for customer in (subject.customer, f"customers/{uuid.uuid4()}"):
        for kinds in ([], [Entry.KIND_ORDER], [Entry.KIND_INTERACTION]):
            with refused(vafa.NotFound, "RESOURCE_NOT_FOUND") as refusal:
                client.customers.ListTimeline(Request(parent=customer, kinds=kinds))
            assert refusal.metadata["resource"] == customer


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    """A suite of our own, whose services are stopped, with roles of our own."""
    folder = tmp_path_factory.mktemp("timeline")
    running = RunningSuite(folder)
    write_roles(folder / "roles.json", ROLES)
    start(running, "contacts", "loyalty", "feedback", "gateway")
    yield running
    running.stop()


def start(own: RunningSuite, *names: str) -> None:
    """Start services with the roles of these tests."""
    own.start(*names, roles_file=str(own.folder / "roles.json"))


@pytest.fixture
def subject(own: RunningSuite) -> Iterator[Subject]:
    """A subject of that suite, of whom every service was told once more."""
    with own.client() as client:
        made = a_subject(client)
        for number in range(4):
            made.tell(number, datetime.now(UTC))
        yield made


@pytest.mark.parametrize(
    ("role", "withheld"),
    [
        ("admin", []),
        ("agent", [Entry.KIND_ORDER, Entry.KIND_LEDGER_TRANSACTION, Entry.KIND_RESPONSE]),
        ("cashier", [Entry.KIND_INTERACTION, Entry.KIND_LEDGER_TRANSACTION, Entry.KIND_RESPONSE]),
        ("auditor", [Entry.KIND_INTERACTION, Entry.KIND_ORDER]),
        ("onlooker", [*KINDS]),
    ],
)
def test_what_the_caller_may_not_see_is_withheld_and_the_rest_comes(
    own: RunningSuite, subject: Subject, role: str, withheld: list[Entry.Kind.ValueType]
) -> None:
    expected = [
        entry
        for entry in subject.recorded(timestamp(datetime.now(UTC)))
        if entry.kind not in withheld
    ]
    with own.client(role) as client:
        request = Request(parent=subject.customer, page_size=2)
        page = client.customers.ListTimeline(request)
        assert list(page.withheld_kinds) == withheld
        assert read(client, request)[0] == expected


def test_who_may_see_no_customers_sees_no_timeline(own: RunningSuite, subject: Subject) -> None:
    with own.client("stranger") as client, refused(vafa.PermissionDenied, "PERMISSION_DENIED"):
        client.customers.ListTimeline(Request(parent=subject.customer))


def test_whether_there_is_a_contact_is_told_to_those_who_may_ask_for_it(
    own: RunningSuite,
) -> None:
    nobody = Request(parent=f"customers/{uuid.uuid4()}")
    for role in ("agent", "cashier"):
        with own.client(role) as client, refused(vafa.NotFound, "RESOURCE_NOT_FOUND"):
            client.customers.ListTimeline(nobody)
    with own.client("auditor") as client:
        assert not client.customers.ListTimeline(nobody).entries


def test_a_page_costs_one_call_to_each_list(own: RunningSuite, subject: Subject) -> None:
    def calls(service: str, of: str, method: str) -> float:
        url = f"http://{own.metrics_addresses[service]}/metrics"
        with urllib.request.urlopen(url, timeout=5) as page:
            families = text_string_to_metric_families(page.read().decode())
        [count] = [
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == "grpc_server_started_total"
            and sample.labels["grpc_service"] == of
            and sample.labels["grpc_method"] == method
        ]
        return count

    lists = [
        ("contacts", "vafa.contacts.v1.InteractionService", "ListInteractions"),
        ("loyalty", "vafa.loyalty.v1.OrderService", "ListOrders"),
        ("loyalty", "vafa.loyalty.v1.LedgerService", "ListLedgerTransactions"),
        ("feedback", "vafa.feedback.v1.ResponseService", "ListResponses"),
    ]
    others = [("contacts", "vafa.contacts.v1.ContactService", "GetContact")]
    before = {one: calls(*one) for one in lists + others}
    pages = 0
    request = Request(parent=subject.customer, page_size=3)
    while pages == 0 or request.page_token:
        request.page_token = subject.client.customers.ListTimeline(request).next_page_token
        pages += 1
    assert pages == 3
    assert {one: calls(*one) - before[one] for one in before} == {
        **dict.fromkeys(lists, pages),
        **dict.fromkeys(others, 0),
    }


@pytest.mark.parametrize("stopped", ["contacts", "feedback"])
def test_a_service_that_is_down_is_named_and_its_kinds_alone_are_out_of_reach(
    own: RunningSuite, subject: Subject, stopped: str
) -> None:
    client = subject.client
    expected = subject.recorded(timestamp(datetime.now(UTC)))
    own.stop(stopped)
    try:
        with refused(vafa.Unavailable, "UNAVAILABLE") as refusal:
            client.customers.ListTimeline(Request(parent=subject.customer))
        assert refusal.metadata["service"] == stopped
        # With interactions, so that contacts need not be asked for more.
        kinds = [kind for kind in KINDS if SERVICE_OF[kind] != stopped]
        request = Request(parent=subject.customer, page_size=5, kinds=kinds)
        if stopped == "contacts":
            with refused(vafa.Unavailable, "UNAVAILABLE") as refusal:
                client.customers.ListTimeline(request)
            assert refusal.metadata["service"] == "contacts"
        else:
            assert read(client, request)[0] == [one for one in expected if one.kind in kinds]
    finally:
        start(own, stopped)

    def is_back() -> bool:
        try:
            client.customers.ListTimeline(Request(parent=subject.customer))
        except vafa.Unavailable:
            return False
        return True

    until(is_back)
    assert read(client, Request(parent=subject.customer, page_size=5))[0] == expected


def test_a_frozen_service_is_given_up_before_the_deadline(
    own: RunningSuite, subject: Subject
) -> None:
    path = "/vafa.gateway.v1.CustomerService/ListTimeline"
    raw = Request(parent=subject.customer).SerializeToString()
    own.signal("feedback", signal.SIGSTOP)
    try:
        with Wire(own) as wire, refused(vafa.Unavailable, "UNAVAILABLE") as refusal:
            wire.call("gateway", path, raw, timeout_seconds=1.5)
    finally:
        own.signal("feedback", signal.SIGCONT)
    assert refusal.metadata["service"] == "feedback"
