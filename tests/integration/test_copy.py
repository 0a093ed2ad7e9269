"""A suite that grew up on SQLite goes on, on PostgreSQL, where it was."""

import shutil
import signal
import sqlite3
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type import date_pb2, money_pb2
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

import vafa
from services.chassis.contract import SERVICES
from services.chassis.migrate import migrate
from services.command.contents import Contents, contents
from services.command.copying import CannotCopy, copy_suite
from services.command.data_directory import CannotStart, DataDirectoryInUse, supervised
from services.command.databases import database_urls
from services.loyalty.schema import metadata as loyalty_metadata
from tests.harness.postgres import Postgres
from tests.harness.suite import ROOT, RunningSuite
from tests.harness.waiting import until
from vafa.contacts.v1 import contacts_pb2, interactions_pb2
from vafa.events.v1 import events_pb2
from vafa.feedback.v1 import responses_pb2, surveys_pb2
from vafa.loyalty.v1 import ledger_pb2, members_pb2, orders_pb2, programs_pb2

CLUB = "programs/club"
LATE = "contacts/late"
BEGINNING = datetime(1900, 1, 1, tzinfo=UTC)
LARGEST = 2**63 - 1
LOYALTY_PARTS = (
    "programs",
    "members",
    "orders",
    "ledger transactions",
    "lots",
    "balances",
    "loyalty feed",
    "parked events",
)
FEEDBACK_PARTS = ("surveys", "responses", "metric", "feedback feed")
CONTACTS_PARTS = ("contacts", "interactions", "contacts feed", "found by phone", "next page")
Picture = dict[str, Sequence[Message]]


@dataclass(frozen=True)
class Origin:
    """A stopped suite on SQLite, and what its callers saw last."""

    folder: Path
    picture: Picture
    page_token: str
    spend: ledger_pb2.SpendPointsRequest
    spent: ledger_pb2.LedgerTransaction


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Origin:
    """A small suite with something of everything, some of it odd."""
    suite = RunningSuite(tmp_path_factory.mktemp("origin"))
    with ExitStack() as stack:
        stack.callback(suite.stop)
        suite.start()
        client = stack.enter_context(suite.client())
        fill_contacts(client)
        spend, spent = fill_loyalty(client)
        fill_feedback(client)
        park_an_event(suite.folder / "loyalty.db")
        head = feed(client, "contacts").head.position
        until(lambda: cursor_position(suite.folder / "loyalty.db") == head)
        picture = loyalty_picture(client) | feedback_picture(client)
        # Loyalty has yet to hear of this one.
        suite.stop("loyalty")
        create_contact(client, "late", display_name="دیرآمده")
        page = client.contacts.ListContacts(contacts_pb2.ListContactsRequest(page_size=1))
        picture |= contacts_picture(client, page.next_page_token)
    return Origin(suite.folder, picture, page.next_page_token, spend, spent)


def fill_contacts(client: vafa.Suite) -> None:
    """Create contacts and interactions, change one, and delete one."""
    sara = create_contact(
        client,
        "sara",
        display_name="سارا احمدی‌نژاد",
        labels={"city": "اصفهان", "tier": "gold"},
        emails=[contacts_pb2.EmailAddress(address="Sara@example.org")],
        phones=[contacts_pb2.PhoneNumber(number="+989121234567", label="همراه")],
        birth_date=date_pb2.Date(year=1926, month=3, day=21),
        external_ids=[contacts_pb2.ExternalId(system="shop", value="۰۰۱")],
    )
    sara.custom_fields.update(
        {"یادداشت": ["نان", True, None, {"tea": 0.1}], "large": 1e22, "small": 5e-324}
    )
    sara.given_name = "سارا"
    client.contacts.UpdateContact(
        contacts_pb2.UpdateContactRequest(
            contact=sara, update_mask=FieldMask(paths=["custom_fields", "given_name"])
        )
    )
    create_contact(client, "bob", display_name='"Bob"\\N\t\r\n\\.')
    create_contact(client, "gone", display_name="Gone")
    client.contacts.DeleteContact(contacts_pb2.DeleteContactRequest(name="contacts/gone"))
    for happened in (BEGINNING, datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)):
        occur_time = Timestamp()
        occur_time.FromDatetime(happened)
        interaction = interactions_pb2.Interaction(
            channel=interactions_pb2.Interaction.CHANNEL_PHONE,
            direction=interactions_pb2.Interaction.DIRECTION_INBOUND,
            body="سلام",
            occur_time=occur_time,
        )
        client.interactions.CreateInteraction(
            interactions_pb2.CreateInteractionRequest(
                parent="contacts/sara", interaction=interaction
            )
        )


