"""The suite serves on both databases."""

import vafa
from vafa.contacts.v1 import contacts_pb2


def test_a_contact_that_was_created_is_found(client: vafa.Suite) -> None:
    contact = contacts_pb2.Contact(display_name="Ada")
    created = client.contacts.CreateContact(contacts_pb2.CreateContactRequest(contact=contact))
    got = client.contacts.GetContact(contacts_pb2.GetContactRequest(name=created.name))
    assert got == created
