"""Points in double entry: how they are awarded and spent, and what must hold of them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import zip_longest
from typing import Final, Literal

MAX_POINTS_BALANCE: Final = 9_000_000_000_000_000


class Account(IntEnum):
    """Whose points; the numbers are those of the contract."""

    AVAILABLE = 1
    ISSUED = 2
    REDEEMED = 3


class Kind(IntEnum):
    """Why points move; the numbers are those of the contract."""

    AWARD = 1
    SPEND = 2


class Invariant(IntEnum):
    """What must hold of a ledger; the numbers are those of the contract."""

    TRANSACTION_SUMS_TO_ZERO = 1
    BALANCE_IS_SUM_OF_ENTRIES = 2
    BALANCE_IS_SUM_OF_LOTS = 3
    LOT_IS_SUM_OF_ENTRIES = 4
    LOT_WITHIN_ISSUE = 5
    ORDER_IS_POSTED_ONCE = 6
    TRANSACTION_MATCHES_KIND = 7
    ISSUED_IS_SUM_OF_ENTRIES = 8
    REDEEMED_IS_SUM_OF_ENTRIES = 9


@dataclass(frozen=True)
class Lot:
    """The points of one award: how many it began with, and how many of them are left."""

    id: str
    points_issued: int
    points_remaining: int


@dataclass(frozen=True)
class Entry:
    """Points that come into an account or, below zero, go out; a lot only where AVAILABLE."""

    account: Account
    points: int
    lot: str | None


@dataclass(frozen=True)
class Posting:
    """A movement of points, and what it leaves: the balance, and the lots it made or changed."""

    kind: Kind
    points: int
    entries: tuple[Entry, ...]
    balance_after: int
    lots: tuple[Lot, ...]


@dataclass(frozen=True)
class Transaction:
    """A posting as the ledger keeps it; `order` is the order that earned the points, if any."""

    id: str
    kind: Kind
    points: int
    entries: tuple[Entry, ...]
    order: str | None


@dataclass(frozen=True)
class Order:
    """What the ledger must know of an order."""

    id: str
    points_earned: int


@dataclass(frozen=True)
class Member:
    """What is kept of a member: the balance, and all points ever awarded and ever spent."""

    id: str
    points_balance: int
    points_issued: int
    points_redeemed: int


@dataclass(frozen=True)
class Violation:
    """Where an invariant does not hold: the points that were expected, and those found."""

    invariant: Invariant
    resource_kind: Literal["member", "lot", "order", "transaction"]
    resource_id: str
    expected: int
    found: int


class PostingRefused(Exception):
    """The balance does not allow the posting."""

    def __init__(self, points_balance: int, asked: int) -> None:
        super().__init__(f"balance of {points_balance} points, asked for {asked}")
        self.points_balance = points_balance
        self.asked = asked


class BalanceLimitReached(PostingRefused):
    """The balance would pass MAX_POINTS_BALANCE."""


class InsufficientPoints(PostingRefused):
    """The balance is lower than what is to be spent."""


class LedgerCorrupt(Exception):
    """The lots do not hold the balance: a defect, never the caller's doing."""

    def __init__(self, points_balance: int, points_in_lots: int) -> None:
        super().__init__(
            f"lots of {points_in_lots} points do not hold the balance of {points_balance}"
        )
        self.points_balance = points_balance
        self.points_in_lots = points_in_lots


def award(points_balance: int, points: int, lot: str) -> Posting:
    """Return the posting that awards points, above zero, into the new lot.

    Raises BalanceLimitReached.
    """
    _require_points(points)
    if points_balance + points > MAX_POINTS_BALANCE:
        raise BalanceLimitReached(points_balance, points)
    return Posting(
        kind=Kind.AWARD,
        points=points,
        entries=(Entry(Account.AVAILABLE, points, lot), Entry(Account.ISSUED, -points, None)),
        balance_after=points_balance + points,
        lots=(Lot(lot, points_issued=points, points_remaining=points),),
    )


def spend(points_balance: int, lots: Sequence[Lot], points: int) -> Posting:
    """Return the posting that spends points, above zero, from the lots in the order given.

    The lots are all that have points left; empty ones among them are passed over. Raises
    LedgerCorrupt if they do not hold the balance, and InsufficientPoints.
    """
    _require_points(points)
    points_in_lots = sum(lot.points_remaining for lot in lots)
    if points_in_lots != points_balance or any(lot.points_remaining < 0 for lot in lots):
        raise LedgerCorrupt(points_balance, points_in_lots)
    if points > points_balance:
        raise InsufficientPoints(points_balance, points)
    entries = []
    changed = []
    missing = points
    for lot in lots:
        if missing == 0:
            break
        taken = min(lot.points_remaining, missing)
        if taken == 0:
            continue
        entries.append(Entry(Account.AVAILABLE, -taken, lot.id))
        changed.append(Lot(lot.id, lot.points_issued, lot.points_remaining - taken))
        missing -= taken
    entries.append(Entry(Account.REDEEMED, points, None))
    return Posting(
        kind=Kind.SPEND,
        points=points,
        entries=tuple(entries),
        balance_after=points_balance - points,
        lots=tuple(changed),
    )