def create_contact(client: vafa.Suite, id_: str, **values: Any) -> contacts_pb2.Contact:
    """Create a contact under an id of ours."""
    contact = contacts_pb2.Contact(**values)
    request = contacts_pb2.CreateContactRequest(contact=contact, contact_id=id_)
    return client.contacts.CreateContact(request)


def fill_loyalty(
    client: vafa.Suite,
) -> tuple[ledger_pb2.SpendPointsRequest, ledger_pb2.LedgerTransaction]:
    """Create a programme with orders, awards and spends; return the last spend with its answer."""
    rate = programs_pb2.EarnRate(points=1, per_amount=money_pb2.Money(currency_code="USD", units=1))
    program = programs_pb2.Program(
        display_name="باشگاه", currency_code="USD", earn_rate=rate, labels={"kind": "مهر"}
    )
    client.programs.CreateProgram(
        programs_pb2.CreateProgramRequest(program=program, program_id="club")
    )
    for n, contact in enumerate(("contacts/sara", "contacts/sara", "contacts/bob", LATE)):
        record_order(client, f"سفارش-{n}", contact)
    member = f"{CLUB}/members/sara"
    for _ in range(3):
        client.ledger.AwardPoints(
            ledger_pb2.AwardPointsRequest(member=member, points=10**12, reason="birthday")
        )
    spend = ledger_pb2.SpendPointsRequest(
        member=member, points=10**12, reason="gift", request_id=str(uuid.uuid4())
    )
    return spend, client.ledger.SpendPoints(spend)


def record_order(client: vafa.Suite, external_id: str, contact: str) -> orders_pb2.Order:
    """Record an order of 12.34 dollars."""
    amount = money_pb2.Money(currency_code="USD", units=12, nanos=340_000_000)
    line = orders_pb2.OrderLine(sku="چای", quantity=2, amount=amount)
    payment = orders_pb2.Payment(method="card", amount=amount)
    order = orders_pb2.Order(
        external_id=external_id, contact=contact, lines=[line], payments=[payment]
    )
    return client.orders.RecordOrder(orders_pb2.RecordOrderRequest(parent=CLUB, order=order))


def fill_feedback(client: vafa.Suite) -> None:
    """Create a survey of each state, one of them with answers, one of these without a name."""
    for id_, kind in (
        ("draft", surveys_pb2.Survey.KIND_CES),
        ("nps", surveys_pb2.Survey.KIND_NPS),
        ("open", surveys_pb2.Survey.KIND_FREE_TEXT),
    ):
        question = surveys_pb2.LocalizedText(language_code="fa", text="نظر شما چیست؟")
        survey = surveys_pb2.Survey(display_name="نظرسنجی", kind=kind, questions=[question])
        client.surveys.CreateSurvey(surveys_pb2.CreateSurveyRequest(survey=survey, survey_id=id_))
    for name in ("surveys/nps", "surveys/open"):
        client.surveys.PublishSurvey(surveys_pb2.PublishSurveyRequest(name=name))
    for parent, response in (
        ("surveys/nps", responses_pb2.Response(contact="contacts/sara", score=0)),
        ("surveys/nps", responses_pb2.Response(score=10, comment="عالی‌ست")),
        ("surveys/open", responses_pb2.Response(contact="contacts/bob", comment="خوب")),
    ):
        client.responses.CreateResponse(
            responses_pb2.CreateResponseRequest(parent=parent, response=response)
        )
    client.surveys.CloseSurvey(surveys_pb2.CloseSurveyRequest(name="surveys/open"))


def park_an_event(path: Path) -> None:
    """Leave a parked event with the first time and the last position there can be."""
    event = events_pb2.Event(position=LARGEST, subject="contacts/edge", type="contact.created")
    parked = loyalty_metadata.tables["parked_events"]
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(
            parked.insert().values(
                source="feeds/contacts",
                epoch=str(uuid.uuid4()),
                position=event.position,
                subject=event.subject,
                payload=event.SerializeToString(),
                attempts=3,
                last_error="KeyError",
                park_time=BEGINNING,
            )
        )


