"""Postings of points: the rules decide them, and here they become rows, events and answers."""

from collections.abc import Iterable

from services.chassis.identifiers import id_of, new_uid, uid_of
from services.chassis.rows import Row
from services.chassis.writes import Writes
from services.loyalty import errors
from services.loyalty.points import MemberPoints
from services.loyalty.resources import LEDGER_TRANSACTION, member_name
from services.loyalty.rules import ledger
from services.loyalty.schema import ledger_entries, ledger_transactions, lots, members
from vafa.loyalty.v1 import ledger_pb2

EVENTS = {ledger.Kind.AWARD: "points.awarded", ledger.Kind.SPEND: "points.spent"}


def decide_award(member: MemberPoints, points: int, field: str) -> ledger.Posting:
    """Return the posting of an award; raises BalanceLimitReached for the field that asks."""
    try:
        return ledger.award(member.points_balance, points, id_of(new_uid()))
    except ledger.BalanceLimitReached as error:
        raise errors.BalanceLimitReached(
            field, member.name, error.points_balance, error.asked
        ) from None


def decide_spending(member: MemberPoints, points: int) -> ledger.Posting:
    """Return the posting of a spending of a member with all open lots.

    Raises InsufficientPoints.
    """
    try:
        return ledger.spend(member.points_balance, member.open_lots, points)
    except ledger.InsufficientPoints as error:
        raise errors.InsufficientPoints(
            "points", member.name, error.points_balance, error.asked
        ) from None


def post(
    writes: Writes,
    member: MemberPoints,
    posting: ledger.Posting,
    reason: str,
    order_id: str | None = None,
) -> ledger_pb2.LedgerTransaction:
    """Post to a member what was decided on the points of the moment, and tell of it."""
    member.apply(posting)
    uid = new_uid()
    member_key = {"program_id": member.program_id, "member_id": member.member_id}
    key = {**member_key, "ledger_transaction_id": id_of(uid)}
    row = {
        **key,
        "uid": str(uid),
        "create_time": writes.now,
        "kind": int(posting.kind),
        "points": posting.points,
        "reason": reason,
        "order_id": order_id,
        "principal": writes.principal,
        "points_balance": posting.balance_after,
    }
    entries = [
        {
            **key,
            "ordinal": n,
            "account": int(entry.account),
            "lot_id": entry.lot,
            "points": entry.points,
        }
        for n, entry in enumerate(posting.entries)
    ]
    writes.insert(ledger_transactions, row)
    writes.insert(ledger_entries, *entries)
    if posting.kind is ledger.Kind.AWARD:
        writes.insert(lots, *(_new_lot(writes, key, lot) for lot in posting.lots))
    else:
        for lot in posting.lots:
            left = {"points_remaining": lot.points_remaining}
            writes.update(lots, {**member_key, "lot_id": lot.id}, left)
    sums = {
        "points_balance": member.points_balance,
        "points_issued": member.points_issued,
        "points_redeemed": member.points_redeemed,
    }
    writes.update(members, member_key, sums)
    message = to_message(row, entries)
    related = {"ledger_transaction": message.name}
    if order_id:
        related["order"] = message.order
    writes.changed(EVENTS[posting.kind], member.name, related=related)
    return message


def _new_lot(writes: Writes, transaction_key: Row, lot: ledger.Lot) -> Row:
    return {
        **transaction_key,
        "lot_id": lot.id,
        "uid": str(uid_of(lot.id)),
        "create_time": writes.now,
        "points_issued": lot.points_issued,
        "points_remaining": lot.points_remaining,
    }


def to_message(row: Row, entries: Iterable[Row]) -> ledger_pb2.LedgerTransaction:
    """Return the message of a ledger transaction and its entries."""
    message = LEDGER_TRANSACTION.to_message(row)
    lot_names = f"{member_name(row)}/lots/"
    for entry in entries:
        lot_id = entry["lot_id"]
        message.entries.add(
            account=entry["account"],
            lot=lot_names + lot_id if lot_id else "",
            points=entry["points"],
        )
    return message
