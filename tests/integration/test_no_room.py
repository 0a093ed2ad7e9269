"""A database that cannot grow: what is written is put off, and nothing is lost or mistaken."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import vafa
from tests.harness.suite import RunningSuite
from tests.harness.waiting import until
from vafa.contacts.v1 import contacts_pb2
from vafa.events.v1 import events_pb2
from vafa.loyalty.v1 import ledger_pb2, members_pb2, programs_pb2

TIMEOUT_SECONDS = 20


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    """Contacts and loyalty on SQLite, of these tests alone."""
    suite = RunningSuite(tmp_path_factory.mktemp("no_room"))
    suite.start("contacts", "loyalty")
    yield suite
    suite.stop()


@contextmanager
def no_room(suite: RunningSuite, service: str) -> Iterator[None]:
    """Let no file that the service writes grow beyond its database's log of now."""
    size = (suite.folder / f"{service}.db-wal").stat().st_size
    before = resource.prlimit(suite.pid(service), resource.RLIMIT_FSIZE)
    resource.prlimit(suite.pid(service), resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.prlimit(suite.pid(service), resource.RLIMIT_FSIZE, before)


def create(client: vafa.Suite, count: int) -> list[str]:
    """Create contacts and return their names."""
    single = contacts_pb2.CreateContactRequest(contact=contacts_pb2.Contact(display_name="Ada"))
    request = contacts_pb2.BatchCreateContactsRequest(requests=[single] * count)
    answer = client.contacts.BatchCreateContacts(request, timeout=3)
    return [contact.name for contact in answer.contacts]


def a_busy_programme(client: vafa.Suite) -> str:
    """Create a programme, and let its ledger fill the log of the database."""
    program = programs_pb2.Program(display_name="club", currency_code="USD")
    request = programs_pb2.CreateProgramRequest(program=program)
    name = client.programs.CreateProgram(request).name
    member = enrol(client, name, "contacts/first")
    single = ledger_pb2.AwardPointsRequest(member=member.name, points=1, reason="welcome")
    batch = ledger_pb2.BatchAwardPointsRequest(parent=name, requests=[single] * 300)
    client.ledger.BatchAwardPoints(batch)
    return name


def enrol(client: vafa.Suite, program: str, contact: str) -> members_pb2.Member:
    """Enrol a contact."""
    member = members_pb2.Member(contact=contact)
    request = members_pb2.CreateMemberRequest(parent=program, member=member)
    return client.members.CreateMember(request)


def test_a_write_that_finds_no_room_is_unavailable_until_there_is(own: RunningSuite) -> None:
    with own.client() as client:
        # The log of the database is to be larger than that of the service.
        name, *_ = create(client, 300)
        with no_room(own, "contacts"):
            with pytest.raises(vafa.Unavailable):
                create(client, 300)
            got = client.contacts.GetContact(contacts_pb2.GetContactRequest(name=name))
            assert got.name == name
        assert len(create(client, 1)) == 1
        listed = client.contacts.ListContacts(contacts_pb2.ListContactsRequest(page_size=1000))
    assert len(listed.contacts) == 301
    assert "Traceback" not in own.log("contacts")


def test_an_event_that_finds_no_room_is_applied_later_and_not_parked(own: RunningSuite) -> None:
    with own.client() as client:
        program = a_busy_programme(client)
        with no_room(own, "loyalty"):
            contact, *_ = create(client, 300)
            # An event that cannot be applied would be parked at its fourth attempt.
            until(lambda: own.log("loyalty").count("consumer_") >= 5)
        name = enrol(client, program, contact).name
        request = members_pb2.GetMemberRequest(name=name)
        active = members_pb2.Member.STATE_ACTIVE
        until(lambda: client.members.GetMember(request).state == active)
        parked = events_pb2.ListParkedEventsRequest(parent="feeds/loyalty")
        assert not client.events("loyalty").ListParkedEvents(parked).parked_events
