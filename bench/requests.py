"""Requests as they go over the wire: keys uniform over all that are given, ids fresh each time."""

import random
from collections.abc import Iterator, Sequence
from itertools import count

import uuid_utils
from google.protobuf.message import Message
from google.type import money_pb2

from bench.filling import FAMILY, GIVEN, PROGRAM
from vafa.contacts.v1 import contacts_pb2
from vafa.gateway.v1 import customers_pb2
from vafa.loyalty.v1 import ledger_pb2, orders_pb2

LENGTH_DELIMITED = 2
VARIETY = 10_000
# No secret is made of it.
chance = random.Random()  # noqa: S311


def fresh_id(message: Message) -> bytes:
    """Return an encoded request_id to append to an encoded request without one."""
    number = message.DESCRIPTOR.fields_by_name["request_id"].number
    return _field(number, str(uuid_utils.uuid4()).encode())


def _field(number: int, value: bytes) -> bytes:
    """Return a field of text or of a message, whose number is below 16."""
    size, head = len(value), bytearray((number << 3 | LENGTH_DELIMITED,))
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + value


def _one_of(messages: Sequence[Message]) -> Iterator[bytes]:
    encoded = [message.SerializeToString() for message in messages]
    while True:
        yield chance.choice(encoded)


def _writes_of(messages: Sequence[Message]) -> Iterator[bytes]:
    return (encoded + fresh_id(messages[0]) for encoded in _one_of(messages))


def get_contact(contacts: Sequence[str]) -> Iterator[bytes]:
    """Give requests for contacts."""
    return _one_of([contacts_pb2.GetContactRequest(name=name) for name in contacts])


def get_customer(contacts: Sequence[str]) -> Iterator[bytes]:
    """Give requests for the whole picture of contacts."""
    names = [name.replace("contacts/", "customers/") for name in contacts]
    return _one_of([customers_pb2.GetCustomerRequest(name=name) for name in names])


def get_balance(members: Sequence[str]) -> Iterator[bytes]:
    """Give requests for balances."""
    return _one_of([ledger_pb2.GetBalanceRequest(name=f"{name}/balance") for name in members])


def award_points(members: Sequence[str]) -> Iterator[bytes]:
    """Give awards of a point."""
    return _writes_of(
        [ledger_pb2.AwardPointsRequest(member=name, points=1, reason="bench") for name in members]
    )


def spend_points(members: Sequence[str]) -> Iterator[bytes]:
    """Give spendings of a point."""
    return _writes_of(
        [ledger_pb2.SpendPointsRequest(member=name, points=1, reason="bench") for name in members]
    )


def batch_award_points(
    members: Sequence[str], size: int, points: int = 1, *, in_order: bool = False
) -> Iterator[bytes]:
    """Give batches of awards, to whomever it falls, or to all members in their order and no
    further.
    """
    batch = ledger_pb2.BatchAwardPointsRequest(parent=PROGRAM)
    number = batch.DESCRIPTOR.fields_by_name["requests"].number
    awards = [
        _field(number, one.SerializeToString())
        for one in (
            ledger_pb2.AwardPointsRequest(member=name, points=points, reason="bench")
            for name in members
        )
    ]
    parent = batch.SerializeToString()
    if in_order:
        for first in range(0, len(awards), size):
            yield parent + b"".join(awards[first : first + size]) + fresh_id(batch)
        return
    while True:
        yield parent + b"".join(chance.choices(awards, k=size)) + fresh_id(batch)


def record_order(contacts: Sequence[str]) -> Iterator[bytes]:
    """Give orders of two lines, paid by card, each with an external id of its own."""
    usd = money_pb2.Money(currency_code="USD", units=10)
    line = orders_pb2.OrderLine(sku="item", title="An item", quantity=1, amount=usd)
    order = orders_pb2.Order(lines=[line, line])
    order.payments.add(method="card").amount.CopyFrom(usd)
    request = orders_pb2.RecordOrderRequest(parent=PROGRAM, order=order)
    run = uuid_utils.uuid4().hex
    for n in count():
        request.order.external_id = f"{run}-{n}"
        request.order.contact = chance.choice(contacts)
        yield request.SerializeToString() + fresh_id(request)


def a_contact(n: int) -> contacts_pb2.Contact:
    """Return a contact with what most have: a name, an address, a number, where it came from."""
    (given, given_slug), (family, family_slug) = chance.choice(GIVEN), chance.choice(FAMILY)
    contact = contacts_pb2.Contact(
        kind=contacts_pb2.Contact.KIND_PERSON,
        display_name=f"{given} {family}",
        given_name=given,
        family_name=family,
        locale="en-GB",
        acquisition_source="shop",
        lifecycle_stage=contacts_pb2.Contact.LIFECYCLE_STAGE_CUSTOMER,
        labels={"tier": "gold", "city": f"city-{n % 40}"},
    )
    contact.emails.add(address=f"{given_slug}.{family_slug}{n}@example.com", label="home")
    contact.phones.add(number=f"+98912{n % 10_000_000:07}", label="mobile")
    return contact


def create_contact() -> Iterator[bytes]:
    """Give new contacts."""
    return _writes_of(
        [contacts_pb2.CreateContactRequest(contact=a_contact(n)) for n in range(VARIETY)]
    )


def import_contacts(system: str, contacts: int, size: int) -> Iterator[bytes]:
    """Give batches of new contacts, known by their ids in another system, as an import does."""
    for first in range(0, contacts, size):
        batch = contacts_pb2.BatchUpsertContactsRequest()
        for n in range(first, first + size):
            external_id = contacts_pb2.ExternalId(system=system, value=f"T{n:08}")
            batch.requests.add(external_id=external_id, contact=a_contact(n))
        yield batch.SerializeToString() + fresh_id(batch)
