"""Resources made ready to be inserted: their rows, what is refused, and what is put on Writes."""

from datetime import UTC, datetime

import pytest

from services.chassis import errors
from services.chassis.identifiers import id_of, uid_of
from services.chassis.preparing import Draft, prepare, put
from services.chassis.writes import Writes
from services.contacts.errors import EmailInvalid
from services.contacts.resources import CONTACT, INTERACTION
from services.contacts.schema import contact_emails, contact_name_parts, interaction_labels
from services.contacts.schema import interactions as interactions_table
from vafa.contacts.v1 import contacts_pb2, interactions_pb2
from vafa.events.v1 import events_pb2

Interaction = interactions_pb2.Interaction
NOON = datetime(2026, 3, 21, 12, 0, 0, 123456, tzinfo=UTC)


def a_contact() -> contacts_pb2.Contact:
    """Return a contact as a caller gives it, with fields that are not the caller's."""
    contact = contacts_pb2.Contact(display_name="Ada", name="contacts/other", uid="u", etag="e")
    contact.emails.add(address="Ada@Example.ORG")
    return contact


def test_a_draft_gets_an_id_and_the_rows_of_its_normal_form() -> None:
    given = a_contact()
    prepared = prepare(CONTACT, Draft(given, "contact."), NOON)
    row = prepared.row
    assert row["contact_id"] == id_of(uid_of(row["contact_id"]))
    assert row["uid"] == str(uid_of(row["contact_id"]))
    assert (row["create_time"], row["update_time"], row["delete_time"]) == (NOON, NOON, None)
    assert (row["version"], row["emails"]) == (1, [{"address": "Ada@example.org"}])
    assert given == a_contact()
    found = dict(zip([index.table for index in CONTACT.indexes], prepared.index_rows, strict=True))
    owner = {"contact_id": row["contact_id"]}
    assert found[contact_emails] == [owner | {"address_key": "ada@example.org"}]
    assert [part["part"] for part in found[contact_name_parts]] == ["a", "ada", "da"]


def test_a_draft_keeps_the_id_and_the_columns_that_it_is_given() -> None:
    draft = Draft(a_contact(), "contact.", id="ada", extra={"version": 1, "locale": "fa"})
    row = prepare(CONTACT, draft, NOON).row
    assert (row["contact_id"], row["locale"]) == ("ada", "fa")


def test_what_is_refused_is_told_under_the_path_of_the_draft() -> None:
    contact = a_contact()
    contact.emails[0].address = "nobody"
    with pytest.raises(EmailInvalid) as refused:
        prepare(CONTACT, Draft(contact, "requests[3].contact."), NOON)
    assert refused.value.violations[0][0] == "requests[3].contact.emails[0].address"


def test_bounds_are_judged_unless_they_were_with_the_request() -> None:
    contact = contacts_pb2.Contact(display_name="x" * 201)
    with pytest.raises(errors.InvalidField) as refused:
        prepare(CONTACT, Draft(contact, "contact."), NOON)
    assert refused.value.violations[0][0] == "contact.display_name"
    row = prepare(CONTACT, Draft(contact, "contact.", is_judged=True), NOON).row
    assert row["display_name"] == "x" * 201


def interaction_draft(n: int) -> Draft[Interaction]:
    """Return an interaction of a contact, with a label."""
    message = Interaction(
        channel=Interaction.CHANNEL_PHONE,
        direction=Interaction.DIRECTION_INBOUND,
        labels={"n": str(n)},
    )
    return Draft(message, "interaction.", parent=("ada",), id=f"i{n}", related={"by": "sam"})


@pytest.mark.parametrize("unique", [(), ("interaction_id",)])
def test_what_is_put_on_writes_is_rows_and_events(unique: tuple[str, ...]) -> None:
    writes = Writes(NOON, None)
    prepared = [prepare(INTERACTION, interaction_draft(n), NOON) for n in (1, 2)]
    put(writes, INTERACTION, prepared, unique=unique)
    rows = [one.row for one in prepared]
    assert writes.inserted.get(interactions_table, []) == ([] if unique else rows)
    claimed = {(interactions_table, unique): rows} if unique else {}
    assert writes.claimed == claimed
    labels = writes.inserted[interaction_labels]
    assert [(row["interaction_id"], row["value"]) for row in labels] == [("i1", "1"), ("i2", "2")]
    events = [events_pb2.Event.FromString(event["payload"]) for event in writes.events]
    assert [event.type for event in events] == ["interaction.created"] * 2
    assert [event.subject for event in events] == [
        f"contacts/ada/interactions/i{n}" for n in (1, 2)
    ]
    assert [dict(event.related) for event in events] == [{"by": "sam"}] * 2


def test_what_has_keys_that_may_be_taken_is_not_put_on_writes() -> None:
    writes = Writes(NOON, None)
    with pytest.raises(TypeError, match="contact_external_ids may be taken"):
        put(writes, CONTACT, [prepare(CONTACT, Draft(a_contact(), ""), NOON)])
