"""Messages in JSON: what is stored is what json_format makes of them."""

import json
from typing import Any, cast

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.json_messages import from_json, to_json
from tests.unit.test_resource import messages
from vafa.contacts.v1 import contacts_pb2
from vafa.feedback.v1 import surveys_pb2
from vafa.loyalty.v1 import ledger_pb2, orders_pb2

# Fields of messages that are stored; one with an enum; and, last, one of every kind.
FIELDS: list[tuple[type[Message], str]] = [
    (contacts_pb2.Contact, "emails"),
    (contacts_pb2.Contact, "phones"),
    (contacts_pb2.Contact, "social_handles"),
    (contacts_pb2.Contact, "external_ids"),
    (surveys_pb2.Survey, "questions"),
    (orders_pb2.Order, "lines"),
    (orders_pb2.Order, "payments"),
    (ledger_pb2.LedgerTransaction, "entries"),
    (contacts_pb2.BatchGetContactsResponse, "contacts"),
]


def in_json(message: Message) -> str:
    """Return the JSON that json_format makes of a message."""
    return json.dumps(json_format.MessageToDict(message, preserving_proto_field_name=True))


def type_of(holder: type[Message], field: str) -> Descriptor:
    """Return the type of a field of messages."""
    found: Any = holder.DESCRIPTOR.fields_by_name[field].message_type
    return cast("Descriptor", found)


def back(holder: type[Message], field: str, stored: list[str]) -> list[Message]:
    """Return a field of messages as it is made out of JSON."""
    descriptor = type_of(holder, field)
    convert = from_json(descriptor)
    values = [json.loads(one) for one in stored]
    message: Any = holder(**{field: values if convert is None else [convert(v) for v in values]})
    return list(getattr(message, field))


@pytest.mark.parametrize(("holder", "field"), FIELDS)
def test_messages_have_the_json_of_the_library_and_come_back(
    holder: type[Message], field: str
) -> None:
    descriptor = type_of(holder, field)
    convert = to_json(descriptor)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(messages(descriptor), max_size=3))
    def have(given_messages: list[Message]) -> None:
        stored = [json.dumps(convert(message)) for message in given_messages]
        assert stored == [in_json(message) for message in given_messages]
        assert back(holder, field, stored) == given_messages

    have()


def test_a_value_of_an_enum_that_nobody_knows_comes_back() -> None:
    entry = ledger_pb2.LedgerEntry(account=99, points=-1)  # type: ignore[arg-type]
    stored = json.dumps(to_json(entry.DESCRIPTOR)(entry))
    assert stored == in_json(entry)
    assert back(ledger_pb2.LedgerTransaction, "entries", [stored]) == [entry]
