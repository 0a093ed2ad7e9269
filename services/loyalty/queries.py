"""The hand-written SQL of the loyalty service.

Every transaction locks in one order: known contacts by their names, then members by their keys,
both code point by code point, and each kind once.
"""

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
    update,
)

from services.chassis.rows import Row, among, insert_new_rows
from services.loyalty.rules.ledger import Account
from services.loyalty.schema import (
    known_contacts,
    ledger_entries,
    ledger_transactions,
    lots,
    members,
    orders,
    programs,
)
from vafa.loyalty.v1 import members_pb2

PROVISIONAL = members_pb2.Member.STATE_PROVISIONAL
ACTIVE = members_pb2.Member.STATE_ACTIVE
MEMBER_KEY = (members.c.program_id, members.c.member_id)


# Of a member: the ids of the programme and of the member.
MemberKey = tuple[str, str]
# Of an order as the shop knows it: the id of the programme, and the external id.
ExternalKey = tuple[str, str]


def lock_known_contacts(connection: Connection, contacts: Sequence[str]) -> dict[str, bool]:
    """Lock the contacts, made known if they are not; return who is confirmed.

    All who make or activate memberships hold them.
    """
    if not contacts:
        return {}
    names = sorted(set(contacts))
    column = known_contacts.c.contact
    rows = [{"contact": contact, "confirmed": False} for contact in names]
    insert_new_rows(connection, known_contacts, rows, [column])
    query = (
        select(known_contacts)
        .where(among(connection, [column], [(name,) for name in names]))
        .order_by(column)
        .with_for_update(key_share=True)
    )
    return {row.contact: row.confirmed for row in connection.execute(query)}


def confirm_contacts(connection: Connection, contacts: Sequence[str]) -> None:
    """Note that the contacts service told of these contacts, which are locked."""
    named = among(connection, [known_contacts.c.contact], [(contact,) for contact in contacts])
    connection.execute(update(known_contacts).where(named).values(confirmed=True))


def lock_provisional_members(connection: Connection, contacts: Sequence[str]) -> list[Row]:
    """Return the provisional members of these contacts, locked."""
    named = among(connection, [members.c.contact], [(contact,) for contact in contacts])
    query = (
        select(members)
        .where(named, members.c.state == PROVISIONAL)
        .order_by(*MEMBER_KEY)
        .with_for_update(key_share=True)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def member_keys(connection: Connection, keys: Sequence[MemberKey]) -> set[MemberKey]:
    """Return which of these keys are members."""
    query = select(*MEMBER_KEY).where(among(connection, MEMBER_KEY, keys))
    return {(program_id, member_id) for program_id, member_id in connection.execute(query)}


def lock_members(connection: Connection, keys: Sequence[MemberKey]) -> Sequence[Any]:
    """Return those of these members that there are, locked: the key and the sums of points."""
    sums = (members.c.points_balance, members.c.points_issued, members.c.points_redeemed)
    query = (
        select(*MEMBER_KEY, *sums)
        .where(among(connection, MEMBER_KEY, keys))
        .order_by(*MEMBER_KEY)
        .with_for_update(key_share=True)
    )
    return connection.execute(query).all()


def open_lots(connection: Connection, keys: Sequence[MemberKey]) -> Sequence[Any]:
    """Return the lots of locked members that have points left, the oldest first: the key of the
    member, the id of the lot, and its points issued and remaining.
    """
    key = (lots.c.program_id, lots.c.member_id)
    query = (
        select(*key, lots.c.lot_id, lots.c.points_issued, lots.c.points_remaining)
        .where(among(connection, key, keys), lots.c.points_remaining > 0)
        .order_by(lots.c.create_time, lots.c.lot_id)
    )
    return connection.execute(query).all()


def programs_by_id(connection: Connection, ids: Sequence[str]) -> dict[str, Row]:
    """Return those of these programmes that there are, by id."""
    named = among(connection, [programs.c.program_id], [(id_,) for id_ in ids])
    rows = connection.execute(select(programs).where(named)).mappings()
    return {row["program_id"]: dict(row) for row in rows}


def orders_by_external_id(
    connection: Connection, keys: Sequence[ExternalKey]
) -> dict[ExternalKey, Row]:
    """Return those of these orders that there are."""
    named = among(connection, (orders.c.program_id, orders.c.external_id), keys)
    rows = connection.execute(select(orders).where(named)).mappings()
    return {(row["program_id"], row["external_id"]): dict(row) for row in rows}


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
        mine = among(connection, key, wanted)
        query = select(table).where(mine).order_by(*key, table.c.ordinal)
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

    def where(table: Any, column: Any, values: Sequence[str]) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = defaultdict(list)
        named = among(connection, [column], [(value,) for value in values])
        mine = and_(table.c.program_id == program_id, named)
        for row in connection.execute(select(table).where(mine)).mappings():
            found[row["member_id"]].append(dict(row))
        return found

    return MemberRecords(
        rows,
        lots=where(lots, lots.c.member_id, ids),
        transactions=where(ledger_transactions, ledger_transactions.c.member_id, ids),
        entries=where(ledger_entries, ledger_entries.c.member_id, ids),
        # By whom they name, for which there is an index.
        orders=where(orders, orders.c.contact, [row["contact"] for row in rows]),
    )
