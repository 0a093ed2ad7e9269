"""Recording orders as a command: each once, with the points that it earns."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from services.chassis.batch import BatchCommand
from services.chassis.errors import Refusal, ResourceNotFound
from services.chassis.preparing import Draft, prepare, put
from services.chassis.rows import Row
from services.chassis.writes import Writes
from services.loyalty import errors, queries
from services.loyalty.checks import Bought, check_order
from services.loyalty.enrolment import contact_of, enrol_buyer, member_id_of
from services.loyalty.points import MemberPoints, lock_points
from services.loyalty.posting import decide_award, post
from services.loyalty.resources import MEMBER, ORDER, PROGRAM
from services.loyalty.rules.earning import EarnRate, points_earned
from vafa.loyalty.v1 import orders_pb2

REASON = "order"
# No two orders of a programme have one external id.
UNIQUE = ("program_id", "external_id")


@dataclass(frozen=True)
class Shops:
    """What orders are decided on: their programmes by id, the points of their members by name,
    whether those contacts are confirmed who are no members, and which orders there are.
    """

    programs: Mapping[str, Row]
    members: dict[str, MemberPoints]
    confirmed: Mapping[str, bool]
    orders: dict[queries.ExternalKey, Row]


def gather_orders(connection: Connection, asked: Sequence[tuple[str, orders_pb2.Order]]) -> Shops:
    """Return what orders, each given with the name of its programme, are decided on.

    Contacts who are no members are locked, and then all members.
    """
    named = [(_program_id(program), order) for program, order in asked]
    programs = queries.programs_by_id(connection, sorted({id_ for id_, _ in named}))
    known = [(id_, order) for id_, order in named if id_ in programs]
    buyers = {(id_, member_id_of(order.contact)) for id_, order in known}
    strangers = buyers - queries.member_keys(connection, sorted(buyers))
    confirmed = queries.lock_known_contacts(
        connection, [contact_of(member_id) for _, member_id in strangers]
    )
    # Who has become a member meanwhile is found here.
    members = lock_points(connection, [MEMBER.pattern.format(key) for key in buyers])
    keys = {(id_, order.external_id) for id_, order in known}
    orders = queries.orders_by_external_id(connection, sorted(keys))
    return Shops(programs, members, confirmed, orders)


def record_order(
    shops: Shops, program_name: str, order: orders_pb2.Order, writes: Writes
) -> orders_pb2.Order:
    """Record an order that is new, and return it as it is recorded.

    Fields in refusals are those of the order.
    """
    program = shops.programs.get(_program_id(program_name))
    if program is None:
        raise ResourceNotFound(program_name)
    bought = check_order(order, program["currency_code"], writes.now)
    given = ORDER.own_copy(order).SerializeToString(deterministic=True)
    content_hash = hashlib.sha256(given).digest()
    key = program["program_id"], order.external_id
    recorded = shops.orders.get(key)
    if recorded is not None:
        if recorded["content_hash"] != content_hash:
            raise errors.OrderAlreadyRecorded(ORDER.name_of(recorded))
        return ORDER.to_message(recorded)
    points = points_earned(bought.total_minor, _rate(program))
    buyer = _buyer(shops, program["program_id"], order.contact)
    posting = decide_award(buyer, points, "lines") if points else None
    draft = _draft(program, order, bought, points, content_hash)
    prepared = prepare(ORDER, draft, writes.now)
    if buyer.name not in shops.members:
        enrol_buyer(writes, buyer, confirmed=shops.confirmed[order.contact])
        shops.members[buyer.name] = buyer
    put(writes, ORDER, [prepared], unique=UNIQUE)
    shops.orders[key] = prepared.row
    if posting is not None:
        post(writes, buyer, posting, REASON, prepared.row["order_id"])
    return ORDER.to_message(prepared.row)


def _buyer(shops: Shops, program_id: str, contact: str) -> MemberPoints:
    """Return the points of a contact, who may be no member yet."""
    member_id = member_id_of(contact)
    name = MEMBER.pattern.format((program_id, member_id))
    return shops.members.get(name) or MemberPoints(name, program_id, member_id)


def _draft(
    program: Row, order: orders_pb2.Order, bought: Bought, points: int, content_hash: bytes
) -> Draft[orders_pb2.Order]:
    message = orders_pb2.Order()
    message.CopyFrom(order)
    message.order_time.FromDatetime(bought.order_time)
    extra = {
        "member_id": member_id_of(order.contact),
        "currency_code": program["currency_code"],
        "total_minor": bought.total_minor,
        "points_earned": points,
        "content_hash": content_hash,
    }
    parent, related = (program["program_id"],), {"contact": order.contact}
    return Draft(message, "", parent=parent, extra=extra, related=related, is_judged=True)


def _rate(program: Row) -> EarnRate | None:
    if not program["earn_points"]:
        return None
    return EarnRate(program["earn_points"], program["earn_per_minor"])


def _program_id(name: str) -> str:
    return PROGRAM.key_of(name)["program_id"]


def _gather(connection: Connection, requests: Sequence[orders_pb2.RecordOrderRequest]) -> Shops:
    return gather_orders(connection, [(request.parent, request.order) for request in requests])


def _record(
    shops: Shops, request: orders_pb2.RecordOrderRequest, writes: Writes
) -> orders_pb2.Order:
    try:
        return record_order(shops, request.parent, request.order, writes)
    except Refusal as refusal:
        raise refusal.under("order.") from None


RECORD_ORDER = BatchCommand("RecordOrder", _gather, _record)
