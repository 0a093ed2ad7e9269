"""The hand-written SQL of the loyalty service."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Connection,
    and_,
    case,
    cast,
    func,
    select,
    tuple_,
    update,
)

from services.chassis.rows import Row, insert_new_rows, update_rows
from services.loyalty.rules.ledger import Account, Kind
from services.loyalty.schema import (
    known_contacts,
    ledger_entries,
    ledger_transactions,
    lots,
    members,
    orders,
)
from vafa.loyalty.v1 import members_pb2

PROVISIONAL = members_pb2.Member.STATE_PROVISIONAL
ACTIVE = members_pb2.Member.STATE_ACTIVE


def lock_known_contacts(connection: Connection, contacts: Sequence[str]) -> dict[str, bool]:
    """Lock the contacts in their order, made known if they are not; return who is confirmed.

    Taken before the rows of members, by all who make or activate memberships.
    """
    names = sorted(set(contacts))
    rows = [{"contact": contact, "confirmed": False} for contact in names]
    insert_new_rows(connection, known_contacts, rows, [known_contacts.c.contact])
    query = (
        select(known_contacts)
        .where(known_contacts.c.contact.in_(names))
        .order_by(known_contacts.c.contact)
        .with_for_update(key_share=True)
    )
    return {row.contact: row.confirmed for row in connection.execute(query)}


def confirm_contacts(connection: Connection, contacts: Sequence[str]) -> None:
    """Note that the contacts service told of these contacts, which are locked."""
    change = update(known_contacts).where(known_contacts.c.contact.in_(contacts))
    connection.execute(change.values(confirmed=True))


def lock_provisional_members(connection: Connection, contacts: Sequence[str]) -> list[Row]:
    """Return the provisional members of these contacts, locked in the order of their keys."""
    query = (
        select(members)
        .where(members.c.contact.in_(contacts), members.c.state == PROVISIONAL)
        .order_by(members.c.program_id, members.c.member_id)
        .with_for_update(key_share=True)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def member_ids(connection: Connection, program_id: str, ids: Sequence[str]) -> set[str]:
    """Return which of these ids are members of the programme."""
    query = select(members.c.member_id).where(
        members.c.program_id == program_id, members.c.member_id.in_(ids)
    )
    return set(connection.execute(query).scalars())


def lock_members(connection: Connection, program_id: str, ids: Sequence[str]) -> dict[str, Row]:
    """Return these members by id, locked in the order of their keys."""
    query = (
        select(members)
        .where(members.c.program_id == program_id, members.c.member_id.in_(set(ids)))
        .order_by(members.c.program_id, members.c.member_id)
        .with_for_update(key_share=True)
    )
    return {row["member_id"]: dict(row) for row in connection.execute(query).mappings()}


def set_balances(connection: Connection, program_id: str, balances: dict[str, int]) -> None:
    """Set the balances of locked members."""
    rows = [
        {"program_id": program_id, "member_id": id_, "points_balance": balance}
        for id_, balance in sorted(balances.items())
    ]
    update_rows(connection, members, ["program_id", "member_id"], rows)


def open_lots(connection: Connection, program_id: str, member_id: str) -> list[Row]:
    """Return the lots of a locked member that have points left, the oldest first."""
    query = (
        select(lots)
        .where(
            lots.c.program_id == program_id,
            lots.c.member_id == member_id,
            lots.c.points_remaining > 0,
        )
        .order_by(lots.c.create_time, lots.c.lot_id)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def orders_by_external_id(
    connection: Connection, program_id: str, external_ids: Sequence[str]
) -> dict[str, Row]:
    """Return the orders of a programme by those of the external ids that it has."""
    query = select(orders).where(
        orders.c.program_id == program_id, orders.c.external_id.in_(external_ids)
    )
    return {row["external_id"]: dict(row) for row in connection.execute(query).mappings()}


def entries_of(
    connection: Connection, transactions: Sequence[Row]
) -> dict[tuple[str, str, str], list[Row]]:
    """Return the entries of ledger transactions by their keys, each in its order."""
    table = ledger_entries
    key = (table.c.program_id, table.c.member_id, table.c.ledger_transaction_id)
    names = [column.name for column in key]
    wanted = [tuple(row[name] for name in names) for row in transactions]
    found: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    if wanted:
        query = select(table).where(tuple_(*key).in_(wanted)).order_by(*key, table.c.ordinal)
        for row in connection.execute(query).mappings():
            found[row["program_id"], row["member_id"], row["ledger_transaction_id"]].append(
                dict(row)
            )
    return found


class PointsSums(NamedTuple):
    """All points that were ever awarded and spent."""

    issued: int
    redeemed: int


def _big(expression: Any) -> Any:
    # PostgreSQL sums whole numbers to decimals.
    return cast(func.coalesce(expression, 0), BigInteger)


# The sum of a column may be more than 64 bits hold, and so is taken in two parts.
PART = 10**9


def _parts(expression: Any) -> tuple[Any, Any]:
    """Return the sums of the whole parts of an expression and of what is left of it."""
    return _big(func.sum(expression // PART)), _big(func.sum(expression % PART))


def _whole(parts: int, rest: int) -> int:
    return parts * PART + rest


def points_of_member(connection: Connection, program_id: str, member_id: str) -> PointsSums:
    """Return the sums of a member's transactions."""
    table = ledger_transactions
    query = select(
        _big(func.sum(case((table.c.kind == Kind.AWARD, table.c.points), else_=0))),
        _big(func.sum(case((table.c.kind == Kind.SPEND, table.c.points), else_=0))),
    ).where(table.c.program_id == program_id, table.c.member_id == member_id)
    return PointsSums(*connection.execute(query).one())


