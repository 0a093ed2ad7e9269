"""Serves orders: each recorded once, with the points that it earns."""

from collections.abc import Sequence

from services.chassis.call import Call
from services.chassis.errors import Refusal
from services.chassis.given import first_repeated
from services.chassis.standard import Standard, Std
from services.chassis.transaction import Transaction
from services.loyalty import errors, queries
from services.loyalty.amounts import money_of
from services.loyalty.recording import RECORD_ORDER, gather_orders, record_order
from services.loyalty.resources import ORDER
from vafa.loyalty.v1 import orders_pb2


class Orders(Standard):
    """Serves vafa.loyalty.v1.OrderService."""

    resource = ORDER
    methods = frozenset({Std.GET, Std.LIST})

    async def RecordOrder(
        self, request: orders_pb2.RecordOrderRequest, call: Call
    ) -> orders_pb2.Order:
        """Record one order."""
        return await self.database.batch(call, RECORD_ORDER, request)

    async def BatchRecordOrders(
        self, request: orders_pb2.BatchRecordOrdersRequest, call: Call
    ) -> orders_pb2.BatchRecordOrdersResponse:
        """Record several orders."""
        _refuse_repeated(request.orders)

        def work(transaction: Transaction) -> orders_pb2.BatchRecordOrdersResponse:
            asked = [(request.parent, order) for order in request.orders]
            shops = gather_orders(transaction.connection, asked)
            response = orders_pb2.BatchRecordOrdersResponse()
            for n, order in enumerate(request.orders):
                try:
                    recorded = record_order(shops, request.parent, order, transaction)
                except Refusal as refusal:
                    raise refusal.under(f"orders[{n}].") from None
                response.orders.append(recorded)
            return response

        return await self.database.write(call, work)

    async def SummarizePurchases(
        self, request: orders_pb2.SummarizePurchasesRequest, _call: Call
    ) -> orders_pb2.PurchaseSummary:
        """Sum up what a contact bought."""
        sums = await self.database.read(lambda c: queries.purchases_of_contact(c, request.contact))
        summary = orders_pb2.PurchaseSummary(
            contact=request.contact,
            orders_count=sum(one.orders_count for one in sums),
            totals=[money_of(one.total_minor, one.currency_code) for one in sums],
        )
        if sums:
            summary.first_order_time.FromDatetime(min(one.first_order_time for one in sums))
            summary.last_order_time.FromDatetime(max(one.last_order_time for one in sums))
        return summary


def _refuse_repeated(orders: Sequence[orders_pb2.Order]) -> None:
    n = first_repeated(order.external_id for order in orders)
    if n is not None:
        field, text = f"orders[{n}].external_id", "stands twice in the batch"
        raise errors.ValueRepeated(f"{field} {text}", violations=[(field, text)])
