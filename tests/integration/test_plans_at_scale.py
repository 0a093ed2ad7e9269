"""By which plans PostgreSQL runs the hot calls, over databases of a size where it matters.

The services run as they do, and the server tells how it ran what they sent.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import vafa
from bench.filling import PROGRAM, Filled, fill
from services.chassis.migrate import migrate
from tests.harness.factories import euros
from tests.harness.plans import Executed, PlanLog
from tests.harness.postgres import Postgres
from tests.harness.suite import RunningSuite
from tests.harness.waiting import until
from vafa.contacts.v1 import contacts_pb2
from vafa.events.v1 import events_pb2
from vafa.loyalty.v1 import ledger_pb2, orders_pb2

CONTACTS = 10_000
ENTRIES = 50_000
SERVICES = ("contacts", "loyalty")
# The driver prepares a statement when it sends it for the sixth time, and the server may settle
# on one plan for whatever is asked after five times more.
TIMES = 12


@dataclass(frozen=True)
class Scene:
    """Services over filled databases, each with one connection to read and one to write."""

    suite: RunningSuite
    filled: Filled
    plans: PlanLog
    client: vafa.Suite


@pytest.fixture(scope="module")
def scene(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The services, as they run."""
    urls = {service: postgres.create(f"plans_{service}") for service in SERVICES}
    for service, url in urls.items():
        migrate(service, url)
    filled = fill(urls, contacts=CONTACTS, entries=ENTRIES)
    plans = PlanLog(postgres)
    for url in urls.values():
        plans.watch(url)
    suite = RunningSuite(tmp_path_factory.mktemp("plans"), urls)
    suite.start(*SERVICES, reader_connections="1", writer_connections="1")
    with suite.client() as client:
        yield Scene(suite, filled, plans, client)
    suite.stop()


Call = Callable[[Scene, int], Any]


@dataclass(frozen=True)
class Case:
    """A call, to be made over and over, and by which indexes it reads which tables."""

    call: Call
    indexes: dict[str, str] = field(default_factory=dict)
    # Whether its rows are read in their order, rather than put in it.
    in_order: bool = True


def get_contact(scene: Scene, n: int) -> None:
    """Get one contact."""
    request = contacts_pb2.GetContactRequest(name=scene.filled.contacts[n])
    scene.client.contacts.GetContact(request)


def look_up(scene: Scene, n: int) -> None:
    """Find a contact by its e-mail address."""
    request = contacts_pb2.LookupContactRequest(email=scene.filled.emails[n])
    scene.client.contacts.LookupContact(request)


def listing(text: str = "", order_by: str = "", **further: Callable[[Scene], list[str]]) -> Call:
    """Return the call that lists two pages of contacts; `further` are values in the filter."""

    def call(scene: Scene, n: int) -> None:
        values = {name: of(scene)[n] for name, of in further.items()}
        request = contacts_pb2.ListContactsRequest(
            filter=text.format(**values), order_by=order_by, page_size=20
        )
        first = scene.client.contacts.ListContacts(request)
        assert first.contacts
        if first.next_page_token:
            request.page_token = first.next_page_token
            scene.client.contacts.ListContacts(request)

    return call


def list_a_month(scene: Scene, n: int) -> None:
    """List the contacts that came in one month, the latest first."""
    start = datetime.now(UTC) - timedelta(days=300 + n)
    first, last = (f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in (start, start + timedelta(days=30)))
    text = f'create_time >= "{first}" AND create_time < "{last}"'
    listing(text, "create_time desc")(scene, n)


def get_balance(scene: Scene, n: int) -> None:
    """Get the balance of one member."""
    name = f"{scene.filled.members[n]}/balance"
    scene.client.ledger.GetBalance(ledger_pb2.GetBalanceRequest(name=name))


def award_points(scene: Scene, n: int) -> None:
    """Award points to one member."""
    member = scene.filled.members[n]
    request = ledger_pb2.AwardPointsRequest(member=member, points=2, reason="visit")
    scene.client.ledger.AwardPoints(request)


def spend_points(scene: Scene, n: int) -> None:
    """Spend a point of one member."""
    award_points(scene, n)
    member = scene.filled.members[n]
    request = ledger_pb2.SpendPointsRequest(member=member, points=1, reason="tea")
    scene.client.ledger.SpendPoints(request)


def record_order(scene: Scene, n: int) -> None:
    """Record an order."""
    line = orders_pb2.OrderLine(sku="tea", quantity=1, amount=euros(7, currency_code="USD"))
    contact = scene.filled.contacts[n]
    order = orders_pb2.Order(external_id=f"plan-{n}", contact=contact, lines=[line])
    scene.client.orders.RecordOrder(orders_pb2.RecordOrderRequest(parent=PROGRAM, order=order))


def list_orders_of_a_contact(scene: Scene, n: int) -> None:
    """List what a contact bought."""
    request = orders_pb2.ListOrdersRequest(
        parent="programs/-",
        filter=f'contact = "{scene.filled.contacts[n]}"',
        order_by="order_time desc",
        page_size=2,
    )
    scene.client.orders.ListOrders(request)


def list_transactions_of_a_contact(scene: Scene, n: int) -> None:
    """List how the points of a contact moved."""
    member = scene.filled.members[n].replace(PROGRAM, "programs/-")
    request = ledger_pb2.ListLedgerTransactionsRequest(
        parent=member, order_by="create_time desc", page_size=2
    )
    scene.client.ledger.ListLedgerTransactions(request)


