"""Makes contacts members, and members of contacts that came later active."""

from collections.abc import Sequence

from services.chassis.preparing import Draft, prepare, put
from services.chassis.rows import update_rows
from services.chassis.steps import insert
from services.chassis.transaction import Transaction
from services.chassis.writes import Writes
from services.loyalty import queries
from services.loyalty.points import MemberPoints
from services.loyalty.resources import MEMBER
from services.loyalty.schema import members
from vafa.loyalty.v1 import members_pb2

NO_POINTS = {"points_balance": 0, "points_issued": 0, "points_redeemed": 0}


def member_id_of(contact: str) -> str:
    """Return the id that a contact has as a member."""
    return contact.removeprefix("contacts/")


def contact_of(member_id: str) -> str:
    """Return the contact that is a member under an id."""
    return f"contacts/{member_id}"


def enrol(
    transaction: Transaction, program_id: str, member: members_pb2.Member
) -> members_pb2.Member:
    """Enrol a contact who is no member.

    PROVISIONAL until the contacts service has told of the contact. Raises
    ResourceAlreadyExists for a member.
    """
    confirmed = queries.lock_known_contacts(transaction.connection, [member.contact])
    draft = _draft(program_id, member, confirmed=confirmed[member.contact])
    return insert(transaction, MEMBER, [draft])[0]


def enrol_buyer(writes: Writes, member: MemberPoints, *, confirmed: bool) -> None:
    """Enrol a contact who is no member yet by a first order; the contact is locked."""
    first = members_pb2.Member(contact=contact_of(member.member_id))
    draft = _draft(member.program_id, first, confirmed=confirmed)
    put(writes, MEMBER, [prepare(MEMBER, draft, writes.now)])


def _draft(
    program_id: str, member: members_pb2.Member, *, confirmed: bool
) -> Draft[members_pb2.Member]:
    state = queries.ACTIVE if confirmed else queries.PROVISIONAL
    return Draft(
        member,
        "member.",
        parent=(program_id,),
        id=member_id_of(member.contact),
        extra={"state": state, **NO_POINTS},
        related={"contact": member.contact},
        is_judged=True,
    )


def confirm(transaction: Transaction, contacts: Sequence[str]) -> None:
    """Note that the contacts service told of these contacts, and activate their memberships."""
    connection = transaction.connection
    confirmed = queries.lock_known_contacts(connection, contacts)
    news = [contact for contact, known in confirmed.items() if not known]
    if not news:
        return
    queries.confirm_contacts(connection, news)
    activated = [
        {
            "program_id": row["program_id"],
            "member_id": row["member_id"],
            "state": queries.ACTIVE,
            "version": row["version"] + 1,
            "update_time": transaction.now,
        }
        for row in queries.lock_provisional_members(connection, news)
    ]
    update_rows(connection, members, MEMBER.keys, activated)
    for row in activated:
        name, version = MEMBER.name_of(row), row["version"]
        transaction.changed("member.updated", name, version=version, paths=["state"])
