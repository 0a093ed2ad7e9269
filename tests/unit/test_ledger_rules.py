"""Awarding, spending and verifying points, against a model that counts them one by one."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.loyalty.rules.ledger import (
    MAX_POINTS_BALANCE,
    Account,
    BalanceLimitReached,
    Entry,
    InsufficientPoints,
    Invariant,
    Kind,
    LedgerCorrupt,
    Lot,
    Member,
    Order,
    Posting,
    Transaction,
    Violation,
    award,
    spend,
    violations,
)
from vafa.loyalty.v1 import ledger_pb2

MEMBER = "ada"
NO_POINTS = Member(MEMBER, 0, 0, 0)


@dataclass
class Purse:
    """The naive model: every single point lies in a row, oldest first, marked with its lot."""

    points: list[str] = field(default_factory=list)
    issued: dict[str, int] = field(default_factory=dict)

    def put(self, points: int, lot: str) -> None:
        self.issued[lot] = points
        for _ in range(points):
            self.points.append(lot)

    def take(self, points: int) -> list[str]:
        return [self.points.pop(0) for _ in range(points)]

    def lots(self) -> list[Lot]:
        return [Lot(lot, began, self.points.count(lot)) for lot, began in self.issued.items()]


@dataclass(frozen=True)
class Ledger:
    """What is kept of one member, as the verification is given it."""

    member: Member = NO_POINTS
    lots: tuple[Lot, ...] = ()
    transactions: tuple[Transaction, ...] = ()
    orders: tuple[Order, ...] = ()

    def after(self, posting: Posting, order: Order | None = None) -> "Ledger":
        kept = {lot.id: lot for lot in (*self.lots, *posting.lots)}
        transaction = Transaction(
            id=f"transaction-{len(self.transactions)}",
            kind=posting.kind,
            points=posting.points,
            entries=posting.entries,
            order=order.id if order else None,
        )
        awarded = posting.kind is Kind.AWARD
        member = Member(
            MEMBER,
            posting.balance_after,
            self.member.points_issued + (posting.points if awarded else 0),
            self.member.points_redeemed + (0 if awarded else posting.points),
        )
        return Ledger(
            member,
            tuple(kept.values()),
            (*self.transactions, transaction),
            (*self.orders, order) if order else self.orders,
        )

    @property
    def points_balance(self) -> int:
        return self.member.points_balance

    def violations(self) -> list[Violation]:
        return violations(self.member, self.lots, self.transactions, self.orders)


@dataclass(frozen=True)
class Step:
    """Something that a member asks for; an order awards what it earns."""

    kind: Kind
    points: int
    by_order: bool = False


awards = st.builds(Step, st.just(Kind.AWARD), st.integers(1, 30), st.booleans())
spends = st.builds(Step, st.just(Kind.SPEND), st.integers(1, 60))
steps = st.lists(st.one_of(awards, spends), max_size=15)


@st.composite
def ledgers(draw: st.DrawFn) -> Ledger:
    """Any ledger that honest postings lead to, with one award at least."""
    ledger = Ledger()
    for index, step in enumerate([draw(awards), *draw(steps)]):
        if step.kind is Kind.AWARD:
            order = Order(f"order-{index}", step.points) if step.by_order else None
            posting = award(ledger.points_balance, step.points, f"lot-{index}")
            ledger = ledger.after(posting, order)
        elif step.points <= ledger.points_balance:
            ledger = ledger.after(spend(ledger.points_balance, ledger.lots, step.points))
    if draw(st.booleans()):
        ledger = replace(ledger, orders=(*ledger.orders, Order("order-without-points", 0)))
    return ledger


def invariants_by_resource(found: list[Violation]) -> set[tuple[Invariant, str, str]]:
    return {(each.invariant, each.resource_kind, each.resource_id) for each in found}


# Awarding and spending.


@given(steps)
def test_every_point_goes_where_the_model_that_counts_them_singly_puts_it(
    asked: list[Step],
) -> None:
    purse = Purse()
    balance = 0
    lots: dict[str, Lot] = {}
    for index, step in enumerate(asked):
        if step.kind is Kind.AWARD:
            posting = award(balance, step.points, f"lot-{index}")
            purse.put(step.points, f"lot-{index}")
        elif step.points > len(purse.points):
            with pytest.raises(InsufficientPoints) as refusal:
                spend(balance, list(lots.values()), step.points)
            assert (refusal.value.points_balance, refusal.value.asked) == (balance, step.points)
            continue
        else:
            posting = spend(balance, list(lots.values()), step.points)
            taken = purse.take(step.points)
            by_lot = {lot: -taken.count(lot) for lot in dict.fromkeys(taken)}
            assert {e.lot: e.points for e in posting.entries if e.lot} == by_lot
        lots.update((lot.id, lot) for lot in posting.lots)
        balance = posting.balance_after
        assert balance == len(purse.points)
        assert list(lots.values()) == purse.lots()


@given(ledgers())
def test_every_posting_sums_to_zero_and_has_no_entry_of_zero(ledger: Ledger) -> None:
    for transaction in ledger.transactions:
        assert sum(entry.points for entry in transaction.entries) == 0
        assert all(entry.points != 0 for entry in transaction.entries)
        assert len(transaction.entries) >= 2


@given(ledgers())
def test_entries_name_a_lot_exactly_if_the_member_can_spend_them(ledger: Ledger) -> None:
    for transaction in ledger.transactions:
        for entry in transaction.entries:
            assert (entry.lot is not None) == (entry.account is Account.AVAILABLE)


@given(ledgers(), st.data())
def test_a_spend_tells_of_the_lots_it_took_from_and_no_other(
    ledger: Ledger, data: st.DataObject
) -> None:
    ledger = ledger.after(award(ledger.points_balance, 1, "newest"))
    points = data.draw(st.integers(1, ledger.points_balance))
    posting = spend(ledger.points_balance, ledger.lots, points)
    before = {lot.id: lot for lot in ledger.lots}
    assert [lot.id for lot in posting.lots] == [e.lot for e in posting.entries if e.lot]
    for lot in posting.lots:
        assert lot.points_issued == before[lot.id].points_issued
        assert 0 <= lot.points_remaining < before[lot.id].points_remaining


def test_an_award_goes_from_the_programme_into_a_new_lot() -> None:
    assert award(40, 60, "b") == Posting(
        kind=Kind.AWARD,
        points=60,
        entries=(Entry(Account.AVAILABLE, 60, "b"), Entry(Account.ISSUED, -60, None)),
        balance_after=100,
        lots=(Lot("b", 60, 60),),
    )


def test_a_spend_takes_from_the_oldest_lots_and_passes_over_empty_ones() -> None:
    lots = [Lot("a", 50, 0), Lot("b", 50, 20), Lot("c", 50, 0), Lot("d", 50, 50), Lot("e", 9, 9)]
    assert spend(79, lots, 30) == Posting(
        kind=Kind.SPEND,
        points=30,
        entries=(
            Entry(Account.AVAILABLE, -20, "b"),
            Entry(Account.AVAILABLE, -10, "d"),
            Entry(Account.REDEEMED, 30, None),
        ),
        balance_after=49,
        lots=(Lot("b", 50, 0), Lot("d", 50, 40)),
    )


def test_the_whole_balance_can_be_spent() -> None:
    posting = spend(8, [Lot("a", 3, 3), Lot("b", 5, 5)], 8)
    assert posting.balance_after == 0
    assert posting.lots == (Lot("a", 3, 0), Lot("b", 5, 0))


def test_spending_more_than_the_balance_is_refused() -> None:
    with pytest.raises(InsufficientPoints) as refusal:
        spend(8, [Lot("a", 3, 3), Lot("b", 5, 5)], 9)
    assert (refusal.value.points_balance, refusal.value.asked) == (8, 9)


def test_spending_without_any_lot_is_refused() -> None:
    with pytest.raises(InsufficientPoints):
        spend(0, [], 1)


def test_an_award_up_to_the_limit_of_a_balance_is_posted() -> None:
    assert award(MAX_POINTS_BALANCE - 5, 5, "a").balance_after == MAX_POINTS_BALANCE


def test_an_award_above_the_limit_of_a_balance_is_refused() -> None:
    with pytest.raises(BalanceLimitReached) as refusal:
        award(MAX_POINTS_BALANCE - 5, 6, "a")
    assert refusal.value.points_balance == MAX_POINTS_BALANCE - 5
    assert refusal.value.asked == 6


@pytest.mark.parametrize(
    "lots",
    [
        pytest.param([Lot("a", 10, 9)], id="less than the balance"),
        pytest.param([Lot("a", 10, 10), Lot("b", 1, 1)], id="more than the balance"),
        pytest.param([Lot("a", 15, 15), Lot("b", 5, -5)], id="a lot below zero"),
        pytest.param([], id="no lot"),
    ],
)
@pytest.mark.parametrize("points", [1, 10, 11])
def test_nothing_is_spent_from_lots_that_do_not_hold_the_balance(
    lots: list[Lot], points: int
) -> None:
    with pytest.raises(LedgerCorrupt) as failure:
        spend(10, lots, points)
    assert failure.value.points_balance == 10
    assert failure.value.points_in_lots == sum(lot.points_remaining for lot in lots)


@pytest.mark.parametrize("points", [0, -1])
def test_points_that_do_not_move_are_not_posted(points: int) -> None:
    with pytest.raises(ValueError, match="above zero"):
        award(10, points, "b")
    with pytest.raises(ValueError, match="above zero"):
        spend(10, [Lot("a", 10, 10)], points)


def test_the_numbers_are_those_of_the_contract() -> None:
    accounts = {f"ACCOUNT_{each.name}": each.value for each in Account}
    kinds = {f"KIND_{each.name}": each.value for each in Kind}
    invariants = {f"INVARIANT_{each.name}": each.value for each in Invariant}
    unset = ("ACCOUNT_UNSPECIFIED", 0), ("KIND_UNSPECIFIED", 0), ("INVARIANT_UNSPECIFIED", 0)
    of_contract = (
        ledger_pb2.LedgerEntry.Account,
        ledger_pb2.LedgerTransaction.Kind,
        ledger_pb2.LedgerViolation.Invariant,
    )
    for numbers, first, enum in zip((accounts, kinds, invariants), unset, of_contract, strict=True):
        assert dict([first, *numbers.items()]) == dict(enum.items())


# Verifying: what is right.


@given(ledgers())
def test_an_honest_ledger_has_no_violation(ledger: Ledger) -> None:
    assert ledger.violations() == []


def test_a_member_without_any_points_has_no_violation() -> None:
    assert Ledger().violations() == []


# Verifying: one number changed anywhere.


@dataclass(frozen=True)
class Corruption:
    """A ledger with one fault, and the resource that is at fault."""

    ledger: Ledger
    resource_kind: str
    resource_id: str

    def is_found(self) -> bool:
        found = self.ledger.violations()
        assert all(each.expected != each.found for each in found)
        return (self.resource_kind, self.resource_id) in {
            (each.resource_kind, each.resource_id) for each in found
        }


def corruptions_by_one_number(ledger: Ledger, change: Callable[[int], int]) -> list[Corruption]:
    """Every ledger that differs from this one in one number, as `change` changes it."""
    member = ledger.member
    seeded = [
        Corruption(replace(ledger, member=wrong_member), "member", MEMBER)
        for wrong_member in (
            replace(member, points_balance=change(member.points_balance)),
            replace(member, points_issued=change(member.points_issued)),
            replace(member, points_redeemed=change(member.points_redeemed)),
        )
    ]
    for at, lot in enumerate(ledger.lots):
        for wrong_lot in (
            replace(lot, points_issued=change(lot.points_issued)),
            replace(lot, points_remaining=change(lot.points_remaining)),
        ):
            lots = (*ledger.lots[:at], wrong_lot, *ledger.lots[at + 1 :])
            seeded.append(Corruption(replace(ledger, lots=lots), "lot", lot.id))
    for at, order in enumerate(ledger.orders):
        wrong_order = replace(order, points_earned=change(order.points_earned))
        orders = (*ledger.orders[:at], wrong_order, *ledger.orders[at + 1 :])
        seeded.append(Corruption(replace(ledger, orders=orders), "order", order.id))
    for at, posted in enumerate(ledger.transactions):
        wrong = [replace(posted, points=change(posted.points))]
        for entry_at, entry in enumerate(posted.entries):
            entries = list(posted.entries)
            entries[entry_at] = replace(entry, points=change(entry.points))
            wrong.append(replace(posted, entries=tuple(entries)))
        for each in wrong:
            transactions = (*ledger.transactions[:at], each, *ledger.transactions[at + 1 :])
            corrupt = replace(ledger, transactions=transactions)
            seeded.append(Corruption(corrupt, "transaction", posted.id))
    return seeded


@given(ledgers(), st.integers(-40, 40).filter(bool))
def test_one_number_that_is_off_is_found_where_it_stands(ledger: Ledger, off_by: int) -> None:
    for corruption in corruptions_by_one_number(ledger, lambda points: points + off_by):
        assert corruption.is_found(), corruption


@given(ledgers())
def test_one_number_that_turned_its_sign_is_found_where_it_stands(ledger: Ledger) -> None:
    for corruption in corruptions_by_one_number(ledger, lambda points: -points):
        if corruption.ledger != ledger:  # a zero has no sign to turn
            assert corruption.is_found(), corruption


# Verifying: one fault of each kind, in a ledger small enough to read.

HONEST = (
    Ledger()
    .after(award(0, 100, "first"), Order("earned", 100))
    .after(award(100, 50, "second"))
    .after(spend(150, [Lot("first", 100, 100), Lot("second", 50, 50)], 120))
)
FIRST, SECOND, SPENT = HONEST.transactions


HONEST_MEMBER = Member(MEMBER, points_balance=30, points_issued=150, points_redeemed=120)


def with_member(member: Member) -> Ledger:
    return replace(HONEST, member=member)


def with_transactions(*transactions: Transaction) -> Ledger:
    return replace(HONEST, transactions=transactions)


def test_the_ledger_that_the_faults_are_seeded_in_is_right() -> None:
    assert HONEST.violations() == []
    assert HONEST.member == HONEST_MEMBER
    assert HONEST.lots == (Lot("first", 100, 0), Lot("second", 50, 30))


def test_a_balance_that_is_off_differs_from_its_entries_and_from_its_lots() -> None:
    assert with_member(replace(HONEST_MEMBER, points_balance=31)).violations() == [
        Violation(Invariant.BALANCE_IS_SUM_OF_ENTRIES, "member", MEMBER, 30, 31),
        Violation(Invariant.BALANCE_IS_SUM_OF_LOTS, "member", MEMBER, 30, 31),
    ]


def test_an_issue_that_is_off_differs_from_the_entries_that_issued() -> None:
    assert with_member(replace(HONEST_MEMBER, points_issued=149)).violations() == [
        Violation(Invariant.ISSUED_IS_SUM_OF_ENTRIES, "member", MEMBER, 150, 149)
    ]


def test_a_redemption_that_is_off_differs_from_the_entries_that_redeemed() -> None:
    assert with_member(replace(HONEST_MEMBER, points_redeemed=121)).violations() == [
        Violation(Invariant.REDEEMED_IS_SUM_OF_ENTRIES, "member", MEMBER, 120, 121)
    ]


def test_a_lot_with_points_too_many_differs_from_its_entries() -> None:
    lots = (Lot("first", 100, 5), Lot("second", 50, 30))
    assert replace(HONEST, lots=lots).violations() == [
        Violation(Invariant.LOT_IS_SUM_OF_ENTRIES, "lot", "first", 0, 5),
        Violation(Invariant.BALANCE_IS_SUM_OF_LOTS, "member", MEMBER, 35, 30),
    ]


@pytest.mark.parametrize(("remaining", "nearest"), [(-1, 0), (101, 100)])
def test_a_lot_holds_neither_less_than_nothing_nor_more_than_its_issue(
    remaining: int, nearest: int
) -> None:
    lots = (Lot("first", 100, remaining), Lot("second", 50, 30))
    expected = Violation(Invariant.LOT_WITHIN_ISSUE, "lot", "first", nearest, remaining)
    assert expected in replace(HONEST, lots=lots).violations()


def test_a_lot_began_with_what_its_award_brought() -> None:
    lots = (Lot("first", 100, 0), Lot("second", 70, 30))
    assert replace(HONEST, lots=lots).violations() == [
        Violation(Invariant.LOT_WITHIN_ISSUE, "lot", "second", 50, 70)
    ]


def test_a_lot_that_is_lost_is_found() -> None:
    lots = (Lot("first", 100, 0),)
    assert replace(HONEST, lots=lots).violations() == [
        Violation(Invariant.LOT_IS_SUM_OF_ENTRIES, "lot", "second", 30, 0),
        Violation(Invariant.LOT_WITHIN_ISSUE, "lot", "second", 50, 0),
        Violation(Invariant.BALANCE_IS_SUM_OF_LOTS, "member", MEMBER, 0, 30),
    ]


def test_an_empty_lot_that_is_lost_is_found() -> None:
    lots = (Lot("second", 50, 30),)
    assert replace(HONEST, lots=lots).violations() == [
        Violation(Invariant.LOT_WITHIN_ISSUE, "lot", "first", 100, 0)
    ]


def test_a_lot_from_nowhere_is_found() -> None:
    lots = (*HONEST.lots, Lot("third", 7, 7))
    assert replace(HONEST, lots=lots).violations() == [
        Violation(Invariant.LOT_IS_SUM_OF_ENTRIES, "lot", "third", 0, 7),
        Violation(Invariant.LOT_WITHIN_ISSUE, "lot", "third", 0, 7),
        Violation(Invariant.BALANCE_IS_SUM_OF_LOTS, "member", MEMBER, 37, 30),
    ]


def test_a_transaction_that_is_lost_is_found_in_lots_order_and_balance() -> None:
    assert with_transactions(SECOND, SPENT).violations() == [
        Violation(Invariant.LOT_IS_SUM_OF_ENTRIES, "lot", "first", -100, 0),
        Violation(Invariant.LOT_WITHIN_ISSUE, "lot", "first", 0, 100),
        Violation(Invariant.ORDER_IS_POSTED_ONCE, "order", "earned", 100, 0),
        Violation(Invariant.BALANCE_IS_SUM_OF_ENTRIES, "member", MEMBER, -70, 30),
        Violation(Invariant.ISSUED_IS_SUM_OF_ENTRIES, "member", MEMBER, 50, 150),
    ]


@pytest.mark.parametrize(("entry_kept", "total"), [(0, 50), (1, -50)])
def test_entries_that_do_not_sum_to_zero_are_found(entry_kept: int, total: int) -> None:
    torn = replace(SECOND, entries=(SECOND.entries[entry_kept],))
    found = with_transactions(FIRST, torn, SPENT).violations()
    assert found[:2] == [
        Violation(Invariant.TRANSACTION_SUMS_TO_ZERO, "transaction", SECOND.id, 0, total),
        Violation(Invariant.TRANSACTION_MATCHES_KIND, "transaction", SECOND.id, -total, 0),
    ]


def test_points_spent_from_another_lot_than_told_are_found_in_both() -> None:
    entries = (
        Entry(Account.AVAILABLE, -80, "first"),
        Entry(Account.AVAILABLE, -40, "second"),
        SPENT.entries[2],
    )
    assert with_transactions(FIRST, SECOND, replace(SPENT, entries=entries)).violations() == [
        Violation(Invariant.LOT_IS_SUM_OF_ENTRIES, "lot", "first", 20, 0),
        Violation(Invariant.LOT_IS_SUM_OF_ENTRIES, "lot", "second", 10, 30),
    ]


@pytest.mark.parametrize(
    ("transaction", "mismatches"),
    [
        pytest.param(
            replace(FIRST, kind=Kind.SPEND),
            [(-100, 100), (0, -100), (100, 0)],
            id="an award that calls itself a spend",
        ),
        pytest.param(
            replace(SPENT, kind=Kind.AWARD),
            [(120, -120), (-120, 0), (0, 120)],
            id="a spend that calls itself an award",
        ),
        pytest.param(
            replace(SECOND, points=60), [(60, 50), (-60, -50)], id="points that did not move"
        ),
        pytest.param(
            replace(FIRST, points=0, entries=()), [(1, 0)], id="a transaction that moves nothing"
        ),
        pytest.param(
            Transaction(
                "backwards",
                Kind.AWARD,
                -5,
                (Entry(Account.AVAILABLE, -5, "first"), Entry(Account.ISSUED, 5, None)),
                None,
            ),
            [(1, -5)],
            id="an award of less than nothing",
        ),
        pytest.param(
            replace(FIRST, entries=(FIRST.entries[0], Entry(Account.REDEEMED, -100, None))),
            [(-100, 0), (0, -100)],
            id="an award from the wrong account",
        ),
        pytest.param(
            replace(
                FIRST,
                entries=(
                    Entry(Account.AVAILABLE, 60, "first"),
                    Entry(Account.AVAILABLE, 40, "second"),
                    FIRST.entries[1],
                ),
            ),
            [(100, 60), (100, 40)],
            id="an award into two lots",
        ),
        pytest.param(
            replace(FIRST, entries=(Entry(Account.AVAILABLE, 100, None), FIRST.entries[1])),
            [(0, 100)],
            id="points in no lot",
        ),
        pytest.param(
            replace(FIRST, entries=(FIRST.entries[0], Entry(Account.ISSUED, -100, "first"))),
            [(0, -100)],
            id="points of the programme in a lot",
        ),
        pytest.param(
            replace(
                SPENT,
                entries=(
                    Entry(Account.AVAILABLE, -150, "first"),
                    Entry(Account.AVAILABLE, 30, "second"),
                    SPENT.entries[2],
                ),
            ),
            [(-120, 30)],
            id="a spend that gives",
        ),
        pytest.param(
            replace(SPENT, entries=(*SPENT.entries, Entry(Account.AVAILABLE, 0, "second"))),
            [(-120, 0)],
            id="an entry of zero",
        ),
        pytest.param(
            replace(
                FIRST,
                entries=(
                    *FIRST.entries,
                    Entry(Account.REDEEMED, 5, None),
                    Entry(Account.REDEEMED, -5, None),
                ),
            ),
            [(0, 5), (0, -5)],
            id="a strange account that cancels out",
        ),
    ],
)
def test_a_transaction_moves_its_points_in_the_accounts_of_its_kind(
    transaction: Transaction, mismatches: list[tuple[int, int]]
) -> None:
    found = [
        (each.expected, each.found)
        for each in with_transactions(transaction).violations()
        if (each.invariant, each.resource_id)
        == (Invariant.TRANSACTION_MATCHES_KIND, transaction.id)
    ]
    assert found == mismatches


@pytest.mark.parametrize(
    ("posted", "mismatches"),
    [
        pytest.param([], [(100, 0)], id="never posted"),
        pytest.param([100, 100], [(0, 100)], id="posted twice"),
        pytest.param([60, 40], [(100, 60), (0, 40)], id="posted in parts"),
        pytest.param([99], [(100, 99)], id="posted with other points"),
    ],
)
def test_an_order_posts_what_it_earned_once(
    posted: list[int], mismatches: list[tuple[int, int]]
) -> None:
    ledger = Ledger(orders=(Order("earned", 100),))
    for points in posted:
        posting = award(ledger.points_balance, points, f"lot-{len(ledger.lots)}")
        ledger = replace(ledger.after(posting, Order("earned", points)), orders=ledger.orders)
    assert ledger.violations() == [
        Violation(Invariant.ORDER_IS_POSTED_ONCE, "order", "earned", *mismatch)
        for mismatch in mismatches
    ]


def test_an_order_that_earned_nothing_posts_nothing() -> None:
    ledger = replace(HONEST, orders=(Order("earned", 0),))
    assert ledger.violations() == [
        Violation(Invariant.ORDER_IS_POSTED_ONCE, "order", "earned", 0, 100)
    ]


def test_points_for_an_order_that_is_not_there_are_found() -> None:
    assert replace(HONEST, orders=()).violations() == [
        Violation(Invariant.ORDER_IS_POSTED_ONCE, "order", "earned", 0, 100)
    ]


def test_an_order_never_spends() -> None:
    spent = replace(SPENT, order="earned")
    assert with_transactions(FIRST, SECOND, spent).violations() == [
        Violation(Invariant.ORDER_IS_POSTED_ONCE, "order", "earned", 0, -120)
    ]


@given(ledgers(), st.data())
def test_a_transaction_dropped_from_any_ledger_is_found(
    ledger: Ledger, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(ledger.transactions) - 1))
    rest = ledger.transactions[:at] + ledger.transactions[at + 1 :]
    found = invariants_by_resource(replace(ledger, transactions=rest).violations())
    awarded = ledger.transactions[at].kind is Kind.AWARD
    of_kind = Invariant[f"{'ISSUED' if awarded else 'REDEEMED'}_IS_SUM_OF_ENTRIES"]
    assert (of_kind, "member", MEMBER) in found
    assert (Invariant.BALANCE_IS_SUM_OF_ENTRIES, "member", MEMBER) in found
    for lot in {entry.lot for entry in ledger.transactions[at].entries if entry.lot}:
        assert (Invariant.LOT_IS_SUM_OF_ENTRIES, "lot", lot) in found


@given(ledgers(), st.data())
def test_a_lot_dropped_from_any_ledger_is_found(ledger: Ledger, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(ledger.lots) - 1))
    rest = ledger.lots[:at] + ledger.lots[at + 1 :]
    found = invariants_by_resource(replace(ledger, lots=rest).violations())
    assert (Invariant.LOT_WITHIN_ISSUE, "lot", ledger.lots[at].id) in found
