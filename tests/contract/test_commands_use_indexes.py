"""What the hot calls read on SQLite is searched for by an index.

How PostgreSQL reads it is pinned at scale, in tests/integration/test_plans_at_scale.py; SQLite,
which is never told how many rows there are, chooses as it would over any number.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.pool import NullPool

from services.chassis.call import Call
from services.chassis.idempotency import stored_answers
from services.chassis.identity import Principal
from services.chassis.migrate import migrate
from services.chassis.sequencer import number_events, prune_events, prune_idempotency
from services.chassis.steps import find_many
from services.contacts import queries as contacts
from services.contacts import schema as contacts_schema
from services.contacts.resources import CONTACT
from services.loyalty import schema as loyalty_schema
from services.loyalty.movements import AWARD_POINTS, SPEND_POINTS
from services.loyalty.recording import RECORD_ORDER
from services.loyalty.resources import MEMBER
from tests.contract.resources import METHODS, SOME_TIME, a_row
from vafa.loyalty.v1 import ledger_pb2, orders_pb2

ROWS = 20
SCHEMAS = {"contacts": contacts_schema, "loyalty": loyalty_schema}
MEMBERS = [f"programs/x{n}/members/x{n}" for n in range(3)]
# The keys that are asked for come as a table of JSON; and these tables hold a row or a few.
READ_AS_A_WHOLE = {"given", "fresh", "store"}
Work = Callable[[Connection], object]


def _calls() -> list[Call]:
    method = METHODS["/vafa.loyalty.v1.LedgerService/AwardPoints"]
    return [Call(method, Principal("ada", ()), "", f"r{n}", b"", 0.0) for n in range(3)]


def _an_order(n: int) -> orders_pb2.RecordOrderRequest:
    order = orders_pb2.Order(external_id=f"x{n}", contact=f"contacts/x{n}")
    return orders_pb2.RecordOrderRequest(parent=f"programs/x{n}", order=order)


def _awards() -> list[ledger_pb2.AwardPointsRequest]:
    return [ledger_pb2.AwardPointsRequest(member=name) for name in MEMBERS]


def _spendings() -> list[ledger_pb2.SpendPointsRequest]:
    return [ledger_pb2.SpendPointsRequest(member=name) for name in MEMBERS]


WORKS: dict[str, tuple[str, Work]] = {
    "GetContact": ("contacts", lambda c: find_many(c, CONTACT, ["contacts/x1", "contacts/x2"])),
    "LookupContact": ("contacts", lambda c: contacts.find_by_email(c, "x1")),
    "UpsertContact": (
        "contacts",
        lambda c: contacts.find_by_external_ids(c, [("x1", "x1"), ("x2", "x2")], lock=True),
    ),
    "GetBalance": ("loyalty", lambda c: find_many(c, MEMBER, MEMBERS)),
    "AwardPoints": ("loyalty", lambda c: AWARD_POINTS.gather(c, _awards())),
    "SpendPoints": ("loyalty", lambda c: SPEND_POINTS.gather(c, _spendings())),
    "RecordOrder": ("loyalty", lambda c: RECORD_ORDER.gather(c, [_an_order(1), _an_order(99)])),
    "answers": (
        "loyalty",
        lambda c: stored_answers(c, loyalty_schema.chassis.idempotency, _calls()),
    ),
    "numbering": ("loyalty", lambda c: number_events(c, loyalty_schema.chassis)),
    "pruning of events": (
        "loyalty",
        lambda c: prune_events(c, loyalty_schema.chassis, SOME_TIME.replace(year=2030)),
    ),
    "pruning of answers": (
        "loyalty",
        lambda c: prune_idempotency(c, loyalty_schema.chassis, SOME_TIME.replace(year=2030)),
    ),
}


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Connection]]:
    """Connections to databases on SQLite with a few rows."""
    folder: Path = tmp_path_factory.mktemp("commands")
    opened = {}
    for service, schema in SCHEMAS.items():
        url = f"sqlite:///{folder}/{service}.db"
        migrate(service, url)
        connection = opened[service] = create_engine(url, poolclass=NullPool).connect()
        for table in schema.metadata.sorted_tables:
            if connection.scalar(text(f"SELECT count(*) FROM {table.name}")) == 0:  # noqa: S608
                connection.execute(table.insert(), [a_row(table, n) for n in range(ROWS)])
        if service == "contacts":
            connection.execute(text("UPDATE contacts SET external_ids = '[]'"))
        connection.commit()
    yield opened
    for connection in opened.values():
        connection.close()


def plans(connection: Connection, work: Work) -> dict[str, str]:
    """Return how the database goes about each statement of the work, by the statement."""
    statements: list[tuple[str, Any]] = []

    def note(
        _c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
    ) -> None:
        statements.append((statement, parameters[0] if many else parameters))

    event.listen(connection, "before_cursor_execute", note)
    work(connection)
    event.remove(connection, "before_cursor_execute", note)
    found = {}
    for statement, parameters in statements:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        found[statement] = "\n".join(row.detail for row in rows)
    connection.rollback()
    return found


@pytest.mark.parametrize("name", WORKS)
def test_no_statement_reads_a_whole_table(databases: dict[str, Connection], name: str) -> None:
    service, work = WORKS[name]
    found = plans(databases[service], work)
    assert any("SEARCH" in plan or "USING" in plan for plan in found.values())
    for statement, plan in found.items():
        # A scan in the order of an index ends with the limit.
        scanned = re.findall(r"^SCAN ([a-z]\w*)(?! USING)", plan, re.MULTILINE)
        assert set(scanned) <= READ_AS_A_WHOLE, f"{statement}\n{plan}"