def list_events(scene: Scene, n: int) -> None:
    """List events from somewhere in the middle of the feed."""
    after = events_pb2.Cursor(epoch=_epoch(scene), position=CONTACTS + 3000 * n + 1)
    request = events_pb2.ListEventsRequest(parent="feeds/loyalty", after=after, page_size=20)
    assert len(scene.client.events("loyalty").ListEvents(request).events) == 20


def _epoch(scene: Scene) -> str:
    request = events_pb2.ListEventsRequest(parent="feeds/loyalty", page_size=1)
    return scene.client.events("loyalty").ListEvents(request).head.epoch


BY_TIME = "ix_contacts_create_time_contact_id"
LABEL = "ix_contact_labels_key_value_{}_contact_id"
TO_AWARD = {"members": "pk_members", "idempotency": "pk_idempotency"}
CASES = {
    "GetContact": Case(get_contact, {"contacts": "pk_contacts"}),
    "LookupContact": Case(
        look_up,
        {
            "contact_emails": "ix_contact_emails_address_key_contact_id",
            "contacts": "pk_contacts",
        },
        in_order=False,
    ),
    "all contacts": Case(listing(), {"contacts": BY_TIME}),
    "all, by name": Case(
        listing(order_by="display_name"), {"contacts": "ix_contacts_display_name_contact_id"}
    ),
    "all, by change": Case(
        listing(order_by="update_time desc"), {"contacts": "ix_contacts_update_time_contact_id"}
    ),
    "a rare label": Case(
        listing('labels.campaign = "{campaign}"', campaign=lambda scene: scene.filled.campaigns),
        {"contact_labels": LABEL.format("create_time"), "contacts": "pk_contacts"},
    ),
    "a common label": Case(
        listing('labels.tier = "bronze"', "create_time desc"),
        {"contact_labels": LABEL.format("create_time"), "contacts": "pk_contacts"},
    ),
    "a common label, by name": Case(
        listing('labels.tier = "bronze"', "display_name"),
        {"contact_labels": LABEL.format("display_name"), "contacts": "pk_contacts"},
    ),
    "a label and a stage": Case(
        listing('lifecycle_stage = LEAD AND labels.tier = "gold"', "create_time desc"),
        {"contact_labels": LABEL.format("create_time"), "contacts": "pk_contacts"},
    ),
    "an e-mail address": Case(
        listing('emails.address = "{email}"', email=lambda scene: scene.filled.emails),
        {
            "contact_emails": "ix_contact_emails_address_key_contact_id",
            "contacts": "pk_contacts",
        },
        in_order=False,
    ),
    "a kind": Case(
        listing("kind = COMPANY", "create_time desc"),
        {"contacts": "ix_contacts_kind_create_time_contact_id"},
    ),
    "an owner": Case(
        listing('owner = "staff-3"'), {"contacts": "ix_contacts_owner_create_time_contact_id"}
    ),
    "a month": Case(list_a_month, {"contacts": BY_TIME}),
    "GetBalance": Case(get_balance, {"members": "pk_members"}),
    "AwardPoints": Case(award_points, TO_AWARD, in_order=False),
    "SpendPoints": Case(spend_points, TO_AWARD, in_order=False),
    "RecordOrder": Case(
        record_order,
        {**TO_AWARD, "orders": "uq_orders_program_id_external_id"},
        in_order=False,
    ),
    "the orders of a contact": Case(
        list_orders_of_a_contact,
        {"orders": "ix_orders_contact_order_time_program_id_order_id"},
    ),
    "the transactions of a contact": Case(
        list_transactions_of_a_contact,
        {"ledger_transactions": "ix_ledger_transactions_contact_time"},
        in_order=False,
    ),
    "ListEvents": Case(list_events, {"outbox": "uq_outbox_position"}, in_order=False),
}


@pytest.mark.parametrize("name", CASES)
def test_a_call_reads_by_its_indexes(scene: Scene, name: str) -> None:
    case = CASES[name]
    for n in range(TIMES):
        mark = scene.plans.mark()
        case.call(scene, n)
    # What is numbered meanwhile is another matter.
    executed = [one for one in scene.plans.since(mark) if not numbers(one)]
    shapes = "\n\n".join(one.shape for one in executed)
    for table, index in case.indexes.items():
        assert {by for one in executed for by in one.indexes_of(table)} == {index}, shapes
    assert not case.in_order or not any(one.sorts for one in executed), shapes


def numbers(executed: Executed) -> bool:
    """Whether events are numbered."""
    return executed.statement.startswith("UPDATE outbox SET position")


def test_numbering_reads_what_has_no_number_and_nothing_else(scene: Scene) -> None:
    mark = scene.plans.mark()
    award_points(scene, 0)
    until(lambda: any(map(numbers, scene.plans.since(mark))))
    for one in filter(numbers, scene.plans.since(mark)):
        assert one.indexes_of("outbox") == {"ix_outbox_unnumbered", "pk_outbox"}, one.shape


def test_no_statement_of_a_service_reads_the_whole_of_a_table(scene: Scene) -> None:
    award_points(scene, 1)
    executed = scene.plans.since(0)
    assert len(executed) > len(CASES)
    for one in executed:
        assert not one.read_as_a_whole, f"{one.statement}\n{one.shape}"


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("SELECT outbox.position, outbox.create_time", "uq_outbox_position"),
        ("SELECT idempotency.create_time", "ix_idempotency_create_time"),
    ],
)
def test_pruning_looks_at_the_oldest_alone(scene: Scene, statement: str, index: str) -> None:
    def found() -> list[Executed]:
        return [one for one in scene.plans.since(0) if one.statement.startswith(statement)]

    # Of loyalty; contacts has nothing to prune.
    until(lambda: any(index in one.shape for one in found()))
    assert not any(one.read_as_a_whole for one in found())