def violations(
    member: Member,
    lots: Sequence[Lot],
    transactions: Sequence[Transaction],
    orders: Sequence[Order],
) -> list[Violation]:
    """Return every disagreement in the whole ledger of one member; none if it is right.

    A lot or an order that is named in a transaction but missing counts as one of 0 points.
    """
    return [
        *(found for each in transactions for found in _in_transaction(each)),
        *_in_lots(lots, transactions),
        *_in_orders(orders, transactions),
        *_in_sums(member, lots, transactions),
    ]


def _require_points(points: int) -> None:
    if points <= 0:
        raise ValueError(f"a posting moves points above zero, not {points}")


def _in_transaction(transaction: Transaction) -> Iterator[Violation]:
    def mismatch(expected: int, found: int) -> Violation:
        return Violation(
            Invariant.TRANSACTION_MATCHES_KIND, "transaction", transaction.id, expected, found
        )

    total = sum(entry.points for entry in transaction.entries)
    if total != 0:
        yield Violation(Invariant.TRANSACTION_SUMS_TO_ZERO, "transaction", transaction.id, 0, total)
    points = transaction.points
    if points <= 0:
        yield mismatch(1, points)  # one point is the least that moves
    awarded = transaction.kind is Kind.AWARD
    for account, expected in (
        (Account.AVAILABLE, points if awarded else -points),
        (Account.ISSUED, -points if awarded else 0),
        (Account.REDEEMED, 0 if awarded else points),
    ):
        entries = [entry for entry in transaction.entries if entry.account is account]
        found = sum(entry.points for entry in entries)
        if found != expected:
            yield mismatch(expected, found)
            continue
        # The sum may be right although its parts are not.
        from_lots = account is Account.AVAILABLE and not awarded
        for entry in entries:
            belongs = entry.points < 0 if from_lots else entry.points == expected
            if not belongs:
                yield mismatch(expected, entry.points)
            elif (entry.lot is None) is (account is Account.AVAILABLE):
                yield mismatch(0, entry.points)


def _in_lots(lots: Iterable[Lot], transactions: Iterable[Transaction]) -> Iterator[Violation]:
    issued: Counter[str] = Counter()
    remaining: Counter[str] = Counter()
    for transaction in transactions:
        for entry in transaction.entries:
            if entry.account is Account.AVAILABLE and entry.lot is not None:
                remaining[entry.lot] += entry.points
                if transaction.kind is Kind.AWARD:
                    issued[entry.lot] += entry.points
    kept = {lot.id: lot for lot in lots}
    missing = {lot_id: Lot(lot_id, 0, 0) for lot_id in remaining if lot_id not in kept}
    for lot in (kept | missing).values():
        if lot.points_remaining != remaining[lot.id]:
            yield Violation(
                Invariant.LOT_IS_SUM_OF_ENTRIES,
                "lot",
                lot.id,
                remaining[lot.id],
                lot.points_remaining,
            )
        if lot.points_issued != issued[lot.id]:
            yield Violation(
                Invariant.LOT_WITHIN_ISSUE, "lot", lot.id, issued[lot.id], lot.points_issued
            )
        nearest = max(0, min(lot.points_remaining, lot.points_issued))
        if lot.points_remaining != nearest:
            yield Violation(
                Invariant.LOT_WITHIN_ISSUE, "lot", lot.id, nearest, lot.points_remaining
            )


def _in_orders(orders: Iterable[Order], transactions: Iterable[Transaction]) -> Iterator[Violation]:
    posted: defaultdict[str, list[int]] = defaultdict(list)
    for transaction in transactions:
        if transaction.order is not None:
            awarded = transaction.kind is Kind.AWARD
            posted[transaction.order].append(transaction.points if awarded else -transaction.points)
    earned = dict.fromkeys(posted, 0) | {each.id: each.points_earned for each in orders}
    for order_id, points_earned in earned.items():
        # Of several postings the first is the one, and nothing is expected of the others.
        for expected, found in zip_longest([points_earned], posted[order_id], fillvalue=0):
            if found != expected:
                yield Violation(Invariant.ORDER_IS_POSTED_ONCE, "order", order_id, expected, found)


def _in_sums(
    member: Member, lots: Iterable[Lot], transactions: Iterable[Transaction]
) -> Iterator[Violation]:
    of_accounts: Counter[Account] = Counter()
    for transaction in transactions:
        for entry in transaction.entries:
            of_accounts[entry.account] += entry.points
    of_lots = sum(lot.points_remaining for lot in lots)
    for invariant, expected, found in (
        (
            Invariant.BALANCE_IS_SUM_OF_ENTRIES,
            of_accounts[Account.AVAILABLE],
            member.points_balance,
        ),
        (Invariant.BALANCE_IS_SUM_OF_LOTS, of_lots, member.points_balance),
        (Invariant.ISSUED_IS_SUM_OF_ENTRIES, -of_accounts[Account.ISSUED], member.points_issued),
        (
            Invariant.REDEEMED_IS_SUM_OF_ENTRIES,
            of_accounts[Account.REDEEMED],
            member.points_redeemed,
        ),
    ):
        if found != expected:
            yield Violation(invariant, "member", member.id, expected, found)
