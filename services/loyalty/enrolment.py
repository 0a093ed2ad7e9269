"""Makes contacts members, and members of contacts that came later active."""

from collections.abc import Mapping, Sequence

from services.chassis.rows import Row, update_rows
from services.chassis.steps import Draft, insert
from services.chassis.transaction import Transaction
from services.loyalty import queries
from services.loyalty.resources import MEMBER
from services.loyalty.schema import members
from vafa.loyalty.v1 import members_pb2


def member_id_of(contact: str) -> str:
    """Return the id that a contact has as a member."""
    return contact.removeprefix("contacts/")


def enrol(
    transaction: Transaction, program_id: str, wanted: Mapping[str, members_pb2.Member]
) -> list[members_pb2.Member]:
    """Enrol contacts who are no members, given with their first membership by contact.

    PROVISIONAL until the contacts service has told of the contact. Raises
    ResourceAlreadyExists for a member.
    """
    confirmed = queries.lock_known_contacts(transaction.connection, list(wanted))
    return _enrol(transaction, program_id, wanted, confirmed)


def _enrol(
    transaction: Transaction,
    program_id: str,
    wanted: Mapping[str, members_pb2.Member],
    confirmed: Mapping[str, bool],
) -> list[members_pb2.Member]:
    drafts = [
        Draft(
            member,
            "member.",
            parent=(program_id,),
            id=member_id_of(contact),
            extra={
                "state": queries.ACTIVE if confirmed[contact] else queries.PROVISIONAL,
                "points_balance": 0,
            },
            related={"contact": contact},
        )
        for contact, member in sorted(wanted.items())
    ]
    return insert(transaction, MEMBER, drafts)


def lock_or_enrol(
    transaction: Transaction, program_id: str, contacts: Sequence[str]
) -> dict[str, Row]:
    """Return the members of these contacts by their ids, locked; enrol those who are none."""
    connection = transaction.connection
    ids = {member_id_of(contact): contact for contact in contacts}
    strangers = ids.keys() - queries.member_ids(connection, program_id, list(ids))
    if strangers:
        # Whoever enrols one of them meanwhile holds this lock.
        confirmed = queries.lock_known_contacts(connection, [ids[id_] for id_ in strangers])
        strangers -= queries.member_ids(connection, program_id, list(strangers))
        wanted = {ids[id_]: members_pb2.Member(contact=ids[id_]) for id_ in strangers}
        _enrol(transaction, program_id, wanted, confirmed)
    return queries.lock_members(connection, program_id, list(ids))


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
