"""Lists of contacts that share a label: whatever leads the query, they hold what they must."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

import vafa
from vafa.contacts.v1 import contacts_pb2

NAMES = ("Émile", "beta", "Beta", "alpha", "beta", "آذر")
ORDERS: Mapping[str, Callable[[contacts_pb2.Contact], Any]] = {
    "create_time": lambda one: (one.create_time.ToNanoseconds(), one.name),
    "update_time": lambda one: (one.update_time.ToNanoseconds(), one.name),
    "display_name": lambda one: (one.display_name, one.name),
    "display_name, create_time": lambda one: (
        one.display_name,
        one.create_time.ToNanoseconds(),
        one.name,
    ),
}
Contact = contacts_pb2.Contact


def labelled(client: vafa.Suite, tag: str, *names: str) -> list[Contact]:
    """Create contacts of these names, one after another, with a label of this value."""
    made = []
    for n, name in enumerate(names):
        contact = Contact(
            display_name=name, labels={"tag": tag, "n": str(n)}, owner="ada" if n % 2 else "bob"
        )
        request = contacts_pb2.CreateContactRequest(contact=contact)
        made.append(client.contacts.CreateContact(request))
    return made


def listed(client: vafa.Suite, text: str, order_by: str) -> Sequence[Contact]:
    """Return all pages of a list, two a page."""
    found: list[Contact] = []
    request = contacts_pb2.ListContactsRequest(filter=text, order_by=order_by, page_size=2)
    while True:
        page = client.contacts.ListContacts(request)
        found += page.contacts
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


@pytest.mark.parametrize("falls", [False, True])
@pytest.mark.parametrize("order_by", ORDERS)
def test_the_contacts_of_a_label_come_once_each_in_every_order(
    client: vafa.Suite, order_by: str, *, falls: bool
) -> None:
    tag = uuid.uuid4().hex
    made = labelled(client, tag, *NAMES)
    labelled(client, f"{tag}-other", *NAMES)
    way = ", ".join(f"{part} desc" if falls else part for part in order_by.split(", "))
    expected = sorted(made, key=ORDERS[order_by], reverse=falls)
    assert list(listed(client, f'labels.tag = "{tag}"', way)) == expected


def test_what_else_a_filter_asks_holds_too(client: vafa.Suite) -> None:
    tag = uuid.uuid4().hex
    made = labelled(client, tag, *NAMES)
    text = f'owner = "ada" AND labels.tag = "{tag}" AND NOT labels.n = "3" AND labels.n:*'
    assert list(listed(client, text, "create_time desc")) == [made[5], made[1]]
    either = f'labels.tag = "{tag}" OR labels.tag = "{tag}"'
    assert list(listed(client, either, "")) == made
    both = f'labels.tag = "{tag}" AND labels.tag = "other"'
    assert not listed(client, both, "")


def test_a_contact_that_changes_its_name_or_its_labels_changes_its_place(
    client: vafa.Suite,
) -> None:
    tag = uuid.uuid4().hex
    first, second, third = labelled(client, tag, "a", "b", "c")
    renamed = Contact(name=first.name, display_name="z")
    mask = FieldMask(paths=["display_name"])
    client.contacts.UpdateContact(
        contacts_pb2.UpdateContactRequest(contact=renamed, update_mask=mask)
    )
    text = f'labels.tag = "{tag}"'
    names = [one.name for one in listed(client, text, "display_name")]
    assert names == [second.name, third.name, first.name]
    marked = Contact(name=second.name, labels={"tag": "other"})
    mask = FieldMask(paths=["labels"])
    client.contacts.UpdateContact(
        contacts_pb2.UpdateContactRequest(contact=marked, update_mask=mask)
    )
    assert [one.name for one in listed(client, text, "")] == [first.name, third.name]
    client.contacts.DeleteContact(contacts_pb2.DeleteContactRequest(name=third.name))
    assert [one.name for one in listed(client, text, "display_name")] == [first.name]
