"""Requests against the bounds of the contract."""

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value

from services.chassis import errors, validation
from vafa.contacts.v1 import contacts_pb2
from vafa.loyalty.v1 import orders_pb2

Contact = contacts_pb2.Contact
Email = contacts_pb2.EmailAddress
Phone = contacts_pb2.PhoneNumber
Create = contacts_pb2.CreateContactRequest


def fields_of(request: Message) -> list[str]:
    """Return the paths of the fields for which a request is refused; none if it is not."""
    try:
        validation.checker(type(request))(request, request.SerializeToString())
    except errors.InvalidField as refusal:
        return [field for field, _ in refusal.violations]
    return []


def test_a_request_within_its_bounds_passes() -> None:
    assert fields_of(Create(contact=Contact(display_name="Ada"))) == []


def test_every_field_that_breaks_its_bounds_is_named_at_once() -> None:
    contact = Contact(display_name="", given_name="x" * 101, locale="no locale")
    assert set(fields_of(Create(contact=contact, contact_id="No"))) == {
        "contact.display_name",
        "contact.given_name",
        "contact.locale",
        "contact_id",
    }


def test_a_field_is_named_by_the_path_that_a_caller_writes() -> None:
    bad = Contact(display_name="Ada", phones=[Phone(number="+98912000000"), Phone(number="1")])
    good = Contact(display_name="Ada")
    batch = contacts_pb2.BatchCreateContactsRequest(
        requests=[Create(contact=contact) for contact in (good, bad)]
    )
    assert fields_of(batch) == ["requests[1].contact.phones[1].number"]


def test_a_key_of_a_map_is_named() -> None:
    request = Create(contact=Contact(display_name="Ada", labels={"Not good": "x"}))
    assert fields_of(request) == ["contact.labels[Not good]"]


def test_a_required_message_must_be_there() -> None:
    assert fields_of(Create()) == ["contact"]


def test_what_a_resource_beside_an_update_mask_leaves_out_is_not_missed() -> None:
    request = contacts_pb2.UpdateContactRequest(contact=Contact(name="contacts/a", owner="b"))
    assert fields_of(request) == []


def test_what_it_gives_must_be_within_its_bounds() -> None:
    contact = Contact(name="contacts/a", given_name="x" * 101, emails=[Email(address="a")])
    request = contacts_pb2.UpdateContactRequest(
        contact=contact, update_mask=FieldMask(paths=["given_name"])
    )
    assert set(fields_of(request)) == {"contact.given_name", "contact.emails[0].address"}


def test_an_upsert_may_leave_out_fields_but_not_its_key() -> None:
    request = contacts_pb2.UpsertContactRequest(contact=Contact(owner="a"))
    assert fields_of(request) == ["external_id"]


def test_a_whole_resource_is_missed_what_it_leaves_out() -> None:
    with pytest.raises(errors.InvalidField) as refused:
        validation.check_resource(Contact(given_name="Ada"))
    assert [field for field, _ in refused.value.violations] == ["display_name"]


@pytest.mark.parametrize(
    ("contact", "path"),
    [
        (Contact(display_name="A\0"), "display_name"),
        (
            Contact(display_name="A", emails=[Email(address="a\0@b.c")]),
            None,
        ),
        (Contact(display_name="A", labels={"key": "a\0"}), "labels['key']"),
        (
            Contact(display_name="A", custom_fields=Struct(fields={"a": Value(string_value="\0")})),
            "custom_fields.fields['a'].string_value",
        ),
    ],
)
def test_a_nul_character_is_refused_wherever_it_stands(contact: Contact, path: str | None) -> None:
    assert f"contact.{path or 'emails[0].address'}" in fields_of(Create(contact=contact))


def test_a_nul_byte_that_is_no_text_is_not_one() -> None:
    request = orders_pb2.RecordOrderRequest(request_id="\0")
    assert "request_id" in fields_of(request)
    # A length of 256 holds a byte that is zero.
    assert fields_of(contacts_pb2.ListContactsRequest(filter=f'owner = "{"x" * 247}"')) == []


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(-62135596801, 0), (253402300800, 0), (10**15, 0), (0, -1), (0, 10**9)],
)
def test_a_time_that_no_calendar_has_is_refused(seconds: int, nanos: int) -> None:
    contact = Contact(display_name="Ada")
    contact.create_time.seconds, contact.create_time.nanos = seconds, nanos
    assert fields_of(Create(contact=contact)) == ["contact.create_time"]


@pytest.mark.parametrize("seconds", [-62135596800, 253402300799])
def test_the_first_and_the_last_second_of_the_calendar_pass(seconds: int) -> None:
    contact = Contact(display_name="Ada")
    contact.create_time.seconds = seconds
    assert fields_of(Create(contact=contact)) == []


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_does_not_have_is_refused(number: float) -> None:
    fields = Struct(fields={"a": Value(struct_value=Struct(fields={"b": Value()}))})
    fields.fields["c"].list_value.values.extend([Value(), Value(number_value=number)])
    request = Create(contact=Contact(display_name="Ada", custom_fields=fields))
    assert fields_of(request) == [
        "contact.custom_fields.fields['c'].list_value.values[1].number_value"
    ]


def test_a_refusal_of_a_thousand_fields_is_short_enough_to_travel() -> None:
    requests = [Create(contact=Contact(display_name="")) for _ in range(1000)]
    check = validation.checker(contacts_pb2.BatchCreateContactsRequest)
    with pytest.raises(errors.InvalidField) as refused:
        check(contacts_pb2.BatchCreateContactsRequest(requests=requests), b"")
    assert len(refused.value.violations) == 1000
    assert refused.value.message.startswith("1000 fields, requests[0].contact.display_name: ")
    assert refused.value.to_status().ByteSize() < 5000


def test_a_refusal_that_quotes_a_caller_quotes_the_beginning() -> None:
    request = Create(contact=Contact(display_name="Ada", labels={"گ" * 100_000: "x"}))
    with pytest.raises(errors.InvalidField) as refused:
        validation.checker(Create)(request, b"")
    assert refused.value.message.startswith("contact.labels[گگگ")
    assert refused.value.to_status().ByteSize() < 5000
