"""Awards and spendings as commands: who is locked, and what comes of each."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from services.chassis.batch import BatchCommand
from services.chassis.errors import ResourceNotFound
from services.chassis.writes import Writes
from services.loyalty.points import MemberPoints, lock_points, lock_points_and_lots
from services.loyalty.posting import decide_award, decide_spending, post
from vafa.loyalty.v1 import ledger_pb2

Members = Mapping[str, MemberPoints]


def _gather_awards(
    connection: Connection, requests: Sequence[ledger_pb2.AwardPointsRequest]
) -> Members:
    return lock_points(connection, {request.member for request in requests})


def _award(
    members: Members, request: ledger_pb2.AwardPointsRequest, writes: Writes
) -> ledger_pb2.LedgerTransaction:
    member = _member(members, request.member)
    return post(writes, member, decide_award(member, request.points, "points"), request.reason)


def _gather_spendings(
    connection: Connection, requests: Sequence[ledger_pb2.SpendPointsRequest]
) -> Members:
    return lock_points_and_lots(connection, {request.member for request in requests})


def _spend(
    members: Members, request: ledger_pb2.SpendPointsRequest, writes: Writes
) -> ledger_pb2.LedgerTransaction:
    member = _member(members, request.member)
    return post(writes, member, decide_spending(member, request.points), request.reason)


def _member(members: Members, name: str) -> MemberPoints:
    member = members.get(name)
    if member is None:
        raise ResourceNotFound(name)
    return member


# Their refusals name the fields of the one request.
AWARD_POINTS = BatchCommand("AwardPoints", _gather_awards, _award)
SPEND_POINTS = BatchCommand("SpendPoints", _gather_spendings, _spend)