def cursor_position(path: Path) -> int:
    """Return how far loyalty has applied the feed of contacts; 0 if nowhere."""
    with closing(sqlite3.connect(path)) as connection:
        row = connection.execute("SELECT position FROM cursors").fetchone()
    return int(row[0]) if row else 0


def feed(client: vafa.Suite, service: str) -> events_pb2.ListEventsResponse:
    """Return the whole feed of a service."""
    request = events_pb2.ListEventsRequest(parent=f"feeds/{service}", page_size=1000)
    return client.events(service).ListEvents(request)


def loyalty_picture(client: vafa.Suite) -> Picture:
    """Return all that loyalty shows, by part."""
    ledger = client.ledger
    members = client.members.ListMembers(members_pb2.ListMembersRequest(parent=CLUB)).members
    names = [member.name for member in members]
    parked = events_pb2.ListParkedEventsRequest(parent="feeds/loyalty")
    transactions = ledger_pb2.ListLedgerTransactionsRequest(parent=f"{CLUB}/members/-")
    return {
        "programs": client.programs.ListPrograms(programs_pb2.ListProgramsRequest()).programs,
        "members": members,
        "orders": client.orders.ListOrders(orders_pb2.ListOrdersRequest(parent=CLUB)).orders,
        "ledger transactions": [ledger.ListLedgerTransactions(transactions)],
        "lots": [ledger.ListLots(ledger_pb2.ListLotsRequest(parent=name)) for name in names],
        "balances": [
            ledger.GetBalance(ledger_pb2.GetBalanceRequest(name=f"{name}/balance"))
            for name in names
        ],
        "loyalty feed": [feed(client, "loyalty")],
        "parked events": client.events("loyalty").ListParkedEvents(parked).parked_events,
    }


def feedback_picture(client: vafa.Suite) -> Picture:
    """Return all that feedback shows, by part."""
    responses = client.responses
    of_all = responses_pb2.ListResponsesRequest(parent="surveys/-")
    return {
        "surveys": client.surveys.ListSurveys(surveys_pb2.ListSurveysRequest()).surveys,
        "responses": responses.ListResponses(of_all).responses,
        "metric": [responses.GetMetric(responses_pb2.GetMetricRequest(name="surveys/nps/metric"))],
        "feedback feed": [feed(client, "feedback")],
    }


def contacts_picture(client: vafa.Suite, page_token: str) -> Picture:
    """Return all that contacts shows, by part."""
    contacts = client.contacts
    everyone = contacts_pb2.ListContactsRequest(show_deleted=True)
    of_sara = interactions_pb2.ListInteractionsRequest(parent="contacts/sara")
    by_phone = contacts_pb2.LookupContactRequest(phone="+989121234567")
    next_page = contacts_pb2.ListContactsRequest(page_size=1, page_token=page_token)
    return {
        "contacts": contacts.ListContacts(everyone).contacts,
        "interactions": client.interactions.ListInteractions(of_sara).interactions,
        "contacts feed": [feed(client, "contacts")],
        "found by phone": [contacts.LookupContact(by_phone)],
        "next page": list(contacts.ListContacts(next_page).contacts),
    }


@dataclass(frozen=True)
class Copied:
    """The suite that goes on, what its callers saw first, and what the command printed."""

    suite: RunningSuite
    client: vafa.Suite
    picture: Picture
    printed: str


@pytest.fixture(scope="module")
def copied(origin: Origin, postgres: Postgres) -> Iterator[Copied]:
    """The origin's copy, running."""
    url = postgres.url("copied")
    done = vafa_copy(origin.folder, url)
    assert done.returncode == 0, done.stderr
    suite = RunningSuite(origin.folder, database_urls(url))
    with ExitStack() as stack:
        stack.callback(suite.stop)
        # Without contacts there is no event yet that would move on the members.
        suite.start("loyalty", "feedback", "gateway")
        with suite.client() as early:
            picture = loyalty_picture(early) | feedback_picture(early)
        suite.start("contacts")
        client = stack.enter_context(suite.client())
        picture |= contacts_picture(client, origin.page_token)
        yield Copied(suite, client, picture, done.stdout)


