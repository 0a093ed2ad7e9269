"""The declared resources of the loyalty service."""

from services.chassis import codecs
from services.chassis.filter_sql import Scalar
from services.chassis.finding import Filterable, Index, by_name, related, scalars
from services.chassis.resource import Resource
from services.chassis.rows import Row
from services.loyalty import checks
from services.loyalty.amounts import amount_codec, earn_rate_codec
from services.loyalty.rules.ledger import Kind
from services.loyalty.schema import (
    ledger_transactions,
    lots,
    member_labels,
    members,
    order_labels,
    order_lines,
    orders,
    program_labels,
    programs,
)
from vafa.loyalty.v1 import ledger_pb2, members_pb2, orders_pb2, programs_pb2


def _line_rows(order: orders_pb2.Order) -> list[Row]:
    return [
        {"ordinal": n, "sku": line.sku, "category": line.category, "quantity": line.quantity}
        for n, line in enumerate(order.lines)
    ]


def member_name(row: Row) -> str:
    """Return the name of the member that a row belongs to."""
    return f"programs/{row['program_id']}/members/{row['member_id']}"


def order_name(row: Row) -> str:
    """Return the name of the order that a row belongs to; empty if it belongs to none."""
    return f"programs/{row['program_id']}/orders/{row['order_id']}" if row["order_id"] else ""


def _issuer_name(row: Row) -> str:
    return f"{member_name(row)}/ledgerTransactions/{row['ledger_transaction_id']}"


PROGRAM: Resource[programs_pb2.Program] = Resource(
    message=programs_pb2.Program,
    table=programs,
    columns={
        "display_name": codecs.plain(programs.c.display_name),
        "currency_code": codecs.plain(programs.c.currency_code),
        "earn_rate": earn_rate_codec(
            programs.c.earn_points, programs.c.earn_per_minor, programs.c.currency_code
        ),
    },
    labels=program_labels,
    filters=scalars(programs, "display_name", "currency_code", "create_time", "update_time"),
    orders=("create_time", "update_time", "display_name"),
    check=checks.check_program,
)

MEMBER: Resource[members_pb2.Member] = Resource(
    message=members_pb2.Member,
    table=members,
    columns={
        "contact": codecs.plain(members.c.contact),
        "state": codecs.plain(members.c.state),
        "points_balance": codecs.plain(members.c.points_balance),
    },
    parent=PROGRAM,
    labels=member_labels,
    filters=scalars(members, "contact", "state", "points_balance", "create_time", "update_time"),
    orders=("create_time", "update_time", "points_balance"),
)

# The sums of a member's points, under a name of their own.
BALANCE: Resource[ledger_pb2.Balance] = Resource(
    message=ledger_pb2.Balance,
    table=members,
    columns={
        "points_balance": codecs.plain(members.c.points_balance),
        "points_issued": codecs.plain(members.c.points_issued),
        "points_redeemed": codecs.plain(members.c.points_redeemed),
    },
    parent=PROGRAM,
)

ORDER: Resource[orders_pb2.Order] = Resource(
    message=orders_pb2.Order,
    table=orders,
    columns={
        "external_id": codecs.plain(orders.c.external_id),
        "contact": codecs.plain(orders.c.contact),
        "order_time": codecs.time(orders.c.order_time),
        "lines": codecs.json(orders.c.lines),
        "payments": codecs.json(orders.c.payments),
        "total": amount_codec(orders.c.total_minor, orders.c.currency_code),
        "member": codecs.computed(orders.c.program_id, orders.c.member_id, value=member_name),
        "points_earned": codecs.plain(orders.c.points_earned),
    },
    parent=PROGRAM,
    labels=order_labels,
    indexes=(Index(order_lines, _line_rows),),
    filters={
        **by_name(orders_pb2.Order, orders),
        **scalars(orders, "contact", "external_id", "order_time", "create_time", "points_earned"),
        "lines.sku": Filterable(related(orders, order_lines, "sku")),
        "lines.category": Filterable(related(orders, order_lines, "category")),
    },
    orders=("create_time", "order_time"),
)

LOT: Resource[ledger_pb2.Lot] = Resource(
    message=ledger_pb2.Lot,
    table=lots,
    columns={
        "points_issued": codecs.plain(lots.c.points_issued),
        "points_remaining": codecs.plain(lots.c.points_remaining),
        "ledger_transaction": codecs.computed(
            *lots.primary_key, lots.c.ledger_transaction_id, value=_issuer_name
        ),
    },
    parent=MEMBER,
    filters=scalars(lots, "points_issued", "points_remaining", "create_time"),
)

LEDGER_TRANSACTION: Resource[ledger_pb2.LedgerTransaction] = Resource(
    message=ledger_pb2.LedgerTransaction,
    table=ledger_transactions,
    columns={
        "kind": codecs.plain(ledger_transactions.c.kind),
        "points": codecs.plain(ledger_transactions.c.points),
        # Rows of ledger_entries, which the servicer adds.
        "entries": codecs.elsewhere(),
        "reason": codecs.plain(ledger_transactions.c.reason),
        "order": codecs.computed(ledger_transactions.c.order_id, value=order_name),
        "principal": codecs.plain(ledger_transactions.c.principal),
        "points_balance": codecs.plain(ledger_transactions.c.points_balance),
    },
    parent=MEMBER,
    filters={
        **by_name(ledger_pb2.LedgerTransaction, ledger_transactions),
        **scalars(ledger_transactions, "kind", "reason", "create_time"),
        # One index serves two: a programme's transactions lie by their kinds, and then points.
        "points": Filterable(
            Scalar(
                ledger_transactions.c.points,
                beside=ledger_transactions.c.kind.in_([kind.value for kind in Kind]),
            )
        ),
    },
)
