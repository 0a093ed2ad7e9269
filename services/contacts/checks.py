"""Contacts and interactions in their normal form, or a refusal that says why not."""

from collections.abc import Callable, Hashable, Iterable
from datetime import date, datetime, timedelta

from google.protobuf import json_format

from services.chassis.errors import InvalidField
from services.chassis.given import first_repeated, time_or_now
from services.contacts import errors
from services.contacts.rules.reachability import email_key, normalise_email, normalise_phone
from vafa.contacts.v1 import contacts_pb2, interactions_pb2

FIRST_BIRTH_YEAR = 1870
CUSTOM_FIELDS_BYTES = 16_384
OF_PERSONS = ("given_name", "family_name", "occupation", "birth_date")
Contact = contacts_pb2.Contact
Interaction = interactions_pb2.Interaction


def check_contact(_old: Contact | None, new: Contact, now: datetime) -> Contact:
    """Return the contact with its defaults and its addresses in normal form.

    Raises EmailInvalid, PhoneInvalid, ValueRepeated, FieldNotOfKind, DateInvalid,
    TimeInFuture, InvalidField.
    """
    if not new.kind:
        new.kind = Contact.KIND_PERSON
    if not new.lifecycle_stage:
        new.lifecycle_stage = Contact.LIFECYCLE_STAGE_LEAD
    if new.kind == Contact.KIND_COMPANY:
        _refuse_fields_of_persons(new)
    if new.HasField("birth_date"):
        _check_birth_date(new, now)
    _bound_custom_fields(new)
    for n, email in enumerate(new.emails):
        field = f"emails[{n}].address"
        email.address = _normal(normalise_email, email.address, field, errors.EmailInvalid)
    for n, phone in enumerate(new.phones):
        field = f"phones[{n}].number"
        phone.number = _normal(normalise_phone, phone.number, field, errors.PhoneInvalid)
    for handle in new.social_handles:
        handle.handle = handle.handle.removeprefix("@")
    _refuse_repeated("emails", (email_key(email.address) for email in new.emails))
    _refuse_repeated("phones", (phone.number for phone in new.phones))
    _refuse_repeated("social_handles", ((h.network, h.handle) for h in new.social_handles))
    _refuse_repeated("external_ids", ((x.system, x.value) for x in new.external_ids))
    return new


def check_interaction(_old: Interaction | None, new: Interaction, now: datetime) -> Interaction:
    """Return the interaction with its time; raises TimeInFuture."""
    occurred = time_or_now(new, "occur_time", now, errors.TimeInFuture)
    new.occur_time.FromDatetime(occurred)
    return new


def _normal(
    normalise: Callable[[str], str],
    value: str,
    field: str,
    refusal: type[errors.ContactsRefusal],
) -> str:
    try:
        return normalise(value)
    except ValueError as error:
        raise refusal(f"{field}: {error}", violations=[(field, str(error))]) from None


def _refuse_fields_of_persons(contact: Contact) -> None:
    present = {field.name for field, _ in contact.ListFields()}
    violations = [(name, "a company does not have it") for name in OF_PERSONS if name in present]
    if violations:
        raise errors.FieldNotOfKind("a field of persons", violations=violations)


def _check_birth_date(contact: Contact, now: datetime) -> None:
    given = contact.birth_date
    try:
        born = date(given.year, given.month, given.day)
    except ValueError:
        born = date.min
    if born.year < FIRST_BIRTH_YEAR:
        text = f"not a whole date from {FIRST_BIRTH_YEAR} on"
        raise errors.DateInvalid(f"birth_date: {text}", violations=[("birth_date", text)])
    # The day may have begun already somewhere east of UTC.
    if born > (now + timedelta(days=1)).date():
        text = "lies in the future"
        raise errors.TimeInFuture(f"birth_date {text}", violations=[("birth_date", text)])


def _bound_custom_fields(contact: Contact) -> None:
    if not contact.HasField("custom_fields"):
        return
    in_json = json_format.MessageToJson(contact.custom_fields, indent=None, ensure_ascii=False)
    if len(in_json.encode()) > CUSTOM_FIELDS_BYTES:
        text = f"at most {CUSTOM_FIELDS_BYTES} bytes in JSON"
        violations = [("custom_fields", text)]
        raise InvalidField(f"custom_fields: {text}", violations=violations)


def _refuse_repeated(field: str, values: Iterable[Hashable]) -> None:
    n = first_repeated(values)
    if n is not None:
        path = f"{field}[{n}]"
        raise errors.ValueRepeated(f"{path} stands twice", violations=[(path, "stands twice")])
