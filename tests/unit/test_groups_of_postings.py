"""Awards, spendings and orders in groups: whatever goes together, it comes to the same."""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from services.chassis.batch import Answer, Outcome
from services.chassis.errors import Refusal
from services.chassis.writes import Writes
from services.loyalty.movements import AWARD_POINTS, SPEND_POINTS
from services.loyalty.points import lock_points, lock_points_and_lots
from services.loyalty.queries import ACTIVE, PROVISIONAL
from services.loyalty.recording import RECORD_ORDER, gather_orders
from services.loyalty.rules.ledger import MAX_POINTS_BALANCE
from services.loyalty.schema import (
    ledger_entries,
    ledger_transactions,
    lots,
    members,
    orders,
    programs,
)
from tests.harness.loyalty_club import MEMBERS, STRANGERS, Club, Command, a_call, a_club, an_engine
from vafa.loyalty.v1 import orders_pb2


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """A database with the tables of the service."""
    with an_engine() as made:
        yield made


@pytest.fixture
def club(engine: Engine) -> Iterator[Club]:
    """A programme of its own."""
    with engine.connect() as connection:
        yield a_club(connection)


def told(outcome: Outcome) -> Message:
    """Return the answer that an outcome is."""
    assert isinstance(outcome, Answer), outcome
    message: Message = outcome.message
    return message


def refused(outcome: Outcome) -> str:
    """Return the reason of the refusal that an outcome is."""
    assert isinstance(outcome, Refusal), outcome
    return outcome.reason


# Whatever the groups are.

Step = tuple[str, str, int, int]
points = st.one_of(st.integers(1, 30), st.sampled_from([MAX_POINTS_BALANCE, 10**12]))
awards = st.tuples(st.just("award"), st.sampled_from(("ada", "bo", "nobody")), points, st.just(0))
spendings = st.tuples(st.just("spend"), st.sampled_from(MEMBERS), st.integers(1, 60), st.just(0))
purchases = st.tuples(
    st.just("order"),
    st.sampled_from(("ada", *STRANGERS)),
    st.sampled_from([1, 7, 25, 10**12 + 1]),
    st.integers(1, 4),
)
runs = st.one_of(
    *(st.lists(each, min_size=1, max_size=6) for each in (awards, spendings, purchases))
)
COMMANDS: dict[str, Command] = {"award": AWARD_POINTS, "spend": SPEND_POINTS, "order": RECORD_ORDER}


def request_of(club: Club, step: Step) -> Message:
    """Return the request of a step."""
    kind, id_, amount, number = step
    if kind == "order":
        return club.order(id_, f"order-{number}", amount)
    return club.award(id_, amount) if kind == "award" else club.spending(id_, amount)


@dataclass(frozen=True)
class Books:
    """What comes of steps, without the ids and times that differ from run to run."""

    answers: list[Any]
    members: list[Any]
    lots: dict[str, list[tuple[int, int]]]
    transactions: dict[str, list[Any]]
    orders: dict[str, Any]
    events: list[tuple[str, str]]


def books_of(club: Club, groups: Sequence[Sequence[Step]]) -> Books:
    """Run groups one after the other, and return what came of it all."""
    outcomes: list[Outcome] = []
    for group in groups:
        requests = [request_of(club, step) for step in group]
        outcomes += club.run(COMMANDS[group[0][0]], *requests)
    lots_of: dict[str, list[tuple[int, int]]] = defaultdict(list)
    places: dict[str, str] = {}
    for lot in club.rows(lots, "create_time", "lot_id"):
        mine = lots_of[lot["member_id"]]
        places[lot["lot_id"]] = f"lot {len(mine)} of {lot['member_id']}"
        mine.append((lot["points_issued"], lot["points_remaining"]))
    recorded = club.rows(orders, "external_id")
    places |= {row["order_id"]: row["external_id"] for row in recorded}
    entries = defaultdict(list)
    for row in club.rows(ledger_entries, "ledger_transaction_id", "ordinal"):
        entry = (row["account"], row["points"], places.get(row["lot_id"]))
        entries[row["ledger_transaction_id"]].append(entry)
    transactions = defaultdict(list)
    for row in club.rows(ledger_transactions, "create_time", "ledger_transaction_id"):
        kept = [row[name] for name in ("kind", "points", "reason", "principal", "points_balance")]
        kept += [places.get(row["order_id"]), entries[row["ledger_transaction_id"]]]
        transactions[row["member_id"]].append(kept)
        assert sum(points for _, points, _ in entries[row["ledger_transaction_id"]]) == 0

    def plain(text: str) -> str:
        for id_, place in {**places, club.program_id: "club"}.items():
            text = text.replace(id_, place)
        return text

    sums = ("member_id", "state", "version", "points_balance", "points_issued", "points_redeemed")
    return Books(
        answers=[told_of(outcome, plain) for outcome in outcomes],
        members=[[row[name] for name in sums] for row in club.rows(members, "member_id")],
        lots=dict(lots_of),
        transactions=dict(transactions),
        orders={
            row["external_id"]: [row[n] for n in ("contact", "total_minor", "points_earned")]
            for row in recorded
        },
        events=[(type_, plain(subject)) for type_, subject in club.events()],
    )


def told_of(outcome: Outcome, plain: Any) -> Any:
    """Return what a caller is told, in which ids stand as `plain` writes them."""
    if isinstance(outcome, Refusal):
        metadata = {key: plain(value) for key, value in outcome.metadata.items()}
        return type(outcome), outcome.violations, metadata
    answer: Any = told(outcome)
    copy = type(answer)()
    copy.CopyFrom(answer)
    copy.ClearField("uid")
    copy.ClearField("create_time")
    if isinstance(copy, orders_pb2.Order):
        copy.ClearField("update_time")
    else:
        copy.name = copy.name.rpartition("/")[0]
    return plain(str(copy))


