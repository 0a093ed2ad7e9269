"""What the bench fills databases with is what the services would have written."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, select
from sqlalchemy.pool import NullPool

import vafa
from bench.filling import PROGRAM, Filled, fill
from services.chassis.resource import Resource
from services.contacts.resources import CONTACT, INTERACTION
from services.loyalty import schema as loyalty
from services.loyalty.resources import MEMBER, ORDER
from services.loyalty.resources import PROGRAM as PROGRAM_RESOURCE
from tests.conftest import database_urls
from tests.harness.factories import euros
from tests.harness.postgres import Postgres
from tests.harness.suite import RunningSuite
from tests.harness.waiting import until
from vafa.contacts.v1 import contacts_pb2
from vafa.events.v1 import events_pb2
from vafa.loyalty.v1 import ledger_pb2, orders_pb2

CONTACTS = 300
ENTRIES = 1500
TOLD_OF = ("order.created", "points.awarded", "points.spent")
RESOURCES: dict[str, tuple[str, Resource[Any]]] = {
    "contact": ("contacts", CONTACT),
    "interaction": ("contacts", INTERACTION),
    "program": ("loyalty", PROGRAM_RESOURCE),
    "member": ("loyalty", MEMBER),
    "order": ("loyalty", ORDER),
}


@pytest.fixture(scope="module")
def running(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningSuite, Filled]]:
    """Services of contacts and loyalty over filled databases."""
    suite = RunningSuite(tmp_path_factory.mktemp("filled"), database_urls(postgres, "filled"))
    filled = fill(suite.database_urls, contacts=CONTACTS, entries=ENTRIES)
    suite.start("contacts", "loyalty")
    yield suite, filled
    suite.stop()


@pytest.fixture
def connected(running: tuple[RunningSuite, Filled]) -> Iterator[dict[str, Connection]]:
    """Connections to the two databases."""
    urls = running[0].database_urls
    opened = {
        service: create_engine(urls[service], poolclass=NullPool).connect()
        for service in ("contacts", "loyalty")
    }
    yield opened
    for connection in opened.values():
        connection.close()


@pytest.mark.parametrize("name", RESOURCES)
def test_a_resource_and_what_it_is_found_by_are_those_of_its_message(
    connected: dict[str, Connection], name: str
) -> None:
    service, resource = RESOURCES[name]
    connection = connected[service]
    found = connection.execute(resource.select()).mappings().all()
    by_index: dict[Any, list[dict[str, Any]]] = {
        index.table: [dict(row) for row in connection.execute(select(index.table)).mappings()]
        for index in resource.indexes
    }
    expected: dict[Any, list[dict[str, Any]]] = {index.table: [] for index in resource.indexes}
    for row in found:
        message = resource.own_copy(resource.to_message(row))
        if resource.check:
            message = resource.check(None, message, datetime.now(UTC))
        stored = resource.to_row(message)
        assert stored == {column: row[column] for column in stored}
        for index in resource.indexes:
            expected[index.table] += resource.index_rows(index, row, message)
    for table, rows in by_index.items():
        assert sorted(map(repr, map(_sorted, rows))) == sorted(
            map(repr, map(_sorted, expected[table]))
        )


def _sorted(row: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(row.items())


def test_there_is_as_much_as_was_asked_for(
    running: tuple[RunningSuite, Filled], connected: dict[str, Connection]
) -> None:
    members = connected["loyalty"].execute(select(loyalty.members)).all()
    entries = connected["loyalty"].execute(select(loyalty.ledger_entries)).all()
    assert (len(members), len(entries)) == (CONTACTS, ENTRIES)
    assert len(running[1].contacts) == len(running[1].members) == CONTACTS * 98 // 100


def test_every_contact_is_a_member(connected: dict[str, Connection]) -> None:
    contacts = connected["contacts"].execute(select(CONTACT.table.c.contact_id)).scalars()
    members = connected["loyalty"].execute(select(MEMBER.table.c.member_id)).scalars()
    assert set(contacts) == set(members)


def test_the_ledger_is_found_right(running: tuple[RunningSuite, Filled]) -> None:
    with running[0].client() as client:
        request = ledger_pb2.VerifyLedgerRequest(parent=PROGRAM)
        response = client.wait(client.ledger.VerifyLedger(request), timeout_seconds=60)
    assert (response.members_checked, response.entries_checked) == (CONTACTS, ENTRIES)
    assert min(response.lots_checked, response.orders_checked) > 0
    assert not response.violations


def test_what_is_written_afterwards_is_told_of_alike(
    running: tuple[RunningSuite, Filled], connected: dict[str, Connection]
) -> None:
    suite, filled = running
    before = _events(suite, events_pb2.Cursor())
    with suite.client() as client:
        _write_all(client, filled)
    end = events_pb2.Cursor(epoch=before[0], position=before[1][-1].position)
    # They get their positions after they are committed.
    until(lambda: {event.type for event in _events(suite, end)[1]} >= set(TOLD_OF))
    after = _events(suite, end)
    positions = [event.position for event in before[1] + after[1]]
    assert positions == list(range(positions[0], positions[-1] + 1))
    for type_ in TOLD_OF:
        old, new = ({_shape(e) for e in part if e.type == type_} for part in (before[1], after[1]))
        assert set() < new <= old, type_
    for table in (loyalty.chassis.audit, loyalty.ledger_transactions, loyalty.lots):
        rows = connected["loyalty"].execute(select(table).order_by("create_time")).mappings().all()
        latest = len(TOLD_OF)
        kinds = {_filled_columns(row) for row in rows[:-latest]}
        assert {_filled_columns(row) for row in rows[-latest:]} <= kinds


def _events(suite: RunningSuite, after: events_pb2.Cursor) -> tuple[str, list[events_pb2.Event]]:
    found: list[events_pb2.Event] = []
    with suite.client() as client:
        while True:
            request = events_pb2.ListEventsRequest(
                parent="feeds/loyalty", after=after, page_size=1000
            )
            page = client.events("loyalty").ListEvents(request)
            found += page.events
            after = page.next
            if page.next.position == page.head.position:
                return page.next.epoch, found


def _write_all(client: vafa.Suite, filled: Filled) -> None:
    contact, member = filled.contacts[5], filled.members[5]
    line = orders_pb2.OrderLine(sku="tea", quantity=1, amount=euros(7, currency_code="USD"))
    order = orders_pb2.Order(external_id="new", contact=contact, lines=[line])
    client.orders.RecordOrder(orders_pb2.RecordOrderRequest(parent=PROGRAM, order=order))
    client.ledger.AwardPoints(
        ledger_pb2.AwardPointsRequest(member=member, points=5, reason="birthday")
    )
    client.ledger.SpendPoints(
        ledger_pb2.SpendPointsRequest(member=member, points=3, reason="voucher")
    )


def _shape(event: events_pb2.Event) -> tuple[Any, ...]:
    fields = tuple(field.name for field, _ in event.ListFields())
    return (event.subject.count("/"), fields, tuple(sorted(event.related)))


def _filled_columns(row: Any) -> frozenset[str]:
    return frozenset(name for name, value in row.items() if value is not None)


def test_a_database_that_is_not_empty_is_left_alone(
    running: tuple[RunningSuite, Filled], tmp_path: Path
) -> None:
    contact = contacts_pb2.GetContactRequest(name=running[1].contacts[0])
    with pytest.raises(ValueError, match="is not empty"):
        fill(running[0].database_urls, contacts=10, entries=50)
    with running[0].client() as client:
        assert client.contacts.GetContact(contact).name == contact.name
