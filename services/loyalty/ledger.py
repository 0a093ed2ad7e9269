"""Serves the ledger."""

from collections.abc import Sequence
from typing import Any

from google.longrunning import operations_pb2
from sqlalchemy import Connection

from services.chassis.call import Call
from services.chassis.database import Database
from services.chassis.errors import InvalidField, ResourceNotFound
from services.chassis.operations import Operations
from services.chassis.pages import Page, PageQuery, page
from services.chassis.rows import Row
from services.chassis.standard import refuse_inner_request_ids
from services.chassis.steps import get, require_parent
from services.chassis.transaction import Transaction
from services.loyalty import queries
from services.loyalty.posting import Award, award_points, spend_points, to_message
from services.loyalty.resources import LEDGER_TRANSACTION, LOT, MEMBER, PROGRAM
from services.loyalty.verification import KIND
from vafa.loyalty.v1 import ledger_pb2


class Ledger:
    """Serves vafa.loyalty.v1.LedgerService."""

    def __init__(self, database: Database, operations: Operations) -> None:
        self._database = database
        self._operations = operations

    async def AwardPoints(
        self, request: ledger_pb2.AwardPointsRequest, call: Call
    ) -> ledger_pb2.LedgerTransaction:
        """Award points to one member."""

        def work(transaction: Transaction) -> ledger_pb2.LedgerTransaction:
            program_id = MEMBER.key_of(request.member)["program_id"]
            return _award(transaction, program_id, [request], [""])[0]

        return await self._database.write(call, work)

    async def BatchAwardPoints(
        self, request: ledger_pb2.BatchAwardPointsRequest, call: Call
    ) -> ledger_pb2.BatchAwardPointsResponse:
        """Award points to several members."""
        refuse_inner_request_ids(request)
        _refuse_other_programs(request)
        paths = [f"requests[{n}]." for n in range(len(request.requests))]

        def work(transaction: Transaction) -> ledger_pb2.BatchAwardPointsResponse:
            program = get(transaction.connection, PROGRAM, request.parent)
            posted = _award(transaction, program["program_id"], request.requests, paths)
            return ledger_pb2.BatchAwardPointsResponse(ledger_transactions=posted)

        return await self._database.write(call, work)

    async def SpendPoints(
        self, request: ledger_pb2.SpendPointsRequest, call: Call
    ) -> ledger_pb2.LedgerTransaction:
        """Spend points of one member."""

        def work(transaction: Transaction) -> ledger_pb2.LedgerTransaction:
            member = get(transaction.connection, MEMBER, request.member, lock=True)
            return spend_points(transaction, member, request.points, request.reason)

        return await self._database.write(call, work)

    async def GetBalance(
        self, request: ledger_pb2.GetBalanceRequest, _call: Call
    ) -> ledger_pb2.Balance:
        """Get the balance of a member over one state of the database."""
        return await self._database.snapshot(lambda c: _balance(c, request.name))

    async def ListLots(
        self, request: ledger_pb2.ListLotsRequest, _call: Call
    ) -> ledger_pb2.ListLotsResponse:
        """List the lots of a member."""

        found = await self._database.read(lambda c: self._page(c, LOT, request))
        return ledger_pb2.ListLotsResponse(
            lots=[LOT.to_message(row) for row in found.rows],
            next_page_token=found.next_page_token,
        )

    async def ListLedgerTransactions(
        self, request: ledger_pb2.ListLedgerTransactionsRequest, _call: Call
    ) -> ledger_pb2.ListLedgerTransactionsResponse:
        """List the transactions of a member, of a programme, or of one contact's members."""
        return await self._database.snapshot(lambda c: self._transactions(c, request))

    def _transactions(
        self, connection: Connection, request: ledger_pb2.ListLedgerTransactionsRequest
    ) -> ledger_pb2.ListLedgerTransactionsResponse:
        found = self._page(connection, LEDGER_TRANSACTION, request)
        entries = queries.entries_of(connection, found.rows)

        def of(row: Row) -> list[Row]:
            key = (row["program_id"], row["member_id"], row["ledger_transaction_id"])
            return entries[key]

        return ledger_pb2.ListLedgerTransactionsResponse(
            ledger_transactions=[to_message(row, of(row)) for row in found.rows],
            next_page_token=found.next_page_token,
        )

    def _page(self, connection: Connection, resource: Any, request: Any) -> Page:
        query = PageQuery.of(request, require_parent(connection, MEMBER, request.parent))
        return page(connection, resource, query, self._database.store.page_token_key)

    async def VerifyLedger(
        self, request: ledger_pb2.VerifyLedgerRequest, call: Call
    ) -> operations_pb2.Operation:
        """Start the verification of a programme's ledger."""

        def work(transaction: Transaction) -> operations_pb2.Operation:
            get(transaction.connection, PROGRAM, request.parent)
            metadata = ledger_pb2.VerifyLedgerMetadata()
            return self._operations.start(transaction, KIND, request, metadata)

        return await self._database.write(call, work)


def _award(
    transaction: Transaction,
    program_id: str,
    requests: Sequence[ledger_pb2.AwardPointsRequest],
    paths: Sequence[str],
) -> list[ledger_pb2.LedgerTransaction]:
    awards = [
        Award(MEMBER.key_of(one.member)["member_id"], one.points, one.reason, f"{path}points")
        for one, path in zip(requests, paths, strict=True)
    ]
    ids = [award.member_id for award in awards]
    members = queries.lock_members(transaction.connection, program_id, ids)
    for one, award in zip(requests, awards, strict=True):
        if award.member_id not in members:
            raise ResourceNotFound(one.member)
    return award_points(transaction, program_id, members, awards)


def _refuse_other_programs(request: ledger_pb2.BatchAwardPointsRequest) -> None:
    violations = [
        (f"requests[{n}].member", f"is not of {request.parent}")
        for n, single in enumerate(request.requests)
        if not single.member.startswith(f"{request.parent}/")
    ]
    if violations:
        raise InvalidField("a member of another programme", violations=violations)


def _balance(connection: Connection, name: str) -> ledger_pb2.Balance:
    member = get(connection, MEMBER, name.removesuffix("/balance"))
    sums = queries.points_of_member(connection, member["program_id"], member["member_id"])
    return ledger_pb2.Balance(
        name=name,
        points_balance=member["points_balance"],
        points_issued=sums.issued,
        points_redeemed=sums.redeemed,
    )