@settings(max_examples=60, deadline=None)
@given(st.lists(runs, min_size=1, max_size=5), st.data())
def test_groups_come_to_what_single_commands_come_to(
    engine: Engine, asked: list[list[Step]], data: st.DataObject
) -> None:
    steps = list(itertools.chain(*asked))
    with engine.connect() as connection:
        singly = books_of(a_club(connection), [[step] for step in steps])
        groups: list[list[Step]] = []
        for step in steps:
            if groups and groups[-1][0][0] == step[0] and data.draw(st.booleans()):
                groups[-1].append(step)
            else:
                groups.append([step])
        together = books_of(a_club(connection), groups)
        assert together == singly
        for _, _, _, balance, issued, redeemed in together.members:
            assert balance == issued - redeemed
        for id_, _, _, balance, issued, _ in together.members:
            held = together.lots.get(id_, [])
            assert (issued, balance) == (sum(a for a, _ in held), sum(b for _, b in held))


# What goes together, case by case.


def test_two_spendings_of_one_group_share_what_there_is(club: Club) -> None:
    club.run(AWARD_POINTS, club.award("ada", 10), club.award("ada", 5))
    first, second, third = club.run(
        SPEND_POINTS, club.spending("ada", 12), club.spending("ada", 4), club.spending("ada", 3)
    )
    assert told(first).points_balance == 3  # type: ignore[attr-defined]
    assert refused(second) == "INSUFFICIENT_POINTS"
    assert told(third).points_balance == 0  # type: ignore[attr-defined]
    assert [lot["points_remaining"] for lot in club.rows(lots, "lot_id")] == [0, 0]


def test_what_was_awarded_can_be_spent_by_the_next_on_one_state(club: Club) -> None:
    name = club.member("ada")
    with club.connection.begin():
        state = lock_points_and_lots(club.connection, [name])
    writes = Writes(datetime.now(UTC), a_call(AWARD_POINTS))
    AWARD_POINTS.decide(state, club.award("ada", 7), writes)
    spent = SPEND_POINTS.decide(state, club.spending("ada", 7), writes)
    assert spent.points_balance == 0
    assert [entry.points for entry in spent.entries] == [-7, 7]
    assert not state[name].open_lots


def test_an_order_that_comes_twice_in_a_group_is_recorded_once(club: Club) -> None:
    request, other = club.order("ada", "one", 10), club.order("ada", "one", 11)
    first, again, differing = club.run(RECORD_ORDER, request, request, other)
    assert told(first) == told(again)
    assert refused(differing) == "ORDER_ALREADY_RECORDED"
    assert len(club.rows(orders)) == len(club.rows(ledger_transactions)) == 1
    later = club.run(RECORD_ORDER, request, other)
    assert told(later[0]) == told(first)
    assert refused(later[1]) == "ORDER_ALREADY_RECORDED"


@pytest.mark.parametrize(("buyer", "state"), [("cy", ACTIVE), ("di", PROVISIONAL)])
def test_a_contact_with_two_first_orders_in_a_group_is_enrolled_once(
    club: Club, buyer: str, state: int
) -> None:
    outcomes = club.run(RECORD_ORDER, club.order(buyer, "one", 3), club.order(buyer, "two", 4))
    names = {told(outcome).member for outcome in outcomes}  # type: ignore[attr-defined]
    assert names == {club.member(buyer)}
    (member,) = (row for row in club.rows(members) if row["member_id"] == buyer)
    assert (member["state"], member["points_balance"], member["points_issued"]) == (state, 7, 7)
    kinds = [type_ for type_, _ in club.events()]
    assert kinds == [
        *("member.created", "order.created", "points.awarded"),
        *("order.created", "points.awarded"),
    ]


def assert_empty(writes: Writes) -> None:
    """Fail if anything would be written or told."""
    assert [writes.inserted, writes.claimed, writes.updated] == [{}, {}, {}]
    assert [writes.events, writes.audit] == [[], []]


def test_an_order_that_is_refused_leaves_the_next_as_if_it_had_not_come(club: Club) -> None:
    # A million points for a cent: no balance holds what the order would earn.
    with club.connection.begin():
        rate = programs.update().values(earn_points=10**6, earn_per_minor=1)
        club.connection.execute(rate.where(programs.c.program_id == club.program_id))
        asked = [(club.name, club.order("di", "one", 10**9).order)]
        shops = gather_orders(club.connection, asked)
    writes = Writes(datetime.now(UTC), a_call(RECORD_ORDER))
    with pytest.raises(Refusal) as refusal:
        RECORD_ORDER.decide(shops, club.order("di", "one", 10**9), writes)
    assert refusal.value.reason == "BALANCE_LIMIT_REACHED"
    assert refusal.value.violations[0][0] == "order.lines"
    assert (shops.members, shops.orders) == ({}, {})
    assert_empty(writes)


def test_a_refused_movement_leaves_the_points_as_they_were(club: Club) -> None:
    with club.connection.begin():
        state = lock_points(club.connection, [club.member("ada")])
    before = dict(vars(state[club.member("ada")]))
    writes = Writes(datetime.now(UTC), a_call(AWARD_POINTS))
    asked: list[tuple[Command, Message]] = [
        (AWARD_POINTS, club.award("ada", MAX_POINTS_BALANCE + 1)),
        (SPEND_POINTS, club.spending("ada", 1)),
        (AWARD_POINTS, club.award("nobody", 1)),
    ]
    for command, request in asked:
        with pytest.raises(Refusal):
            command.decide(state, request, writes)
    assert vars(state[club.member("ada")]) == before
    assert_empty(writes)
