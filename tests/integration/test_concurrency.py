"""Many callers at once, over one replica or two: each effect once, and nothing spent twice."""

import asyncio
import random
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg
import pytest
from google.type import money_pb2

import vafa
from tests.conftest import DATABASES
from tests.harness.factories import an_earning_program
from tests.harness.postgres import Postgres
from tests.harness.suite import RunningSuite
from tests.harness.waiting import until
from vafa.contacts.v1 import contacts_pb2
from vafa.loyalty.v1 import ledger_pb2, members_pb2, orders_pb2

T = TypeVar("T")
Connection = psycopg.Connection[Any]
SERVICES = ("contacts", "loyalty")


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    """Contacts and loyalty on SQLite."""
    running = RunningSuite(tmp_path_factory.mktemp("concurrency-sqlite"))
    running.start(*SERVICES)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def on_postgresql(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningSuite]:
    """Two replicas each of contacts and loyalty on PostgreSQL."""
    urls = {name: postgres.create(f"concurrency_{name}") for name in SERVICES}
    running = RunningSuite(tmp_path_factory.mktemp("concurrency"), urls)
    running.start(*SERVICES, *(f"{name}-2" for name in SERVICES))
    yield running
    running.stop()


@pytest.fixture(params=DATABASES)
def running(request: pytest.FixtureRequest) -> RunningSuite:
    """Contacts and loyalty, once on each database."""
    found: RunningSuite = request.getfixturevalue(f"on_{request.param}")
    return found


@pytest.fixture
def store(postgres: Postgres, on_postgresql: RunningSuite) -> Iterator[Connection]:
    """A connection of our own to the PostgreSQL of loyalty; each statement commits."""
    with psycopg.connect(postgres.conninfo("concurrency_loyalty"), autocommit=True) as connection:
        yield connection


def at_once(
    running: RunningSuite,
    service: str,
    count: int,
    ask: Callable[[vafa.aio.Suite, int], Awaitable[T]],
) -> list[T | vafa.VafaError]:
    """Ask so many times at once, every other time another replica; return answers and refusals."""

    async def all_of_them() -> list[T | vafa.VafaError]:
        replicas = [running.aio_client()]
        if f"{service}-2" in running.addresses:
            replicas.append(running.aio_client(replica=f"{service}-2"))
        try:
            return await asyncio.gather(
                *(answered(ask(replicas[n % len(replicas)], n)) for n in range(count))
            )
        finally:
            for replica in replicas:
                await replica.close()

    return asyncio.run(all_of_them())


async def answered(call: Awaitable[T]) -> T | vafa.VafaError:
    """Return the answer of a call, or what it failed with."""
    try:
        return await call
    except vafa.VafaError as error:
        return error


def reasons(answers: Sequence[object]) -> Counter[str]:
    """Count the answers by the reason of their failure, empty for those that succeeded."""
    return Counter(one.reason if isinstance(one, vafa.VafaError) else "" for one in answers)


def a_member(client: vafa.Suite, program: str, points: int = 0) -> str:
    """Enrol somebody with so many points and return the name of the membership."""
    contact = f"contacts/{uuid.uuid4()}"
    member = members_pb2.Member(contact=contact)
    request = members_pb2.CreateMemberRequest(parent=program, member=member)
    name = client.members.CreateMember(request).name
    if points:
        client.ledger.AwardPoints(award(name, points))
    return name


def award(member: str, points: int, request_id: str = "") -> ledger_pb2.AwardPointsRequest:
    """Return the request for an award."""
    return ledger_pb2.AwardPointsRequest(
        member=member, points=points, reason="test", request_id=request_id
    )


def spend(member: str, points: int, request_id: str = "") -> ledger_pb2.SpendPointsRequest:
    """Return the request for a spending."""
    return ledger_pb2.SpendPointsRequest(
        member=member, points=points, reason="test", request_id=request_id
    )


