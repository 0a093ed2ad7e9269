"""The declared resources of the contacts service."""

from services.chassis import codecs
from services.chassis.finding import Filterable, Index, by_name, related, scalars
from services.chassis.resource import Resource
from services.chassis.rows import Row
from services.contacts import checks
from services.contacts.errors import ExternalIdTaken
from services.contacts.rules.names import name_parts
from services.contacts.rules.reachability import email_key, normalise_email, normalise_phone
from services.contacts.schema import (
    contact_emails,
    contact_external_ids,
    contact_labels,
    contact_name_parts,
    contact_phones,
    contacts,
    interaction_labels,
    interactions,
)
from vafa.contacts.v1 import contacts_pb2, interactions_pb2


def _email_literal(text: str) -> str:
    return email_key(normalise_email(text))


def _email_rows(contact: contacts_pb2.Contact) -> list[Row]:
    return [{"address_key": email_key(email.address)} for email in contact.emails]


def _phone_rows(contact: contacts_pb2.Contact) -> list[Row]:
    return [{"number": phone.number} for phone in contact.phones]


def _external_id_rows(contact: contacts_pb2.Contact) -> list[Row]:
    return [{"system": x.system, "value": x.value} for x in contact.external_ids]


def _name_rows(contact: contacts_pb2.Contact) -> list[Row]:
    names = (contact.display_name, contact.given_name, contact.family_name)
    return [{"part": part} for part in name_parts(*names)]


CONTACT: Resource[contacts_pb2.Contact] = Resource(
    message=contacts_pb2.Contact,
    table=contacts,
    columns={
        "kind": codecs.plain(contacts.c.kind),
        "display_name": codecs.plain(contacts.c.display_name),
        "given_name": codecs.plain(contacts.c.given_name),
        "family_name": codecs.plain(contacts.c.family_name),
        "emails": codecs.json(contacts.c.emails),
        "phones": codecs.json(contacts.c.phones),
        "social_handles": codecs.json(contacts.c.social_handles),
        "occupation": codecs.plain(contacts.c.occupation),
        "birth_date": codecs.civil_date(contacts.c.birth_date),
        "locale": codecs.plain(contacts.c.locale),
        "acquisition_source": codecs.plain(contacts.c.acquisition_source),
        "lifecycle_stage": codecs.plain(contacts.c.lifecycle_stage),
        "owner": codecs.plain(contacts.c.owner),
        "custom_fields": codecs.json(contacts.c.custom_fields),
        "external_ids": codecs.json(contacts.c.external_ids),
    },
    labels=contact_labels,
    indexes=(
        Index(contact_emails, _email_rows),
        Index(contact_phones, _phone_rows),
        Index(
            contact_external_ids,
            _external_id_rows,
            taken=lambda owner, row: ExternalIdTaken(owner, row["system"], row["value"]),
        ),
        Index(contact_name_parts, _name_rows),
    ),
    filters={
        **scalars(contacts, "kind", "display_name", "lifecycle_stage", "owner"),
        **scalars(contacts, "acquisition_source", "create_time", "update_time"),
        "emails.address": Filterable(
            related(contacts, contact_emails, "address_key"), _email_literal
        ),
        "phones.number": Filterable(related(contacts, contact_phones, "number"), normalise_phone),
        "external_ids.system": Filterable(related(contacts, contact_external_ids, "system")),
        "external_ids.value": Filterable(related(contacts, contact_external_ids, "value")),
    },
    orders=("create_time", "update_time", "display_name"),
    check=checks.check_contact,
)

INTERACTION: Resource[interactions_pb2.Interaction] = Resource(
    message=interactions_pb2.Interaction,
    table=interactions,
    columns={
        "channel": codecs.plain(interactions.c.channel),
        "direction": codecs.plain(interactions.c.direction),
        "agent": codecs.plain(interactions.c.agent),
        "subject": codecs.plain(interactions.c.subject),
        "body": codecs.plain(interactions.c.body),
        "occur_time": codecs.time(interactions.c.occur_time),
    },
    parent=CONTACT,
    labels=interaction_labels,
    filters={
        **by_name(interactions_pb2.Interaction, interactions),
        **scalars(interactions, "channel", "direction", "agent", "occur_time", "create_time"),
    },
    orders=("create_time", "occur_time"),
    check=checks.check_interaction,
)
