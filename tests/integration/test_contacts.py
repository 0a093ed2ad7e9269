"""Contacts over the wire: upserts by external id, what a deleted contact keeps, normal forms."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

import vafa
from tests.contract.resources import refused
from vafa.contacts.v1 import contacts_pb2, interactions_pb2

Upsert = contacts_pb2.UpsertContactRequest
Interaction = interactions_pb2.Interaction


def new_key() -> contacts_pb2.ExternalId:
    """Return an external id that no contact has."""
    return contacts_pb2.ExternalId(system="shop", value=str(uuid.uuid4()))


def create(client: vafa.Suite, *external_ids: contacts_pb2.ExternalId) -> contacts_pb2.Contact:
    """Create a contact with these external ids."""
    contact = contacts_pb2.Contact(display_name="Ada", external_ids=external_ids)
    return client.contacts.CreateContact(contacts_pb2.CreateContactRequest(contact=contact))


def delete(client: vafa.Suite, contact: contacts_pb2.Contact) -> None:
    """Delete a contact."""
    client.contacts.DeleteContact(contacts_pb2.DeleteContactRequest(name=contact.name))


def an_upsert(
    key: contacts_pb2.ExternalId,
    *external_ids: contacts_pb2.ExternalId,
    display_name: str = "Grace",
    owner: str = "",
    etag: str = "",
    mask: Sequence[str] = (),
) -> Upsert:
    """Return the request for an upsert."""
    contact = contacts_pb2.Contact(
        display_name=display_name,
        owner=owner,
        etag=etag,
        external_ids=external_ids,
        kind=contacts_pb2.Contact.KIND_PERSON,
    )
    return Upsert(external_id=key, contact=contact, update_mask=FieldMask(paths=mask))


def upsert_all(client: vafa.Suite, *requests: Upsert) -> Sequence[contacts_pb2.Contact]:
    """Upsert in one batch."""
    request = contacts_pb2.BatchUpsertContactsRequest(requests=requests)
    return client.contacts.BatchUpsertContacts(request).contacts


def looked_up(client: vafa.Suite, key: contacts_pb2.ExternalId) -> contacts_pb2.Contact:
    """Return the contact that has an external id."""
    return client.contacts.LookupContact(contacts_pb2.LookupContactRequest(external_id=key))


def test_an_upsert_that_claims_the_external_id_of_another_is_refused(client: vafa.Suite) -> None:
    taken, fresh = new_key(), new_key()
    owner = create(client, taken)
    with refused(vafa.AlreadyExists, "EXTERNAL_ID_TAKEN") as single:
        client.contacts.UpsertContact(an_upsert(fresh, taken))
    assert single.fields == ["contact.external_ids"]
    assert single.metadata == {"resource": owner.name, "system": "shop"}
    with refused(vafa.AlreadyExists, "EXTERNAL_ID_TAKEN") as batch:
        upsert_all(client, an_upsert(new_key()), an_upsert(fresh, taken))
    assert batch.fields == ["requests[1].contact.external_ids"]
    with refused(vafa.NotFound, "CONTACT_NOT_FOUND"):
        looked_up(client, fresh)


def test_two_new_contacts_of_one_batch_do_not_share_an_external_id(client: vafa.Suite) -> None:
    first, second = new_key(), new_key()
    with refused(vafa.AlreadyExists, "EXTERNAL_ID_TAKEN") as refusal:
        upsert_all(client, an_upsert(first, second), an_upsert(second))
    assert refusal.fields == ["requests[1].contact.external_ids"]


@pytest.mark.parametrize("mask", [["*"], ["external_ids"]])
def test_an_upsert_never_takes_from_a_contact_the_id_it_was_found_by(
    client: vafa.Suite, mask: list[str]
) -> None:
    key, other = new_key(), new_key()
    contact = create(client, key, other)
    changed = client.contacts.UpsertContact(an_upsert(key, mask=mask))
    assert list(changed.external_ids) == [key]
    assert client.contacts.UpsertContact(an_upsert(key)).name == contact.name


def test_an_upsert_without_external_ids_leaves_those_there_are(client: vafa.Suite) -> None:
    key, other = new_key(), new_key()
    create(client, key, other)
    assert list(client.contacts.UpsertContact(an_upsert(key)).external_ids) == [key, other]


def test_two_external_ids_of_one_contact_change_it_one_after_the_other(client: vafa.Suite) -> None:
    first, second = new_key(), new_key()
    contact = create(client, first, second)
    answers = upsert_all(
        client,
        an_upsert(first, display_name="Grace", mask=["display_name"]),
        an_upsert(second, owner="sales", mask=["owner"]),
    )
    assert [one.name for one in answers] == [contact.name] * 2
    assert [one.etag for one in answers] == ['"2"', '"3"']
    now = looked_up(client, first)
    assert (now.display_name, now.owner, now.etag) == ("Grace", "sales", '"3"')


def test_an_upsert_with_an_old_etag_is_refused(client: vafa.Suite) -> None:
    key = new_key()
    old = create(client, key)
    client.contacts.UpsertContact(an_upsert(key, etag=old.etag))
    with refused(vafa.Aborted, "ETAG_MISMATCH") as refusal:
        client.contacts.UpsertContact(an_upsert(key, etag=old.etag, owner="sales"))
    assert refusal.metadata == {"resource": old.name}
    with refused(vafa.Aborted, "ETAG_MISMATCH"):
        upsert_all(client, an_upsert(new_key()), an_upsert(key, etag=old.etag, owner="sales"))


def test_an_upsert_of_a_deleted_contact_is_refused_and_its_place_named(client: vafa.Suite) -> None:
    key = new_key()
    contact = create(client, key)
    delete(client, contact)
    with refused(vafa.FailedPrecondition, "RESOURCE_DELETED") as single:
        client.contacts.UpsertContact(an_upsert(key))
    assert single.fields == ["external_id"]
    with refused(vafa.FailedPrecondition, "RESOURCE_DELETED") as batch:
        upsert_all(client, an_upsert(new_key()), an_upsert(key))
    assert batch.fields == ["requests[1].external_id"]
    assert batch.metadata == {"resource": contact.name}


def test_a_mask_that_is_wrong_in_a_batch_is_named_with_its_place(client: vafa.Suite) -> None:
    key = new_key()
    create(client, key)
    with refused(vafa.InvalidArgument, "UPDATE_MASK_INVALID") as refusal:
        upsert_all(client, an_upsert(new_key()), an_upsert(key, mask=["colour"]))
    assert refusal.fields == ["requests[1].update_mask"]


def test_a_handle_is_kept_without_its_at_sign(client: vafa.Suite) -> None:
    handles = [contacts_pb2.SocialHandle(network="telegram", handle="@ada")]
    contact = contacts_pb2.Contact(display_name="Ada", social_handles=handles)
    request = contacts_pb2.CreateContactRequest(contact=contact)
    made = client.contacts.CreateContact(request)
    assert [one.handle for one in made.social_handles] == ["ada"]
    request.contact.social_handles.add(network="telegram", handle="ada")
    with refused(vafa.InvalidArgument, "VALUE_REPEATED") as refusal:
        client.contacts.CreateContact(request)
    assert refusal.fields == ["contact.social_handles[1]"]


def a_call(
    contact: str, occurred: datetime | None = None
) -> interactions_pb2.CreateInteractionRequest:
    """Return the request to record a phone call."""
    interaction = Interaction(
        channel=Interaction.CHANNEL_PHONE, direction=Interaction.DIRECTION_INBOUND
    )
    if occurred:
        interaction.occur_time.FromDatetime(occurred)
    return interactions_pb2.CreateInteractionRequest(parent=contact, interaction=interaction)


def test_the_interactions_of_a_deleted_contact_are_kept_but_not_under_it(
    client: vafa.Suite,
) -> None:
    contact = create(client)
    made = client.interactions.CreateInteraction(a_call(contact.name))
    delete(client, contact)
    get = interactions_pb2.GetInteractionRequest(name=made.name)
    assert client.interactions.GetInteraction(get) == made
    latest = interactions_pb2.ListInteractionsRequest(
        parent="contacts/-", order_by="create_time desc", page_size=1000
    )
    assert made in client.interactions.ListInteractions(latest).interactions
    with refused(vafa.NotFound, "RESOURCE_NOT_FOUND"):
        client.interactions.ListInteractions(
            interactions_pb2.ListInteractionsRequest(parent=contact.name)
        )
    with refused(vafa.NotFound, "RESOURCE_NOT_FOUND"):
        client.interactions.CreateInteraction(a_call(contact.name))


def test_an_interaction_is_not_older_than_the_year_1900(client: vafa.Suite) -> None:
    contact, first = create(client).name, datetime(1900, 1, 1, tzinfo=UTC)
    made = client.interactions.CreateInteraction(a_call(contact, first))
    assert made.occur_time.ToDatetime(tzinfo=UTC) == first
    request = a_call(contact)
    request.interaction.occur_time.CopyFrom(Timestamp(seconds=made.occur_time.seconds - 1))
    with refused(vafa.InvalidArgument, "INVALID_FIELD") as refusal:
        client.interactions.CreateInteraction(request)
    assert refusal.fields == ["interaction.occur_time"]