def vafa_copy(folder: Path, url: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        copy_command(folder, url), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def copy_command(folder: Path, url: str) -> list[str]:
    """Return how to run the command."""
    arguments = ["copy", "--to", url, "--data-directory", str(folder)]
    return [sys.executable, "-m", "services", *arguments]


@pytest.mark.parametrize("part", [*LOYALTY_PARTS, *FEEDBACK_PARTS, *CONTACTS_PARTS])
def test_callers_see_the_same_as_before(origin: Origin, copied: Copied, part: str) -> None:
    assert len(origin.picture[part]) > 0
    assert copied.picture[part] == origin.picture[part]


def test_every_table_is_told_with_its_rows(copied: Copied) -> None:
    lines = [line.split() for line in copied.printed.splitlines()]
    cells = {tuple(line[1:6:2]) for line in lines if len(line) >= 6}
    assert ("loyalty", "orders", "4") in cells
    assert ("contacts", "contacts", "4") in cells
    assert ("feedback", "responses", "3") in cells
    assert "points of ACCOUNT_REDEEMED: 1,000,000,000,000" in copied.printed
    assert "vafa up --database-url" in copied.printed


def test_a_repeat_of_an_old_request_gets_the_stored_answer(origin: Origin, copied: Copied) -> None:
    assert copied.client.ledger.SpendPoints(origin.spend) == origin.spent
    balance = ledger_pb2.GetBalanceRequest(name=f"{origin.spend.member}/balance")
    assert copied.client.ledger.GetBalance(balance) in origin.picture["balances"]


def test_the_consumer_goes_on_at_its_cursor(origin: Origin, copied: Copied) -> None:
    (contacts_before,) = origin.picture["contacts feed"]
    (before,) = origin.picture["loyalty feed"]
    assert isinstance(contacts_before, events_pb2.ListEventsResponse)
    assert isinstance(before, events_pb2.ListEventsResponse)
    until(lambda: feed(copied.client, "loyalty").head.position > before.head.position)
    (new,) = feed(copied.client, "loyalty").events[len(before.events) :]
    name = f"{CLUB}/members/late"
    assert (new.type, new.subject) == ("member.updated", name)
    assert new.position == before.head.position + 1
    member = copied.client.members.GetMember(members_pb2.GetMemberRequest(name=name))
    assert member.state == members_pb2.Member.STATE_ACTIVE
    # The contact that came late, and whatever came after it; had the consumer begun anew, it
    # would have passed the whole feed.
    last_passed = contacts_before.head.position - 1
    head = feed(copied.client, "contacts").head.position
    until(lambda: events_applied(copied.suite) == head - last_passed)


def events_applied(suite: RunningSuite) -> float:
    """Return how many events loyalty has passed since it was started."""
    address = f"http://{suite.metrics_addresses['loyalty']}/metrics"
    with urllib.request.urlopen(address, timeout=5) as response:
        lines = response.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("consumer_applied_t"))


def test_new_events_come_after_the_old_ones(origin: Origin, copied: Copied) -> None:
    (before,) = origin.picture["contacts feed"]
    assert isinstance(before, events_pb2.ListEventsResponse)
    create_contact(copied.client, "new", display_name="New")
    request = events_pb2.ListEventsRequest(parent="feeds/contacts", after=before.next)

    def after() -> events_pb2.ListEventsResponse:
        return copied.client.events("contacts").ListEvents(request)

    until(lambda: len(after().events) > 0)
    (event,) = after().events
    assert (event.subject, event.position) == ("contacts/new", before.head.position + 1)


def test_the_copied_ledger_verifies(copied: Copied) -> None:
    operation = copied.client.ledger.VerifyLedger(ledger_pb2.VerifyLedgerRequest(parent=CLUB))
    response = copied.client.wait(operation, timeout_seconds=20)
    assert (response.orders_checked, response.violations_count) == (4, 0)


def test_rows_at_the_edges_of_their_types_arrive(copied: Copied, postgres: Postgres) -> None:
    with psycopg.connect(postgres.conninfo("copied_loyalty")) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        rows = connection.execute("SELECT position, park_time FROM parked_events").fetchall()
    assert rows == [(LARGEST, BEGINNING)]


def test_a_directory_in_use_is_not_copied(origin: Origin, postgres: Postgres) -> None:
    with supervised(origin.folder), pytest.raises(DataDirectoryInUse, match="is run by process"):
        copy_suite(origin.folder, database_urls(postgres.url("unmade")))
    with psycopg.connect(postgres.conninfo("postgres")) as connection:
        query = "SELECT count(*) FROM pg_database WHERE datname LIKE 'unmade%'"
        assert connection.execute(query).fetchone() == (0,)


