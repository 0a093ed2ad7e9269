"""Serves orders: each recorded once, with the points that it earns."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from services.chassis.call import Call
from services.chassis.errors import Refusal, ResourceAlreadyExists
from services.chassis.given import first_repeated
from services.chassis.rows import Row
from services.chassis.standard import Standard, Std
from services.chassis.steps import Draft, get, insert
from services.chassis.transaction import RunAgain, Transaction
from services.loyalty import errors, queries
from services.loyalty.amounts import money_of
from services.loyalty.checks import Bought, check_order
from services.loyalty.enrolment import lock_or_enrol, member_id_of
from services.loyalty.posting import Award, award_points
from services.loyalty.resources import MEMBER, ORDER, PROGRAM
from services.loyalty.rules.earning import EarnRate, points_earned
from services.loyalty.rules.ledger import MAX_POINTS_BALANCE
from vafa.loyalty.v1 import orders_pb2

REASON = "order"


class Orders(Standard):
    """Serves vafa.loyalty.v1.OrderService."""

    resource = ORDER
    methods = frozenset({Std.GET, Std.LIST})

    async def RecordOrder(
        self, request: orders_pb2.RecordOrderRequest, call: Call
    ) -> orders_pb2.Order:
        """Record one order."""

        def work(transaction: Transaction) -> orders_pb2.Order:
            return _record(transaction, request.parent, [request.order], ["order."])[0]

        return await self.database.write(call, work)

    async def BatchRecordOrders(
        self, request: orders_pb2.BatchRecordOrdersRequest, call: Call
    ) -> orders_pb2.BatchRecordOrdersResponse:
        """Record several orders."""
        _refuse_repeated(request.orders)
        paths = [f"orders[{n}]." for n in range(len(request.orders))]

        def work(transaction: Transaction) -> orders_pb2.BatchRecordOrdersResponse:
            recorded = _record(transaction, request.parent, request.orders, paths)
            return orders_pb2.BatchRecordOrdersResponse(orders=recorded)

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


@dataclass(frozen=True)
class Incoming:
    """An order that is asked for, what it comes to, and where it stands in the request."""

    order: orders_pb2.Order
    path: str
    bought: Bought
    content_hash: bytes
    points: int


def _refuse_repeated(orders: Sequence[orders_pb2.Order]) -> None:
    n = first_repeated(order.external_id for order in orders)
    if n is not None:
        field, text = f"orders[{n}].external_id", "stands twice in the batch"
        raise errors.ValueRepeated(f"{field} {text}", violations=[(field, text)])


def _record(
    transaction: Transaction,
    program_name: str,
    orders: Sequence[orders_pb2.Order],
    paths: Sequence[str],
) -> list[orders_pb2.Order]:
    """Record the orders that are new, and answer each as it is recorded."""
    program = get(transaction.connection, PROGRAM, program_name)
    program_id = program["program_id"]
    asked = [
        _incoming(transaction, program, order, path)
        for order, path in zip(orders, paths, strict=True)
    ]
    members = lock_or_enrol(transaction, program_id, [order.contact for order in orders])
    ids = [order.external_id for order in orders]
    recorded = queries.orders_by_external_id(transaction.connection, program_id, ids)
    answers = {row["external_id"]: ORDER.to_message(row) for row in recorded.values()}
    for one in asked:
        _refuse_other_content(recorded.get(one.order.external_id), one)
    fresh = [one for one in asked if one.order.external_id not in recorded]
    for one in fresh:
        _refuse_beyond_limit(members[member_id_of(one.order.contact)], one)
    for order in _insert(transaction, program, fresh):
        answers[order.external_id] = order
    awards = [
        Award(
            member_id=member_id_of(one.order.contact),
            points=one.points,
            reason=REASON,
            field=f"{one.path}lines",
            order_id=ORDER.key_of(answers[one.order.external_id].name)["order_id"],
        )
        for one in fresh
        if one.points
    ]
    if awards:
        award_points(transaction, program_id, members, awards)
    return [answers[external_id] for external_id in ids]


def _incoming(
    transaction: Transaction, program: Row, order: orders_pb2.Order, path: str
) -> Incoming:
    try:
        bought = check_order(order, program["currency_code"], transaction.now)
    except Refusal as refusal:
        raise refusal.under(path) from None
    given = ORDER.own_copy(order).SerializeToString(deterministic=True)
    rate = (
        EarnRate(program["earn_points"], program["earn_per_minor"])
        if program["earn_points"]
        else None
    )
    points = points_earned(bought.total_minor, rate)
    return Incoming(order, path, bought, hashlib.sha256(given).digest(), points)


def _refuse_beyond_limit(member: Row, asked: Incoming) -> None:
    """Raise BalanceLimitReached for more points than any balance, or column, holds."""
    if asked.points > MAX_POINTS_BALANCE:
        name, balance = MEMBER.name_of(member), member["points_balance"]
        raise errors.BalanceLimitReached(f"{asked.path}lines", name, balance, asked.points)


def _refuse_other_content(row: Row | None, asked: Incoming) -> None:
    if row is not None and row["content_hash"] != asked.content_hash:
        raise errors.OrderAlreadyRecorded(ORDER.name_of(row)).under(asked.path)


def _insert(
    transaction: Transaction, program: Row, fresh: Sequence[Incoming]
) -> list[orders_pb2.Order]:
    drafts: list[Draft[orders_pb2.Order]] = []
    for one in fresh:
        order = orders_pb2.Order()
        order.CopyFrom(one.order)
        order.order_time.FromDatetime(one.bought.order_time)
        member_id = member_id_of(order.contact)
        drafts.append(
            Draft(
                order,
                one.path,
                parent=(program["program_id"],),
                extra={
                    "member_id": member_id,
                    "currency_code": program["currency_code"],
                    "total_minor": one.bought.total_minor,
                    "points_earned": one.points,
                    "content_hash": one.content_hash,
                },
                related={"contact": order.contact},
            )
        )
    try:
        return insert(transaction, ORDER, drafts)
    except ResourceAlreadyExists as taken:
        # The ids are new, so it is an external id that somebody recorded meanwhile.
        raise RunAgain from taken
