"""All that the database of a loyalty service holds, and what must hold of it."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from sqlalchemy import Table, create_engine, func, select

from services.loyalty.rules.ledger import Account, Kind
from services.loyalty.schema import (
    chassis,
    ledger_entries,
    ledger_transactions,
    lots,
    members,
    orders,
)
from tests.harness.waiting import until
from vafa.events.v1 import events_pb2

Key = tuple[str, str, str]


class Books:
    """The rows of a database at one moment at which nobody writes, once all events have places."""

    def __init__(self, database_url: str) -> None:
        engine = create_engine(database_url)
        outbox = chassis.outbox
        unnumbered = select(func.count()).where(outbox.c.position.is_(None))
        with engine.connect() as connection:

            def read(table: Table) -> list[Any]:
                return list(connection.execute(select(table)))

            def numbered() -> bool:
                with connection.begin():
                    return connection.execute(unnumbered).scalar_one() == 0

            until(numbered, "all events have positions")
            self.members = {(row.program_id, row.member_id): row for row in read(members)}
            self.transactions = {_key(row): row for row in read(ledger_transactions)}
            self.entries = read(ledger_entries)
            self.lots = read(lots)
            self.orders = {(row.program_id, row.order_id): row for row in read(orders)}
            self.answers = {(row.method, row.request_id): row for row in read(chassis.idempotency)}
            self.audit = read(chassis.audit)
            self.events = sorted(read(outbox), key=lambda row: row.position)
            (self.store,) = read(chassis.store)
        engine.dispose()
        self.told = [events_pb2.Event.FromString(row.payload) for row in self.events]

    def require_right(self) -> None:
        """Fail unless all that must hold of any ledger and any feed does."""
        self._require_sums()
        self._require_lots()
        self._require_orders()
        self._require_feed()
        self._require_order_of_commits()

    def _require_sums(self) -> None:
        by_transaction: Counter[Key] = Counter()
        by_member: Counter[tuple[str, str]] = Counter()
        for entry in self.entries:
            by_transaction[_key(entry)] += entry.points
            if entry.account == Account.AVAILABLE:
                by_member[entry.program_id, entry.member_id] += entry.points
        assert by_transaction.keys() == self.transactions.keys()
        assert not any(by_transaction.values())
        held: Counter[tuple[str, str]] = Counter()
        for lot in self.lots:
            held[lot.program_id, lot.member_id] += lot.points_remaining
        balances = {key: row.points_balance for key, row in self.members.items()}
        assert balances == {key: by_member[key] for key in balances}
        assert balances == {key: held[key] for key in balances}

    def _require_lots(self) -> None:
        assert all(0 <= lot.points_remaining <= lot.points_issued for lot in self.lots)
        awards = {key for key, row in self.transactions.items() if row.kind == Kind.AWARD}
        assert Counter(map(_key, self.lots)) == Counter(awards)

    def _require_orders(self) -> None:
        earned = {key: row.points_earned for key, row in self.orders.items() if row.points_earned}
        posted = [row for row in self.transactions.values() if row.order_id]
        assert len(posted) == len(earned)
        assert {(row.program_id, row.order_id): row.points for row in posted} == earned
        bought = {(row.program_id, row.member_id) for row in self.orders.values()}
        assert bought <= self.members.keys()

    def _require_feed(self) -> None:
        positions = [row.position for row in self.events]
        assert positions == list(range(1, len(positions) + 1))
        assert self.store.head_position == len(positions)
        events = Counter((event.request_id, event.type, event.subject) for event in self.told)
        audit = Counter((row.request_id, row.action, row.resource) for row in self.audit)
        assert events == audit
        posted = Counter(
            event.related["ledger_transaction"]
            for event in self.told
            if "ledger_transaction" in event.related
        )
        names = map(transaction_name, self.transactions.values())
        assert posted == Counter(names)
        created = Counter(event.subject for event in self.told if event.type.endswith(".created"))
        assert created == Counter(
            [
                *(f"programs/{program_id}" for program_id in {key[0] for key in self.members}),
                *(f"programs/{p}/members/{m}" for p, m in self.members),
                *(f"programs/{p}/orders/{o}" for p, o in self.orders),
            ]
        )

    def _require_order_of_commits(self) -> None:
        """Fail unless the events of each member tell of balances as one came after the other."""
        by_name = {transaction_name(row): row for row in self.transactions.values()}
        balances: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for event in self.told:
            if row := by_name.get(event.related.get("ledger_transaction", "")):
                moved = row.points if row.kind == Kind.AWARD else -row.points
                balances[event.subject].append((row.points_balance - moved, row.points_balance))
        for member, steps in balances.items():
            _, program_id, _, member_id = member.split("/")
            chain = [(0, 0), *steps]
            assert all(before[1] == after[0] for before, after in pairwise(chain)), member
            assert chain[-1][1] == self.members[program_id, member_id].points_balance

    def since(self, earlier: "Books") -> "News":
        """Return what came since; fails if anything that never changes has changed."""
        for name in ("transactions", "orders", "answers"):
            before, now = getattr(earlier, name), getattr(self, name)
            assert {key: now[key] for key in before} == before, name
        assert self.events[: len(earlier.events)] == earlier.events
        return News(self, earlier)


class News:
    """What came into the books of a database between two moments."""

    def __init__(self, now: Books, earlier: Books) -> None:
        self.answers = _new(now.answers, earlier.answers)
        self.transactions = {
            transaction_name(row): row
            for row in _new(now.transactions, earlier.transactions).values()
        }
        self.orders = {
            f"programs/{row.program_id}/orders/{row.order_id}": row
            for row in _new(now.orders, earlier.orders).values()
        }
        self.told = now.told[len(earlier.told) :]


def transaction_name(row: Any) -> str:
    """Return the resource name of a ledger transaction."""
    program_id, member_id, id_ = _key(row)
    return f"programs/{program_id}/members/{member_id}/ledgerTransactions/{id_}"


def _key(row: Any) -> Key:
    return row.program_id, row.member_id, row.ledger_transaction_id


def _new(now: dict[Any, Any], earlier: Iterable[Any]) -> dict[Any, Any]:
    return {key: now[key] for key in now.keys() - set(earlier)}
