"""What the calls cost, on both databases in turn."""

from collections.abc import Awaitable
from itertools import count
from statistics import median
from typing import Any

from google.type import money_pb2
from rich.table import Table

from bench.load import IN_FLIGHT, Call, Measured, measure
from tests.harness.suite import RunningSuite
from vafa import aio
from vafa.contacts.v1 import contacts_pb2
from vafa.gateway.v1 import customers_pb2
from vafa.loyalty.v1 import ledger_pb2, members_pb2, orders_pb2, programs_pb2

SECONDS = 4.0
ROUNDS = 3
PROGRAM = "programs/bench"


def usd(units: int) -> money_pb2.Money:
    """Return so many US dollars."""
    return money_pb2.Money(currency_code="USD", units=units)


async def prepare(suite: aio.Suite) -> dict[str, tuple[str, Call]]:
    """Make what the calls need; return each call by its name, with its service."""
    rate = programs_pb2.EarnRate(points=1, per_amount=usd(1))
    program = programs_pb2.Program(display_name="Bench", currency_code="USD", earn_rate=rate)
    await suite.programs.CreateProgram(
        programs_pb2.CreateProgramRequest(program_id="bench", program=program)
    )
    contacts: list[str] = []
    members: list[str] = []
    for n in range(200):
        contact = contacts_pb2.Contact(display_name=f"Contact {n}")
        created = await suite.contacts.CreateContact(
            contacts_pb2.CreateContactRequest(contact=contact)
        )
        contacts.append(created.name)
        member = await suite.members.CreateMember(
            members_pb2.CreateMemberRequest(
                parent=PROGRAM, member=members_pb2.Member(contact=created.name)
            )
        )
        members.append(member.name)
    await suite.ledger.BatchAwardPoints(
        ledger_pb2.BatchAwardPointsRequest(
            parent=PROGRAM,
            requests=[
                ledger_pb2.AwardPointsRequest(member=name, points=10**9, reason="bench")
                for name in members
            ],
        )
    )
    numbers = count()

    def of(names: list[str], n: int) -> str:
        return names[n % len(names)]

    def create_contact(n: int) -> Awaitable[Any]:
        contact = contacts_pb2.Contact(display_name=f"Contact number {n}")
        return suite.contacts.CreateContact(contacts_pb2.CreateContactRequest(contact=contact))

    def record_order(n: int) -> Awaitable[Any]:
        line = orders_pb2.OrderLine(sku="item", quantity=1, amount=usd(10))
        order = orders_pb2.Order(
            external_id=f"bench-{next(numbers)}", contact=of(contacts, n), lines=[line]
        )
        request = orders_pb2.RecordOrderRequest(parent=PROGRAM, order=order)
        return suite.orders.RecordOrder(request)

    return {
        "GetContact": (
            "contacts",
            lambda n: suite.contacts.GetContact(
                contacts_pb2.GetContactRequest(name=of(contacts, n))
            ),
        ),
        "CreateContact": ("contacts", create_contact),
        "GetBalance": (
            "loyalty",
            lambda n: suite.ledger.GetBalance(
                ledger_pb2.GetBalanceRequest(name=f"{of(members, n)}/balance")
            ),
        ),
        "AwardPoints": (
            "loyalty",
            lambda n: suite.ledger.AwardPoints(
                ledger_pb2.AwardPointsRequest(member=of(members, n), points=1, reason="bench")
            ),
        ),
        "SpendPoints": (
            "loyalty",
            lambda n: suite.ledger.SpendPoints(
                ledger_pb2.SpendPointsRequest(member=of(members, n), points=1, reason="bench")
            ),
        ),
        "RecordOrder": ("loyalty", record_order),
        "GetCustomer": (
            "gateway",
            lambda n: suite.customers.GetCustomer(
                customers_pb2.GetCustomerRequest(
                    name=of(contacts, n).replace("contacts/", "customers/")
                )
            ),
        ),
    }


async def run(suites: dict[str, RunningSuite]) -> dict[str, dict[str, list[Measured]]]:
    """Measure each call on each database in turn, several times, so that noise hits both."""
    measured: dict[str, dict[str, list[Measured]]] = {}
    async with suites["sqlite"].aio_client() as one, suites["postgresql"].aio_client() as other:
        calls = {"sqlite": await prepare(one), "postgresql": await prepare(other)}
        for name in calls["sqlite"]:
            found: dict[str, list[Measured]] = {database: [] for database in suites}
            for _ in range(ROUNDS):
                for database, running in suites.items():
                    service, call = calls[database][name]
                    found[database].append(await measure(running.pid(service), call, SECONDS))
            measured[name] = found
    return measured


def report(measured: dict[str, dict[str, list[Measured]]]) -> Table:
    """Return the table: medians, and PostgreSQL to SQLite as the median of paired ratios."""
    table = Table(title=f"{IN_FLIGHT} calls in flight, {ROUNDS} rounds of {SECONDS:.0f} s")
    for heading in ("call", "SQLite /s", "p50 ms", "p99 ms", "CPU ms"):
        table.add_column(heading, justify="left" if heading == "call" else "right")
    for heading in ("PostgreSQL /s", "p50 ms", "p99 ms", "CPU ms", "PostgreSQL ÷ SQLite"):
        table.add_column(heading, justify="right")
    for name, by_database in measured.items():
        cells: list[str] = [name]
        for rounds in by_database.values():
            cells += [
                f"{median([one.calls_per_second for one in rounds]):,.0f}",
                f"{median([one.p50_ms for one in rounds]):.1f}",
                f"{median([one.p99_ms for one in rounds]):.1f}",
                f"{median([one.cpu_ms for one in rounds]):.2f}",
            ]
        pairs = zip(by_database["postgresql"], by_database["sqlite"], strict=True)
        ratios = [one.calls_per_second / other.calls_per_second for one, other in pairs]
        table.add_row(*cells, f"{median(ratios):.2f}")
    return table