def an_order(program: str, contact: str, external_id: str) -> orders_pb2.RecordOrderRequest:
    """Return the request for an order of ten euros."""
    ten = money_pb2.Money(currency_code="EUR", units=10)
    line = orders_pb2.OrderLine(sku="tea", quantity=1, amount=ten)
    order = orders_pb2.Order(external_id=external_id, contact=contact, lines=[line])
    return orders_pb2.RecordOrderRequest(parent=program, order=order)


def balance(client: vafa.Suite, member: str) -> int:
    """Return the points that a member has."""
    request = ledger_pb2.GetBalanceRequest(name=f"{member}/balance")
    return client.ledger.GetBalance(request).points_balance


def require_right_ledger(client: vafa.Suite, program: str) -> ledger_pb2.VerifyLedgerResponse:
    """Fail unless the ledger of a programme agrees with itself; return the verification."""
    operation = client.ledger.VerifyLedger(ledger_pb2.VerifyLedgerRequest(parent=program))
    found: ledger_pb2.VerifyLedgerResponse = client.wait(operation, timeout_seconds=30)
    assert not found.violations
    assert found.violations_count == 0
    return found


def test_sixty_four_callers_with_one_request_id_have_one_effect_and_one_answer(
    running: RunningSuite,
) -> None:
    with running.client() as client:
        member = a_member(client, an_earning_program(client))
        request_id = str(uuid.uuid4())
        request = award(member, 7, request_id)
        answers = at_once(
            running, "loyalty", 64, lambda suite, _: suite.ledger.AwardPoints(request)
        )
        assert reasons(answers) == {"": 64}
        sent = {
            one.SerializeToString()
            for one in answers
            if isinstance(one, ledger_pb2.LedgerTransaction)
        }
        assert len(sent) == 1
        assert balance(client, member) == 7
        with pytest.raises(vafa.InvalidArgument) as refused:
            client.ledger.AwardPoints(award(member, 8, request_id))
        assert refused.value.reason == "REQUEST_ID_REUSED"
        assert balance(client, member) == 7


