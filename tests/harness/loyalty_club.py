"""Loyalty's commands without its service: groups of them, run on a programme in memory."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message
from sqlalchemy import Connection, Engine, Table, create_engine, select

from services.chassis.batch import Asked, BatchCommand, Outcome, run_group
from services.chassis.call import Call
from services.chassis.engines import prepare_sqlite
from services.chassis.identity import Principal
from services.chassis.policy import methods_of
from services.loyalty.queries import ACTIVE
from services.loyalty.schema import chassis, known_contacts, members, metadata, programs
from tests.harness.factories import euros
from vafa.loyalty.v1 import ledger_pb2, orders_pb2

METHODS = {
    method.name: method
    for service in (
        ledger_pb2.DESCRIPTOR.services_by_name["LedgerService"],
        orders_pb2.DESCRIPTOR.services_by_name["OrderService"],
    )
    for method in methods_of(service)
}
Command = BatchCommand[Any, Any, Any]
# Who is enrolled.
MEMBERS = ("ada", "bo")
# One that the contacts service told of, and one of whom loyalty has not heard.
STRANGERS = {"cy": True, "di": False}
# A euro earns a point.
EARN = {"earn_points": 1, "earn_per_minor": 100}


def a_call(command: Command) -> Call:
    """Return a call of a command, under a request id of its own."""
    method, principal = METHODS[command.name], Principal("test", ())
    return Call(method, principal, "", str(uuid.uuid4()), b"hash", time.monotonic() + 60)


@dataclass(frozen=True)
class Club:
    """A programme with a few members, in a database that others use too."""

    connection: Connection
    program_id: str

    @property
    def name(self) -> str:
        """Its resource name."""
        return f"programs/{self.program_id}"

    def member(self, id_: str) -> str:
        """Return the name that a member has or would have."""
        return f"{self.name}/members/{id_}"

    def award(self, id_: str, points: int) -> ledger_pb2.AwardPointsRequest:
        """Return a request for points."""
        return ledger_pb2.AwardPointsRequest(member=self.member(id_), points=points, reason="a")

    def spending(self, id_: str, points: int) -> ledger_pb2.SpendPointsRequest:
        """Return a request to spend points."""
        return ledger_pb2.SpendPointsRequest(member=self.member(id_), points=points, reason="s")

    def order(self, id_: str, external_id: str, units: int) -> orders_pb2.RecordOrderRequest:
        """Return a request to record an order of so many euros."""
        order = orders_pb2.Order(external_id=external_id, contact=f"contacts/{id_}")
        order.lines.add(sku="x", quantity=1, amount=euros(units))
        order.lines.add(sku="y", quantity=2, amount=euros(0, 99))
        order.order_time.FromJsonString("2026-01-31T12:00:00Z")
        return orders_pb2.RecordOrderRequest(parent=self.name, order=order)

    def run(self, command: Command, *requests: Message) -> list[Outcome]:
        """Run requests as one group, and return what each came to."""
        group = [Asked(a_call(command), request, None) for request in requests]  # type: ignore
        with self.connection.begin():
            outcomes, _, _ = run_group(
                self.connection, chassis, command, group, number_events_now=False
            )
        return outcomes

    def rows(self, table: Table, *order_by: str) -> list[dict[str, Any]]:
        """Return the rows of the programme in a table, in an order of its columns."""
        mine = select(table).where(table.c.program_id == self.program_id)
        with self.connection.begin():
            found = self.connection.execute(mine.order_by(*(table.c[name] for name in order_by)))
            return [dict(row) for row in found.mappings()]

    def events(self) -> list[tuple[str, str]]:
        """Return what was told of the programme, in the order in which it was told."""
        table = chassis.outbox
        query = select(table.c.type, table.c.aggregateid).order_by(table.c.id)
        with self.connection.begin():
            told = self.connection.execute(query.where(table.c.aggregateid.contains(self.name)))
            return [(type_, subject) for type_, subject in told]


def a_club(connection: Connection) -> Club:
    """Make a programme with its members."""
    program_id, now = str(uuid.uuid4()), datetime.now(UTC)
    common = {"uid": "u", "version": 1, "create_time": now, "update_time": now, "labels": {}}
    program = {"display_name": "Club", "currency_code": "EUR", **EARN}
    with connection.begin():
        connection.execute(programs.insert(), {"program_id": program_id, **common, **program})
        for id_ in MEMBERS:
            member = {"contact": f"contacts/{id_}", "state": ACTIVE, "points_balance": 0}
            key = {"program_id": program_id, "member_id": id_}
            connection.execute(members.insert(), {**key, **common, **member})
        connection.execute(known_contacts.delete())
        known = [{"contact": f"contacts/{id_}", "confirmed": True} for id_ in (*MEMBERS, "cy")]
        connection.execute(known_contacts.insert(), known)
    return Club(connection, program_id)


@contextmanager
def an_engine() -> Iterator[Engine]:
    """Give a database in memory with the tables of the service."""
    engine = create_engine("sqlite://")
    prepare_sqlite(engine, "BEGIN IMMEDIATE", ["foreign_keys=ON"])
    metadata.create_all(engine)
    yield engine
    engine.dispose()
