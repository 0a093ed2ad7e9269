"""Verifies the ledger of a programme against what its entries say."""

from sqlalchemy import Connection

from services.chassis.database import Database
from services.chassis.operations import Kind, Progress
from services.chassis.rows import Row
from services.chassis.steps import get
from services.loyalty import queries
from services.loyalty.resources import LEDGER_TRANSACTION, LOT, MEMBER, ORDER, PROGRAM
from services.loyalty.rules import ledger
from vafa.loyalty.v1 import ledger_pb2

KIND = "verify-ledger"
CHUNK = 500
TOLD = 1000


def verification(database: Database) -> Kind:
    """Return the kind of operation that verifies a ledger."""

    async def run(
        request: ledger_pb2.VerifyLedgerRequest, progress: Progress
    ) -> ledger_pb2.VerifyLedgerResponse:
        return await database.bulk_snapshot(lambda c: _verify(c, request.parent, progress))

    return Kind(ledger_pb2.VerifyLedgerRequest, run)


def _verify(
    connection: Connection, program_name: str, progress: Progress
) -> ledger_pb2.VerifyLedgerResponse:
    program_id = get(connection, PROGRAM, program_name)["program_id"]
    count = queries.count_members(connection, program_id)
    response = ledger_pb2.VerifyLedgerResponse()
    after = ""
    while True:
        checked = response.members_checked
        progress(ledger_pb2.VerifyLedgerMetadata(members_checked=checked, members_count=count))
        records = queries.records_of_members(connection, program_id, after, CHUNK)
        if not records.members:
            return response
        for member in records.members:
            _verify_member(member, records, response)
        after = records.members[-1]["member_id"]


def _verify_member(
    member: Row, records: queries.MemberRecords, response: ledger_pb2.VerifyLedgerResponse
) -> None:
    id_ = member["member_id"]
    entries: dict[str, list[ledger.Entry]] = {}
    for row in sorted(records.entries[id_], key=lambda row: row["ordinal"]):
        entry = ledger.Entry(ledger.Account(row["account"]), row["points"], row["lot_id"])
        entries.setdefault(row["ledger_transaction_id"], []).append(entry)
    transactions = [
        ledger.Transaction(
            row["ledger_transaction_id"],
            ledger.Kind(row["kind"]),
            row["points"],
            tuple(entries.pop(row["ledger_transaction_id"], ())),
            row["order_id"],
        )
        for row in records.transactions[id_]
    ]
    held = [
        ledger.Lot(row["lot_id"], row["points_issued"], row["points_remaining"])
        for row in records.lots[id_]
    ]
    bought = [ledger.Order(row["order_id"], row["points_earned"]) for row in records.orders[id_]]
    kept = ledger.Member(
        id_, member["points_balance"], member["points_issued"], member["points_redeemed"]
    )
    found = ledger.violations(kept, held, transactions, bought)
    response.members_checked += 1
    response.ledger_transactions_checked += len(transactions)
    response.entries_checked += len(records.entries[id_])
    response.lots_checked += len(held)
    response.orders_checked += len(bought)
    response.violations_count += len(found)
    for violation in found[: TOLD - len(response.violations)]:
        response.violations.add(
            invariant=violation.invariant.value,
            resource=_name(member, violation),
            expected=violation.expected,
            found=violation.found,
        )


def _name(member: Row, violation: ledger.Violation) -> str:
    key = (member["program_id"], member["member_id"])
    names = {
        "member": MEMBER.pattern.format(key),
        "lot": LOT.pattern.format((*key, violation.resource_id)),
        "transaction": LEDGER_TRANSACTION.pattern.format((*key, violation.resource_id)),
        "order": ORDER.pattern.format((key[0], violation.resource_id)),
    }
    return names[violation.resource_kind]