def points_of_program(connection: Connection, program_id: str) -> PointsSums:
    """Return the sums of a programme's own accounts."""
    table = ledger_entries
    query = select(
        *_parts(case((table.c.account == Account.ISSUED, -table.c.points), else_=0)),
        *_parts(case((table.c.account == Account.REDEEMED, table.c.points), else_=0)),
    ).where(table.c.program_id == program_id)
    row = connection.execute(query).one()
    return PointsSums(issued=_whole(*row[:2]), redeemed=_whole(*row[2:]))


class SalesSums(NamedTuple):
    """What the members of a programme bought."""

    customers_count: int
    repeat_customers_count: int
    orders_count: int
    revenue_minor: int


def sales_of_program(connection: Connection, program_id: str) -> SalesSums:
    """Return the sums of a programme's orders."""
    parts, rest = _parts(orders.c.total_minor)
    by_member = (
        select(func.count().label("count"), parts.label("parts"), rest.label("rest"))
        .where(orders.c.program_id == program_id)
        .group_by(orders.c.member_id)
        .subquery()
    )
    query = select(
        func.count(),
        _big(func.sum(case((by_member.c.count >= 2, 1), else_=0))),
        _big(func.sum(by_member.c.count)),
        _big(func.sum(by_member.c.parts)),
        _big(func.sum(by_member.c.rest)),
    ).select_from(by_member)
    customers, repeat_customers, bought, parts, rest = connection.execute(query).one()
    return SalesSums(customers, repeat_customers, bought, _whole(parts, rest))


def count_members(connection: Connection, program_id: str) -> int:
    """Return how many members a programme has."""
    query = select(func.count()).where(members.c.program_id == program_id)
    return connection.execute(query).scalar_one()


class Purchases(NamedTuple):
    """What a contact bought in one currency."""

    currency_code: str
    orders_count: int
    total_minor: int
    first_order_time: datetime
    last_order_time: datetime


def purchases_of_contact(connection: Connection, contact: str) -> list[Purchases]:
    """Return the sums of a contact's orders, one for each currency, by its code."""
    query = (
        select(
            orders.c.currency_code,
            func.count(),
            *_parts(orders.c.total_minor),
            func.min(orders.c.order_time),
            func.max(orders.c.order_time),
        )
        .where(orders.c.contact == contact)
        .group_by(orders.c.currency_code)
        .order_by(orders.c.currency_code)
    )
    return [
        Purchases(code, count, _whole(parts, rest), first, last)
        for code, count, parts, rest, first, last in connection.execute(query)
    ]


class MemberRecords(NamedTuple):
    """All that the ledger knows of some members, by their ids."""

    members: list[Row]
    lots: dict[str, list[Row]]
    transactions: dict[str, list[Row]]
    entries: dict[str, list[Row]]
    orders: dict[str, list[Row]]


def records_of_members(
    connection: Connection, program_id: str, after: str, limit: int
) -> MemberRecords:
    """Return the records of the next members after an id, in the order of ids."""
    query = (
        select(members)
        .where(members.c.program_id == program_id, members.c.member_id > after)
        .order_by(members.c.member_id)
        .limit(limit)
    )
    rows: list[Row] = [dict(row) for row in connection.execute(query).mappings()]
    ids = [row["member_id"] for row in rows]

    def of_members(table: Any) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = defaultdict(list)
        mine = and_(table.c.program_id == program_id, table.c.member_id.in_(ids))
        for row in connection.execute(select(table).where(mine)).mappings():
            found[row["member_id"]].append(dict(row))
        return found

    return MemberRecords(
        rows,
        lots=of_members(lots),
        transactions=of_members(ledger_transactions),
        entries=of_members(ledger_entries),
        orders=of_members(orders),
    )
