"""Loyalty follows the feed of contacts: each event has its effect once."""

import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, LiteralString
from urllib.request import urlopen

import psycopg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.type import money_pb2

import vafa
from tests.harness.factories import an_earning_program
from tests.harness.postgres import Postgres
from tests.harness.suite import RunningSuite
from tests.harness.waiting import until
from vafa.contacts.v1 import contacts_pb2
from vafa.events.v1 import events_pb2
from vafa.loyalty.v1 import members_pb2, orders_pb2

Member = members_pb2.Member
Connection = psycopg.Connection[Any]
SOURCE = "feeds/contacts"
BLOCKED: LiteralString = (
    "pg_locks WHERE NOT granted AND relation = 'known_contacts'::regclass"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@pytest.fixture(scope="module")
def pair(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    """Contacts and loyalty on PostgreSQL, to be killed."""
    urls = {name: postgres.create(f"consumer_{name}") for name in ("contacts", "loyalty")}
    running = RunningSuite(tmp_path_factory.mktemp("consumer"), urls)
    running.start("contacts", "loyalty")
    yield running
    running.stop()


@pytest.fixture
def contacts_store(postgres: Postgres, pair: RunningSuite) -> Iterator[Connection]:
    """A connection of our own to the database of contacts; each statement commits."""
    with psycopg.connect(postgres.conninfo("consumer_contacts"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def loyalty_store(postgres: Postgres, pair: RunningSuite) -> Iterator[Connection]:
    """A connection of our own to the database of loyalty; each statement commits."""
    with psycopg.connect(postgres.conninfo("consumer_loyalty"), autocommit=True) as connection:
        yield connection


def new_contacts(count: int) -> list[str]:
    """Return names of contacts that nobody has created."""
    return [f"contacts/{uuid.uuid4()}" for _ in range(count)]


def create(client: vafa.Suite, names: Sequence[str]) -> None:
    """Create contacts of these names."""
    requests = [
        contacts_pb2.CreateContactRequest(
            contact=contacts_pb2.Contact(display_name="Ada"),
            contact_id=name.removeprefix("contacts/"),
        )
        for name in names
    ]
    client.contacts.BatchCreateContacts(contacts_pb2.BatchCreateContactsRequest(requests=requests))


def buy(client: vafa.Suite, program: str, names: Sequence[str]) -> None:
    """Record an order of ten euros for each of these contacts."""
    ten = money_pb2.Money(currency_code="EUR", units=10)
    orders = [
        orders_pb2.Order(
            external_id=str(uuid.uuid4()),
            contact=name,
            lines=[orders_pb2.OrderLine(sku="tea", quantity=1, amount=ten)],
        )
        for name in names
    ]
    request = orders_pb2.BatchRecordOrdersRequest(parent=program, orders=orders)
    client.orders.BatchRecordOrders(request)


def member_name(program: str, contact: str) -> str:
    """Return the name of a contact's membership."""
    return f"{program}/members/{contact.removeprefix('contacts/')}"


def member(client: vafa.Suite, program: str, contact: str) -> members_pb2.Member:
    """Return a contact's membership."""
    name = member_name(program, contact)
    return client.members.GetMember(members_pb2.GetMemberRequest(name=name))


def is_active(client: vafa.Suite, program: str, contact: str) -> bool:
    """Whether a contact's membership is active."""
    return member(client, program, contact).state == Member.STATE_ACTIVE


def states(client: vafa.Suite, program: str) -> Counter[int]:
    """Count the members of a programme by their states."""
    request = members_pb2.ListMembersRequest(parent=program, page_size=1000)
    return Counter(one.state for one in client.members.ListMembers(request).members)


def events_of(client: vafa.Suite, program: str, event_type: str) -> Counter[str]:
    """Count the events of a type in the feed of loyalty by the members of a programme."""
    found: Counter[str] = Counter()
    request = events_pb2.ListEventsRequest(parent="feeds/loyalty", page_size=1000)
    while True:
        got = client.events("loyalty").ListEvents(request)
        if not got.events:
            return found
        found.update(
            event.subject
            for event in got.events
            if event.type == event_type and event.subject.startswith(f"{program}/")
        )
        request.after.CopyFrom(got.next)


def head(client: vafa.Suite) -> events_pb2.Cursor:
    """Return the end of the feed of contacts."""
    request = events_pb2.ListEventsRequest(parent=SOURCE, page_size=1)
    return client.events("contacts").ListEvents(request).head


def is_caught_up(client: vafa.Suite, loyalty_store: Connection) -> bool:
    """Whether loyalty's cursor stands at the end of the feed."""
    place = loyalty_store.execute("SELECT epoch, position FROM cursors").fetchone()
    end = head(client)
    return place == (end.epoch, end.position)


def count(store: Connection, rows: LiteralString) -> int:
    """Return how many rows there are, given as what stands behind FROM."""
    (counted,) = store.execute("SELECT count(*) FROM " + rows).fetchall()  # noqa: S608
    return int(counted[0])


def expect_applied(
    client: vafa.Suite, program: str, names: Sequence[str], loyalty_store: Connection
) -> None:
    """Fail unless each contact's creation has its one effect and the cursor reaches the end."""
    until(lambda: states(client, program) == {Member.STATE_ACTIVE: len(names)})
    until(lambda: is_caught_up(client, loyalty_store))
    expect_each_once(client, program, names)


def expect_each_once(client: vafa.Suite, program: str, names: Sequence[str]) -> None:
    """Fail unless each contact's membership becomes active, and does so by one event."""
    until(lambda: states(client, program) == {Member.STATE_ACTIVE: len(names)})
    # An event is in the feed a moment after its effect.
    until(lambda: events_of(client, program, "member.updated").total() >= len(names))
    assert events_of(client, program, "member.updated") == Counter(
        member_name(program, name) for name in names
    )


def test_an_order_of_an_unknown_contact_enrols_provisionally_until_the_contact_comes(
    client: vafa.Suite,
) -> None:
    program = an_earning_program(client)
    first, second = new_contacts(2)
    buy(client, program, [first, second])
    before = member(client, program, first)
    assert before.state == Member.STATE_PROVISIONAL
    assert before.points_balance == 10
    create(client, [first])
    until(lambda: is_active(client, program, first))
    after = member(client, program, first)
    assert after.etag != before.etag
    assert after.points_balance == 10
    assert not is_active(client, program, second)
    create(client, [second])
    until(lambda: is_active(client, program, second))
    expect_each_once(client, program, [first, second])


def test_an_order_of_a_known_contact_enrols_actively_at_once(client: vafa.Suite) -> None:
    program = an_earning_program(client)
    known, last = new_contacts(2)
    buy(client, program, [last])
    create(client, [known])
    create(client, [last])
    # Once the later event has had its effect, so has the earlier.
    until(lambda: is_active(client, program, last))
    buy(client, program, [known])
    assert is_active(client, program, known)
    until(lambda: bool(events_of(client, program, "member.updated")))
    assert events_of(client, program, "member.updated") == Counter([member_name(program, last)])


def test_kills_between_pull_and_commit_lose_no_effect_and_double_none(
    pair: RunningSuite, loyalty_store: Connection, postgres: Postgres
) -> None:
    names: list[str] = []
    with pair.client() as client:
        program = an_earning_program(client)
    for _ in range(10):
        fresh = new_contacts(20)
        names += fresh
        with pair.client() as client, psycopg.connect(postgres.conninfo("consumer_loyalty")) as own:
            buy(client, program, fresh)
            # The consumer gets as far as its effects, and no further.
            own.execute("LOCK TABLE known_contacts IN EXCLUSIVE MODE")
            create(client, fresh)
            until(lambda: count(loyalty_store, BLOCKED) > 0)
            pair.kill("loyalty")
        pair.start("loyalty")
    with pair.client() as client:
        expect_applied(client, program, names, loyalty_store)


def test_a_replay_from_the_beginning_has_no_further_effect(
    pair: RunningSuite, loyalty_store: Connection
) -> None:
    with pair.client() as client:
        program = an_earning_program(client)
        names = new_contacts(30)
        buy(client, program, names)
        create(client, names[:29])
        until(lambda: states(client, program)[Member.STATE_ACTIVE] == 29)
        loyalty_store.execute("UPDATE cursors SET position = 0")
        create(client, names[29:])
        expect_applied(client, program, names, loyalty_store)
    assert count(loyalty_store, "parked_events") == 0


def test_two_replicas_that_follow_one_feed_double_no_effect(
    pair: RunningSuite, loyalty_store: Connection
) -> None:
    pair.start("loyalty-2")
    with pair.client() as client:
        program = an_earning_program(client)
        names = new_contacts(400)
        buy(client, program, names)
        for n in range(0, len(names), 8):
            create(client, names[n : n + 8])
        expect_applied(client, program, names, loyalty_store)
    pair.stop("loyalty-2")
    # A reader that was overtaken leaves no stream behind.
    until(lambda: streams_open(pair) == 1)


def streams_open(running: RunningSuite) -> int:
    """Return how many streams the contacts service keeps up."""
    with urlopen(f"http://{running.metrics_addresses['contacts']}/metrics") as answer:
        lines = answer.read().decode().splitlines()

    def total(counter: str) -> int:
        series = [line for line in lines if line.startswith(f"grpc_server_{counter}_total{{")]
        return sum(int(float(line.split()[-1])) for line in series if '"StreamEvents"' in line)

    return total("started") - total("handled")


def test_an_event_that_fails_three_times_is_parked_with_its_subject_until_redriven(
    pair: RunningSuite, contacts_store: Connection, loyalty_store: Connection
) -> None:
    bad, *others = new_contacts(6)
    with pair.client() as client:
        program = an_earning_program(client)
        buy(client, program, [bad, *others])
        loyalty_store.execute(
            "ALTER TABLE known_contacts ADD CONSTRAINT refused"
            f" CHECK (NOT confirmed OR contact <> '{bad}') NOT VALID"
        )
        create(client, [others[0], bad, others[1]])
        # Contacts never tells twice of a creation, so that the second one is ours.
        insert_created(contacts_store, bad)
        create(client, others[2:])
        until(lambda: len(parked(client)) == 2)
        until(lambda: states(client, program)[Member.STATE_ACTIVE] == len(others))
        until(lambda: is_caught_up(client, loyalty_store))
        assert not is_active(client, program, bad)
        first, second = parked(client)
        assert [first.source, second.source] == [SOURCE, SOURCE]
        assert [first.event.subject, second.event.subject] == [bad, bad]
        assert first.event.position < second.event.position
        assert [first.attempts, second.attempts] == [3, 0]
        assert first.last_error
        assert not second.last_error
        still = redrive(client, bad)
        assert (still.applied_count, still.parked_count) == (0, 2)
        assert [one.attempts for one in parked(client)] == [4, 0]
        loyalty_store.execute("ALTER TABLE known_contacts DROP CONSTRAINT refused")
        done = redrive(client, bad)
        assert (done.applied_count, done.parked_count) == (2, 0)
        assert not parked(client)
        expect_each_once(client, program, [bad, *others])
        with pytest.raises(vafa.NotFound):
            redrive(client, bad)


def parked(client: vafa.Suite) -> list[events_pb2.ParkedEvent]:
    """Return the events that loyalty has parked."""
    request = events_pb2.ListParkedEventsRequest(parent="feeds/loyalty")
    return list(client.events("loyalty").ListParkedEvents(request).parked_events)


def redrive(client: vafa.Suite, subject: str) -> events_pb2.RedriveEventsResponse:
    """Have loyalty apply the parked events of a subject."""
    request = events_pb2.RedriveEventsRequest(
        parent="feeds/loyalty", source=SOURCE, subject=subject
    )
    return client.events("loyalty").RedriveEvents(request)


def insert_created(store: Connection, subject: str) -> None:
    """Insert another event of a contact's creation into the feed of contacts."""
    now = Timestamp()
    now.GetCurrentTime()
    event = events_pb2.Event(
        uid=str(uuid.uuid4()), type="contact.created", subject=subject, create_time=now
    )
    store.execute(
        "INSERT INTO outbox (aggregatetype, aggregateid, type, payload, create_time)"
        " VALUES ('contact', %s, 'contact.created', %s, now())",
        (subject, event.SerializeToString()),
    )


def prune(running: RunningSuite) -> None:
    """Have contacts forget the events that it has."""
    running.stop("contacts")
    running.start("contacts", event_retention_days="0.0000001")
    request = events_pb2.ListEventsRequest(parent=SOURCE)
    with running.client() as client:
        until(lambda: not client.events("contacts").ListEvents(request).events)


def test_an_expired_cursor_is_made_up_for_from_the_lists(
    pair: RunningSuite, loyalty_store: Connection
) -> None:
    with pair.client() as client:
        program = an_earning_program(client)
        names = new_contacts(30)
        buy(client, program, names)
        until(lambda: is_caught_up(client, loyalty_store))
        pair.stop("loyalty")
        create(client, names)
        gone = contacts_pb2.DeleteContactRequest(name=names[0])
        client.contacts.DeleteContact(gone)
    prune(pair)
    pair.start("loyalty")
    with pair.client() as client:
        expect_applied(client, program, names, loyalty_store)


def test_a_feed_restored_under_a_new_epoch_is_followed_from_the_lists_on(
    pair: RunningSuite, contacts_store: Connection, loyalty_store: Connection
) -> None:
    with pair.client() as client:
        program = an_earning_program(client)
        names = new_contacts(3)
        buy(client, program, names)
        create(client, names[:1])
        until(lambda: is_active(client, program, names[0]))
        contacts_store.execute("UPDATE store SET epoch = %s", (str(uuid.uuid4()),))
        create(client, names[1:2])
        until(lambda: is_active(client, program, names[1]))
        create(client, names[2:])
        expect_applied(client, program, names, loyalty_store)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("DELETE FROM cursors", id="without a cursor"),
        # Where a reader stands that came when the feed was empty.
        pytest.param("UPDATE cursors SET position = 0", id="before the first event"),
    ],
)
def test_a_reader_at_the_beginning_of_a_feed_that_is_gone_reads_the_lists(
    change: LiteralString, pair: RunningSuite, loyalty_store: Connection
) -> None:
    with pair.client() as client:
        program = an_earning_program(client)
        names = new_contacts(5)
        buy(client, program, names)
        until(lambda: is_caught_up(client, loyalty_store))
        pair.stop("loyalty")
        create(client, names)
    prune(pair)
    loyalty_store.execute(change)
    pair.start("loyalty")
    with pair.client() as client:
        expect_applied(client, program, names, loyalty_store)
