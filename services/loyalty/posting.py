"""Posts movements of points: the rules decide, and here it is written."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.chassis.identifiers import id_of, new_uid, uid_of
from services.chassis.rows import Row, insert_rows, update_rows
from services.chassis.transaction import Transaction
from services.loyalty import errors, queries
from services.loyalty.resources import LEDGER_TRANSACTION, LOT, MEMBER
from services.loyalty.rules import ledger
from services.loyalty.schema import ledger_entries, ledger_transactions, lots
from vafa.loyalty.v1 import ledger_pb2


@dataclass(frozen=True)
class Award:
    """Points for a member, and why; `field` of the request asks for them."""

    member_id: str
    points: int
    reason: str
    field: str
    order_id: str | None = None


@dataclass(frozen=True)
class Posted:
    """A decided posting with its ids, ready to be written."""

    row: dict[str, Any]
    posting: ledger.Posting

    def entries(self) -> list[Row]:
        """Return the rows of its entries."""
        key = {name: self.row[name] for name in LEDGER_TRANSACTION.keys}
        return [
            {
                **key,
                "ordinal": n,
                "account": entry.account.value,
                "lot_id": entry.lot,
                "points": entry.points,
            }
            for n, entry in enumerate(self.posting.entries)
        ]


def award_points(
    transaction: Transaction,
    program_id: str,
    members: dict[str, Row],
    awards: Sequence[Award],
) -> list[ledger_pb2.LedgerTransaction]:
    """Post awards to locked members, one statement a table; raises BalanceLimitReached."""
    balances = {id_: row["points_balance"] for id_, row in members.items()}
    posted: list[Posted] = []
    for award in awards:
        try:
            lot = id_of(new_uid())
            posting = ledger.award(balances[award.member_id], award.points, lot)
        except ledger.BalanceLimitReached as error:
            name = MEMBER.name_of(members[award.member_id])
            refusal = errors.BalanceLimitReached(
                award.field, name, error.points_balance, error.asked
            )
            raise refusal from None
        balances[award.member_id] = posting.balance_after
        member = members[award.member_id]
        posted.append(_posted(transaction, member, posting, award.reason, award.order_id))
    _write(transaction, posted)
    insert_rows(
        transaction.connection,
        lots,
        [
            {
                "program_id": program_id,
                "member_id": one.row["member_id"],
                "lot_id": lot.id,
                "uid": str(uid_of(lot.id)),
                "create_time": transaction.now,
                "points_issued": lot.points_issued,
                "points_remaining": lot.points_remaining,
                "ledger_transaction_id": one.row["ledger_transaction_id"],
            }
            for one in posted
            for lot in one.posting.lots
        ],
    )
    queries.set_balances(
        transaction.connection,
        program_id,
        {award.member_id: balances[award.member_id] for award in awards},
    )
    return [_tell(transaction, one, "points.awarded") for one in posted]


def spend_points(
    transaction: Transaction, member: Row, points: int, reason: str
) -> ledger_pb2.LedgerTransaction:
    """Post a spending of a locked member; raises InsufficientPoints."""
    program_id, member_id = member["program_id"], member["member_id"]
    rows = queries.open_lots(transaction.connection, program_id, member_id)
    held = [
        ledger.Lot(row["lot_id"], row["points_issued"], row["points_remaining"]) for row in rows
    ]
    try:
        posting = ledger.spend(member["points_balance"], held, points)
    except ledger.InsufficientPoints as error:
        name = MEMBER.name_of(member)
        raise errors.InsufficientPoints("points", name, error.points_balance, error.asked) from None
    posted = _posted(transaction, member, posting, reason)
    _write(transaction, [posted])
    left = [
        {
            "program_id": program_id,
            "member_id": member_id,
            "lot_id": lot.id,
            "points_remaining": lot.points_remaining,
        }
        for lot in posting.lots
    ]
    update_rows(transaction.connection, lots, LOT.keys, left)
    balance = {member_id: posting.balance_after}
    queries.set_balances(transaction.connection, program_id, balance)
    return _tell(transaction, posted, "points.spent")


def _posted(
    transaction: Transaction,
    member: Row,
    posting: ledger.Posting,
    reason: str,
    order_id: str | None = None,
) -> Posted:
    uid = new_uid()
    row = {
        "program_id": member["program_id"],
        "member_id": member["member_id"],
        "ledger_transaction_id": id_of(uid),
        "uid": str(uid),
        "create_time": transaction.now,
        "kind": posting.kind.value,
        "points": posting.points,
        "reason": reason,
        "order_id": order_id,
        "principal": transaction.principal,
        "points_balance": posting.balance_after,
    }
    return Posted(row, posting)


def _write(transaction: Transaction, posted: Sequence[Posted]) -> None:
    insert_rows(transaction.connection, ledger_transactions, [one.row for one in posted])
    entries = [entry for one in posted for entry in one.entries()]
    insert_rows(transaction.connection, ledger_entries, entries)


def _tell(
    transaction: Transaction, posted: Posted, event_type: str
) -> ledger_pb2.LedgerTransaction:
    message = to_message(posted.row, posted.entries())
    related = {"ledger_transaction": message.name}
    if message.order:
        related["order"] = message.order
    transaction.changed(event_type, MEMBER.name_of(posted.row), related=related)
    return message


def to_message(row: Row, entries: Sequence[Row]) -> ledger_pb2.LedgerTransaction:
    """Return the message of a ledger transaction and its entries."""
    message = LEDGER_TRANSACTION.to_message(row)
    for entry in entries:
        message.entries.add(
            account=entry["account"],
            lot=LOT.name_of(entry) if entry["lot_id"] else "",
            points=entry["points"],
        )
    return message
