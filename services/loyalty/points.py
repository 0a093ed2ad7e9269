"""What members have, as the postings of one transaction leave it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import Connection

from services.loyalty import queries
from services.loyalty.resources import MEMBER
from services.loyalty.rules import ledger


@dataclass
class MemberPoints:
    """The points of a member who is locked or new, as the postings so far leave them.

    `open_lots` are the lots with points left, the oldest first: all of them if they were
    asked for, and else those of the postings.
    """

    name: str
    program_id: str
    member_id: str
    points_balance: int = 0
    points_issued: int = 0
    points_redeemed: int = 0
    open_lots: list[ledger.Lot] = field(default_factory=list)

    def apply(self, posting: ledger.Posting) -> None:
        """Take over what a posting leaves."""
        self.points_balance = posting.balance_after
        if posting.kind is ledger.Kind.AWARD:
            self.points_issued += posting.points
            self.open_lots.extend(posting.lots)
        else:
            self.points_redeemed += posting.points
            changed = {lot.id: lot for lot in posting.lots}
            lots = (changed.get(lot.id, lot) for lot in self.open_lots)
            self.open_lots = [lot for lot in lots if lot.points_remaining]


def lock_points(connection: Connection, names: Iterable[str]) -> dict[str, MemberPoints]:
    """Lock the members of these names, and return the points of those that there are by name."""
    wanted = {_key_of(name): name for name in names}
    found = {}
    for row in queries.lock_members(connection, list(wanted)):
        name = wanted[row.program_id, row.member_id]
        found[name] = MemberPoints(name, *row)
    return found


def lock_points_and_lots(connection: Connection, names: Iterable[str]) -> dict[str, MemberPoints]:
    """Return what lock_points returns, with all open lots of each member."""
    members = lock_points(connection, names)
    by_key = {(one.program_id, one.member_id): one for one in members.values()}
    for program_id, member_id, *lot in queries.open_lots(connection, list(by_key)):
        by_key[program_id, member_id].open_lots.append(ledger.Lot(*lot))
    return members


def _key_of(name: str) -> queries.MemberKey:
    program_id, member_id = MEMBER.pattern.parse(name)
    return program_id, member_id