def test_a_directory_without_databases_is_refused_and_not_made(
    tmp_path: Path, postgres: Postgres
) -> None:
    with pytest.raises(CannotCopy, match=r"there is no contacts\.db"):
        copy_suite(tmp_path / "absent", database_urls(postgres.url("unmade")))
    assert not (tmp_path / "absent").exists()


def test_a_url_that_cannot_be_read_is_refused_without_its_password() -> None:
    with pytest.raises(CannotStart) as refusal:
        database_urls("postgresql+psycopg://sara:secret@localhost:port/vafa")
    assert "secret" not in str(refusal.value)


def test_a_source_of_another_schema_is_refused(
    origin: Origin, postgres: Postgres, tmp_path: Path
) -> None:
    for service in SERVICES:
        shutil.copy(origin.folder / f"{service}.db", tmp_path)
    with closing(sqlite3.connect(tmp_path / "loyalty.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(CannotCopy, match=r"loyalty\.db has another schema: run `vafa migrate`"):
        copy_suite(tmp_path, database_urls(postgres.url("older")))


def test_a_row_that_postgresql_cannot_hold_is_told_by_its_table(
    origin: Origin, postgres: Postgres, tmp_path: Path
) -> None:
    for service in SERVICES:
        shutil.copy(origin.folder / f"{service}.db", tmp_path)
    with closing(sqlite3.connect(tmp_path / "contacts.db")) as connection, connection:
        connection.execute("UPDATE contacts SET owner = 'x' || char(0) WHERE contact_id = 'bob'")
    with pytest.raises(CannotCopy, match=r"nul_contacts did not take a row of contacts: .*NUL"):
        copy_suite(tmp_path, database_urls(postgres.url("nul")))
    assert rows_of(postgres, "nul_contacts", "audit") == 0


def test_a_target_with_rows_is_refused_by_name(origin: Origin, postgres: Postgres) -> None:
    urls = database_urls(postgres.url("taken"))
    migrate("loyalty", postgres.create("taken_loyalty"))
    with psycopg.connect(postgres.conninfo("taken_loyalty")) as connection:
        connection.execute("INSERT INTO known_contacts VALUES ('contacts/theirs', false)")
    with pytest.raises(CannotCopy, match="taken_loyalty has rows in the table known_contacts"):
        copy_suite(origin.folder, urls)
    assert rows_of(postgres, "taken_contacts", "contacts") == 0
    assert rows_of(postgres, "taken_loyalty", "known_contacts") == 1


def test_a_copy_may_be_repeated_until_its_target_is_used(
    origin: Origin, postgres: Postgres
) -> None:
    urls = database_urls(postgres.url("twice"))
    assert copy_suite(origin.folder, urls) == copy_suite(origin.folder, urls)
    with psycopg.connect(postgres.conninfo("twice_contacts")) as connection:
        connection.execute("UPDATE contacts SET owner = 'someone' WHERE contact_id = 'bob'")
    with pytest.raises(CannotCopy, match="twice_contacts has rows"):
        copy_suite(origin.folder, urls)


def test_a_copy_that_differs_is_not_kept(origin: Origin, postgres: Postgres) -> None:
    url = postgres.url("bent")
    migrate("loyalty", postgres.create("bent_loyalty"))
    bend = (
        "CREATE FUNCTION bend() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.points := NEW.points * 2; RETURN NEW; END $$",
        "CREATE TRIGGER bend BEFORE INSERT ON ledger_entries FOR EACH ROW EXECUTE FUNCTION bend()",
    )
    with psycopg.connect(postgres.conninfo("bent_loyalty")) as connection:
        for statement in bend:
            connection.execute(statement)
    done = vafa_copy(origin.folder, url)
    assert done.returncode == 1
    expected = "bent_loyalty would differ from its source in ledger_entries, points of account 1"
    assert expected in done.stderr
    assert rows_of(postgres, "bent_contacts", "contacts") == 0
    assert rows_of(postgres, "bent_loyalty", "orders") == 0


def test_a_copy_that_is_killed_leaves_no_row_and_can_be_repeated(
    origin: Origin, postgres: Postgres
) -> None:
    url = postgres.url("killed")
    migrate("gateway", postgres.create("killed_gateway"))
    # It comes to this row last, with the other databases filled.
    with held_store(postgres, "killed_gateway"):
        process = subprocess.Popen(
            copy_command(origin.folder, url), cwd=ROOT, stdout=subprocess.DEVNULL
        )
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        until(lambda: answer(postgres, f"{waiting} AND datname = 'killed_gateway'") == 1)
        assert rows_of(postgres, "killed_contacts", "contacts") == 0
        process.send_signal(signal.SIGKILL)
        process.wait()
    left = "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'killed%'"
    until(lambda: answer(postgres, left) == 0)
    assert rows_of(postgres, "killed_contacts", "contacts") == 0
    assert rows_of(postgres, "killed_loyalty", "ledger_entries") == 0
    copy_suite(origin.folder, database_urls(url))
    assert rows_of(postgres, "killed_contacts", "contacts") == 4


@contextmanager
def held_store(postgres: Postgres, database: str) -> Iterator[None]:
    """Hold the row that says who a database is."""
    with psycopg.connect(postgres.conninfo(database)) as connection:
        connection.execute("SELECT * FROM store FOR UPDATE")
        yield
        connection.rollback()


def answer(postgres: Postgres, query: str, database: str = "postgres") -> int:
    """Return the one number that a query asks for."""
    with psycopg.connect(postgres.conninfo(database)) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


def rows_of(postgres: Postgres, database: str, table: str) -> int:
    """Return how many rows a table has."""
    return answer(postgres, f"SELECT count(*) FROM {table}", database)  # noqa: S608


@pytest.mark.parametrize(
    ("change", "differences"),
    [
        ("UPDATE members SET points_balance = points_balance + 1", ["members"]),
        ("UPDATE orders SET order_time = order_time + 1 WHERE external_id LIKE '%-0'", ["orders"]),
        ("UPDATE orders SET lines = replace(lines, '2', '3')", ["orders"]),
        ("UPDATE idempotency SET request_hash = zeroblob(32) WHERE rowid = 1", ["idempotency"]),
        ("UPDATE known_contacts SET confirmed = NOT confirmed", ["known_contacts"]),
        ("UPDATE store SET page_token_key = x'00'", ["store"]),
        ("DELETE FROM audit WHERE id = 1", ["audit"]),
        # Two rows that have changed places are two changed rows.
        ("UPDATE orders SET labels = '{\"n\": \"' || rowid || '\"}'", ["orders"]),
        (
            "INSERT INTO ledger_entries SELECT program_id, member_id, ledger_transaction_id, "
            "ordinal + 9, account, lot_id, points FROM ledger_entries WHERE account = 2",
            ["ledger_entries", "points of account 2"],
        ),
    ],
)
def test_a_difference_in_one_value_is_found(
    origin: Origin, tmp_path: Path, change: str, differences: list[str]
) -> None:
    before, after = changed_copies(origin.folder / "loyalty.db", tmp_path, "", change)
    assert before.differences(after) == differences


@pytest.mark.parametrize(
    ("number", "as_postgresql_writes_it"),
    [("1e+22", "1" + 22 * "0"), ("1e+300", "1" + 300 * "0"), ("-0.0", "0.0"), ("5", "5.0")],
)
def test_a_number_written_in_another_way_is_no_difference(
    origin: Origin, tmp_path: Path, number: str, as_postgresql_writes_it: str
) -> None:
    changes = [
        f"""UPDATE orders SET lines = '[{{"amount": [{text}]}}]'"""  # noqa: S608
        for text in (number, as_postgresql_writes_it)
    ]
    before, after = changed_copies(origin.folder / "loyalty.db", tmp_path, *changes)
    assert before.differences(after) == []


def changed_copies(path: Path, folder: Path, *changes: str) -> list[Contents]:
    """Return what copies of a database hold, each after a change of its own."""
    held = []
    for change in changes:
        changed = folder / "changed.db"
        shutil.copy(path, changed)
        with closing(sqlite3.connect(changed)) as connection, connection:
            connection.execute(change)
        held.append(contents_of(changed))
    return held


def contents_of(path: Path) -> Contents:
    """Return what a database of loyalty on SQLite holds."""
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    with engine.connect() as connection:
        return contents(connection, loyalty_metadata)