def test_two_payloads_under_one_request_id_have_the_effect_of_one(running: RunningSuite) -> None:
    with running.client() as client:
        member = a_member(client, an_earning_program(client))
        request_id = str(uuid.uuid4())
        answers = at_once(
            running,
            "loyalty",
            32,
            lambda suite, n: suite.ledger.AwardPoints(award(member, 1 + n // 2 % 2, request_id)),
        )
        assert reasons(answers) == {"": 16, "REQUEST_ID_REUSED": 16}
        assert balance(client, member) in (1, 2)


def test_sixty_four_callers_spend_a_balance_no_more_often_than_it_holds_the_price(
    running: RunningSuite,
) -> None:
    with running.client() as client:
        program = an_earning_program(client)
        member = a_member(client, program, points=1000)
        answers = at_once(
            running, "loyalty", 64, lambda suite, _: suite.ledger.SpendPoints(spend(member, 70))
        )
        assert reasons(answers) == {"": 14, "INSUFFICIENT_POINTS": 50}
        assert balance(client, member) == 1000 - 14 * 70
        assert require_right_ledger(client, program).ledger_transactions_checked == 15


def test_sixty_four_callers_with_one_external_id_record_one_order(running: RunningSuite) -> None:
    with running.client() as client:
        program, contact = an_earning_program(client), f"contacts/{uuid.uuid4()}"
        request = an_order(program, contact, "one")
        answers = at_once(
            running, "loyalty", 64, lambda suite, _: suite.orders.RecordOrder(request)
        )
        assert reasons(answers) == {"": 64}
        assert len({str(one) for one in answers}) == 1
        listed = client.orders.ListOrders(orders_pb2.ListOrdersRequest(parent=program)).orders
        assert len(listed) == 1
        assert balance(client, listed[0].member) == 10


def test_one_external_id_for_orders_of_several_contacts_belongs_to_one_of_them(
    running: RunningSuite,
) -> None:
    with running.client() as client:
        program = an_earning_program(client)
        contacts = [f"contacts/{uuid.uuid4()}" for _ in range(8)]
        answers = at_once(
            running,
            "loyalty",
            8,
            lambda suite, n: suite.orders.RecordOrder(an_order(program, contacts[n], "one")),
        )
        assert reasons(answers) == {"": 1, "ORDER_ALREADY_RECORDED": 7}
        members = members_pb2.ListMembersRequest(parent=program)
        assert len(client.members.ListMembers(members).members) == 1


def test_thirty_two_upserts_of_a_new_external_id_create_one_contact(running: RunningSuite) -> None:
    external_id = contacts_pb2.ExternalId(system="shop", value=str(uuid.uuid4()))

    def ask(suite: vafa.aio.Suite, n: int) -> Awaitable[contacts_pb2.Contact]:
        contact = contacts_pb2.Contact(display_name=f"Ada {n}")
        request = contacts_pb2.UpsertContactRequest(external_id=external_id, contact=contact)
        return suite.contacts.UpsertContact(request)

    answers = at_once(running, "contacts", 32, ask)
    assert reasons(answers) == {"": 32}
    contacts = [one for one in answers if isinstance(one, contacts_pb2.Contact)]
    assert len({one.name for one in contacts}) == 1
    assert sorted(int(one.etag.strip('"')) for one in contacts) == list(range(1, 33))


def test_a_contact_who_is_enrolled_and_buys_at_once_is_one_member(running: RunningSuite) -> None:
    with running.client() as client:
        program = an_earning_program(client)
        contacts = [f"contacts/{uuid.uuid4()}" for _ in range(20)]

        def ask(suite: vafa.aio.Suite, n: int) -> Awaitable[object]:
            contact = contacts[n // 2 % len(contacts)]
            if n % 4 in (0, 3):
                return suite.orders.RecordOrder(an_order(program, contact, contact))
            member = members_pb2.Member(contact=contact)
            request = members_pb2.CreateMemberRequest(parent=program, member=member)
            return suite.members.CreateMember(request)

        answers = at_once(running, "loyalty", 2 * len(contacts), ask)
        assert set(reasons(answers)) <= {"", "RESOURCE_ALREADY_EXISTS"}
        request = members_pb2.ListMembersRequest(parent=program, page_size=1000)
        members = client.members.ListMembers(request).members
        assert sorted(one.contact for one in members) == sorted(contacts)
        orders = orders_pb2.ListOrdersRequest(parent=program, page_size=1000)
        bought = [one.contact for one in client.orders.ListOrders(orders).orders]
        assert {one.contact: one.points_balance for one in members} == {
            contact: 10 if contact in bought else 0 for contact in contacts
        }
        require_right_ledger(client, program)


@dataclass
class Outcomes:
    """What many callers were answered."""

    points: Counter[str] = field(default_factory=Counter)
    """The points that each member has, by the movements that were acknowledged."""
    by_reason: Counter[str] = field(default_factory=Counter)
    """How many answers there were by reason of refusal, empty for movements."""


def move_points(
    running: RunningSuite,
    members: Sequence[str],
    goes_on: Callable[[], bool],
    replicas: Sequence[str] = ("", "loyalty-2"),
) -> Outcomes:
    """Award and spend at random from 32 callers; a call without an answer is repeated as it was."""
    outcomes = Outcomes()

    async def caller(suite: vafa.aio.Suite, seed: int) -> None:
        dice = random.Random(seed)  # noqa: S311
        while goes_on():
            member, points = dice.choice(members), dice.randint(1, 50)
            request_id = str(uuid.uuid4())
            awards = dice.random() < 0.5
            answer: object = None
            while answer is None or isinstance(answer, (vafa.Unavailable, vafa.DeadlineExceeded)):
                answer = await answered(
                    suite.ledger.AwardPoints(award(member, points, request_id))
                    if awards
                    else suite.ledger.SpendPoints(spend(member, points, request_id))
                )
                outcomes.by_reason.update(reasons([answer]))
            if not isinstance(answer, vafa.VafaError):
                outcomes.points[member] += points if awards else -points

    async def all_of_them() -> None:
        suites = [running.aio_client(replica=replica) for replica in replicas]
        try:
            callers = (caller(suites[n % len(suites)], n) for n in range(32))
            await asyncio.gather(*callers)
        finally:
            for suite in suites:
                await suite.close()

    asyncio.run(all_of_them())
    return outcomes


def require_acknowledged(client: vafa.Suite, program: str, outcomes: Outcomes) -> None:
    """Fail unless what was acknowledged was done, once each, and nothing else was."""
    for member, points in outcomes.points.items():
        assert balance(client, member) == points
    found = require_right_ledger(client, program)
    assert found.ledger_transactions_checked == outcomes.by_reason[""]


def test_awards_and_spendings_from_two_replicas_keep_the_ledger_right(
    on_postgresql: RunningSuite,
) -> None:
    with on_postgresql.client() as client:
        program = an_earning_program(client)
        members = [a_member(client, program) for _ in range(10)]
        ends_at = time.monotonic() + 5
        outcomes = move_points(on_postgresql, members, lambda: time.monotonic() < ends_at)
        assert set(outcomes.by_reason) == {"", "INSUFFICIENT_POINTS"}
        require_acknowledged(client, program, outcomes)


def test_lost_database_connections_lose_no_acknowledged_movement_and_double_none(
    on_postgresql: RunningSuite, store: Connection
) -> None:
    with on_postgresql.client() as client, ThreadPoolExecutor(1) as pool:
        program = an_earning_program(client)
        members = [a_member(client, program) for _ in range(10)]
        ends_at = time.monotonic() + 3
        moving = pool.submit(
            move_points, on_postgresql, members, lambda: time.monotonic() < ends_at
        )
        lost = 0
        while not moving.done():
            cut = store.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND state <> 'idle'"
            ).fetchall()
            if time.monotonic() < ends_at:
                lost += len(cut)
            time.sleep(0.1)
        outcomes = moving.result()
        assert lost > 10
        assert set(outcomes.by_reason) <= {"", "INSUFFICIENT_POINTS", "UNAVAILABLE"}
        until(lambda: on_postgresql.is_ready("loyalty"))
        require_acknowledged(client, program, outcomes)


def holds_a_transaction(store: Connection) -> bool:
    """Whether a service has written in a transaction and leaves it open."""
    query = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
        " AND state = 'idle in transaction' AND backend_xid IS NOT NULL"
        " AND state_change < clock_timestamp() - interval '50 ms'"
    )
    return bool(store.execute(query).fetchall())


def freeze_in_a_transaction(running: RunningSuite, name: str, store: Connection) -> None:
    """Stop a replica that is at work, at a moment when it holds locks."""
    for _ in range(200):
        running.signal(name, signal.SIGSTOP)
        time.sleep(0.07)
        if holds_a_transaction(store):
            return
        running.signal(name, signal.SIGCONT)
        time.sleep(0.01)
    raise AssertionError("never stopped within a transaction")


def test_a_replica_frozen_in_a_transaction_frees_the_other_within_three_seconds(
    on_postgresql: RunningSuite, store: Connection
) -> None:
    frozen = threading.Event()
    with on_postgresql.client() as client, ThreadPoolExecutor(1) as pool:
        program = an_earning_program(client)
        member = a_member(client, program)
        moving = pool.submit(
            move_points, on_postgresql, [member], lambda: not frozen.is_set(), ["loyalty-2"]
        )
        try:
            freeze_in_a_transaction(on_postgresql, "loyalty-2", store)
            frozen.set()
            asked_at = time.monotonic()
            client.ledger.AwardPoints(award(member, 1))
            assert time.monotonic() - asked_at < 3
        finally:
            frozen.set()
            on_postgresql.signal("loyalty-2", signal.SIGCONT)
        outcomes = moving.result()
        outcomes.points[member] += 1
        outcomes.by_reason[""] += 1
        known = {"", "INSUFFICIENT_POINTS", "UNAVAILABLE", "DEADLINE_EXCEEDED"}
        assert set(outcomes.by_reason) <= known
        require_acknowledged(client, program, outcomes)
