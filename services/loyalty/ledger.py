"""Serves the ledger."""

from typing import Any

from google.longrunning import operations_pb2
from sqlalchemy import Connection

from services.chassis.call import Call
from services.chassis.database import Database
from services.chassis.errors import InvalidField, Refusal, ResourceNotFound
from services.chassis.operations import Operations
from services.chassis.pages import Page, PageQuery, page
from services.chassis.rows import Row
from services.chassis.standard import refuse_inner_request_ids
from services.chassis.steps import get, require_parent
from services.chassis.transaction import Transaction
from services.loyalty import queries
from services.loyalty.movements import AWARD_POINTS, SPEND_POINTS
from services.loyalty.posting import to_message
from services.loyalty.resources import BALANCE, LEDGER_TRANSACTION, LOT, MEMBER, PROGRAM
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
        return await self._database.batch(call, AWARD_POINTS, request)

    async def BatchAwardPoints(
        self, request: ledger_pb2.BatchAwardPointsRequest, call: Call
    ) -> ledger_pb2.BatchAwardPointsResponse:
        """Award points to several members."""
        refuse_inner_request_ids(request)
        _refuse_other_programs(request)

        def work(transaction: Transaction) -> ledger_pb2.BatchAwardPointsResponse:
            get(transaction.connection, PROGRAM, request.parent)
            members = AWARD_POINTS.gather(transaction.connection, request.requests)
            response = ledger_pb2.BatchAwardPointsResponse()
            for n, one in enumerate(request.requests):
                try:
                    posted = AWARD_POINTS.decide(members, one, transaction)
                except Refusal as refusal:
                    raise refusal.under(f"requests[{n}].") from None
                response.ledger_transactions.append(posted)
            return response

        return await self._database.write(call, work)

    async def SpendPoints(
        self, request: ledger_pb2.SpendPointsRequest, call: Call
    ) -> ledger_pb2.LedgerTransaction:
        """Spend points of one member."""
        return await self._database.batch(call, SPEND_POINTS, request)

    async def GetBalance(
        self, request: ledger_pb2.GetBalanceRequest, _call: Call
    ) -> ledger_pb2.Balance:
        """Get the balance of a member."""
        try:
            return await self._database.get(BALANCE, request.name)
        except ResourceNotFound:
            raise ResourceNotFound(request.name.removesuffix("/balance")) from None

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


def _refuse_other_programs(request: ledger_pb2.BatchAwardPointsRequest) -> None:
    violations = [
        (f"requests[{n}].member", f"is not of {request.parent}")
        for n, single in enumerate(request.requests)
        if not single.member.startswith(f"{request.parent}/")
    ]
    if violations:
        raise InvalidField("a member of another programme", violations=violations)
