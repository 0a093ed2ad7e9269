"""Logs are JSON lines, one for each call, and nothing that leaves a service but its answers
holds personal data.
"""

import json
import re
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

import vafa
from services.chassis.contract import SERVICES
from tests.harness.factories import a_published_survey, answer
from tests.harness.suite import RunningSuite
from tests.harness.waiting import until
from vafa.contacts.v1 import contacts_pb2, interactions_pb2
from vafa.feedback.v1 import responses_pb2
from vafa.gateway.v1 import customers_pb2

Contact = contacts_pb2.Contact
Interaction = interactions_pb2.Interaction
Response = responses_pb2.Response
Line = Mapping[str, Any]
# What the canaries stand in, by the paths that the contract marks debug_redact. The digits are
# such as no time, port or id has by chance.
DIGITS = "98912717"
BORN = (1873, 11, 29)
CANARY: Mapping[str, str] = {
    "display_name": "canarydisplay",
    "given_name": "canarygiven",
    "family_name": "canaryfamily",
    "emails": "canarymail",
    "emails.address": "canarymail",
    "phones": DIGITS,
    "phones.number": DIGITS,
    "social_handles": "canaryhandle",
    "social_handles.handle": "canaryhandle",
    "occupation": "canaryoccupation",
    "birth_date": "1873-11-29",
    "custom_fields": "canarycustom",
    "subject": "canarysubject",
    "body": "canarybody",
    "comment": "canarycomment",
}
# What the core of gRPC says on standard error, which is not ours to form.
FROM_GRPC = re.compile(r"[IWEF]\d{4} \d\d:|WARNING: All log messages before absl::")
OTHER_FORMS = ("year: 1873", '"year": 1873', "canary", "CANARY")


def redacted_paths(descriptor: Descriptor, prefix: str = "") -> Iterator[str]:
    """Find the fields of a message, and of those in it, that are marked debug_redact."""
    for field in descriptor.fields:
        if field.GetOptions().debug_redact:
            yield prefix + field.name
        if field.message_type is not None and field.message_type.full_name.startswith("vafa."):
            yield from redacted_paths(field.message_type, f"{prefix}{field.name}.")


def a_contact(n: int, **changed: Any) -> Contact:
    """Return a contact with a canary in every field that holds personal data."""
    contact = Contact(
        display_name=f"canarydisplay {n}",
        given_name="canarygiven",
        family_name="canaryfamily",
        occupation="canaryoccupation",
    )
    contact.emails.add(address=f"canarymail{n}-{uuid.uuid4().hex[:8]}@example.org")
    contact.phones.add(number=f"+{DIGITS}{n:04}")
    contact.social_handles.add(network="telegram", handle="canaryhandle")
    contact.birth_date.year, contact.birth_date.month, contact.birth_date.day = BORN
    contact.custom_fields["canarycustom"] = "canarycustom"
    contact.MergeFrom(Contact(**changed))
    return contact


def lines_of(suite: RunningSuite, service: str) -> list[Line]:
    """Return the log of a service, each line read as JSON."""
    lines = (line for line in suite.log(service).split("\n") if line)
    return [json.loads(line) for line in lines if not FROM_GRPC.match(line)]


def rpc_lines(suite: RunningSuite, service: str, request_id: str) -> list[Line]:
    """Return the lines of a call once there is one."""
    ends_at = time.monotonic() + 5
    while True:
        found = [
            line
            for line in lines_of(suite, service)
            if line.get("event") == "rpc" and line["request_id"] == request_id
        ]
        if found or time.monotonic() > ends_at:
            return found
        time.sleep(0.05)


def request_id_of(suite: RunningSuite, method: str, request: Message, token: str) -> str:
    """Call a method of contacts and return the id under which its trailers tell it."""
    path = f"/vafa.contacts.v1.ContactService/{method}"
    with grpc.insecure_channel(suite.addresses["contacts"]) as channel:
        call = channel.unary_unary(path, type(request).SerializeToString, Contact.FromString)
        ended = call.future(request, timeout=5, metadata=(("authorization", f"Bearer {token}"),))
        return str(dict(ended.trailing_metadata())["request-id"])


def tables_of(suite: RunningSuite, service: str) -> str:
    """Return what the feed and the audit of a service hold."""
    engine = create_engine(suite.database_urls[service], poolclass=NullPool)
    with engine.connect() as connection:
        rows: list[object] = []
        for table in ("outbox", "audit", "parked_events"):
            for row in connection.execute(text(f"SELECT * FROM {table}")):  # noqa: S608
                rows += [bytes(each) if isinstance(each, memoryview) else each for each in row]
    engine.dispose()
    return "\n".join(str(each) for each in rows)


def metrics_of(suite: RunningSuite, service: str) -> str:
    """Return the metrics page of a service."""
    url = f"http://{suite.metrics_addresses[service]}/metrics"
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())


def refused_with(error: vafa.VafaError) -> str:
    """Return all that an error tells."""
    return f"{error} {error.metadata}"


def failing_calls(client: vafa.Suite, name: str) -> list[str]:
    """Make calls with canaries that fail, each in another way; return what is told of them."""
    contacts, create = client.contacts, contacts_pb2.CreateContactRequest
    lookup, many = contacts_pb2.LookupContactRequest, contacts_pb2.ListContactsRequest
    nul = Struct(fields={"a": Value(string_value="canarycustom\0")})
    future = Interaction(channel=1, direction=1, subject="canarysubject", body="canarybody")  # type: ignore[arg-type]
    future.occur_time.FromSeconds(7_000_000_000)
    company = Contact(
        kind=Contact.KIND_COMPANY, display_name="canarydisplay", given_name="canarygiven"
    )
    twice = a_contact(900)
    twice.phones.add(number=twice.phones[0].number)
    mail = Contact(display_name="canarydisplay")
    mail.emails.add(address="canarymail at nowhere")
    phone = Contact(display_name="canarydisplay")
    phone.phones.add(number=f"+{DIGITS}{DIGITS}{DIGITS}")
    survey = a_published_survey(client)
    calls: list[Callable[[], object]] = [
        lambda: contacts.CreateContact(create(contact=Contact(given_name="canarygiven" * 20))),
        lambda: contacts.CreateContact(create(contact=mail)),
        lambda: contacts.CreateContact(create(contact=phone)),
        lambda: contacts.CreateContact(create(contact=company)),
        lambda: contacts.CreateContact(create(contact=twice)),
        lambda: contacts.CreateContact(create(contact=a_contact(1, custom_fields=nul))),
        lambda: contacts.CreateContact(create(contact=a_contact(2), contact_id=name[9:])),
        lambda: contacts.CreateContact(create(contact=a_contact(3), request_id="canarygiven\n")),
        lambda: contacts.UpdateContact(
            contacts_pb2.UpdateContactRequest(contact=a_contact(4, name=name, etag='"77"'))
        ),
        lambda: contacts.UpdateContact(
            contacts_pb2.UpdateContactRequest(contact=a_contact(5, name="contacts/nobody"))
        ),
        lambda: contacts.LookupContact(lookup(email="canarymail@nobody.example.org")),
        lambda: contacts.LookupContact(lookup(email="canarymail")),
        lambda: contacts.LookupContact(lookup(phone=f"+{DIGITS}9999")),
        lambda: contacts.LookupContact(lookup(phone="canary")),
        lambda: contacts.ListContacts(many(filter='display_name = "canarydisplay')),
        lambda: contacts.ListContacts(many(filter='emails.address = "canarymail"')),
        lambda: contacts.ListContacts(many(filter='create_time = "canarydisplay"')),
        lambda: contacts.SearchContacts(
            contacts_pb2.SearchContactsRequest(query="canarydisplay", page_token="canary")  # noqa: S106
        ),
        lambda: client.interactions.CreateInteraction(
            interactions_pb2.CreateInteractionRequest(parent=name, interaction=future)
        ),
        lambda: answer(client, survey, Response(score=10, comment="canarycomment" * 400)),
        lambda: answer(client, survey, Response(comment="canarycomment")),
        lambda: client.responses.ListResponses(
            responses_pb2.ListResponsesRequest(parent=survey, filter='comment = "canarycomment"')
        ),
    ]
    told: list[str] = []
    for call in calls:
        with pytest.raises(vafa.VafaError) as error:
            call()
        assert error.value.code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
        told.append(refused_with(error.value))
    return told


def succeeding_calls(client: vafa.Suite) -> str:
    """Make calls with canaries that succeed; return the name of the contact."""
    contacts = client.contacts
    created = contacts.CreateContact(contacts_pb2.CreateContactRequest(contact=a_contact(10)))
    changed = a_contact(11, name=created.name, etag=created.etag)
    contacts.UpdateContact(contacts_pb2.UpdateContactRequest(contact=changed))
    contacts.GetContact(contacts_pb2.GetContactRequest(name=created.name))
    found = contacts.LookupContact(
        contacts_pb2.LookupContactRequest(email=changed.emails[-1].address)
    )
    assert found.name == created.name
    contacts.SearchContacts(contacts_pb2.SearchContactsRequest(query="canarydisplay"))
    contacts.ListContacts(
        contacts_pb2.ListContactsRequest(filter='emails.address = "canarymail@example.org"')
    )
    key = contacts_pb2.ExternalId(system="logs", value=uuid.uuid4().hex)
    upsert = contacts_pb2.UpsertContactRequest(external_id=key, contact=a_contact(12))
    for _ in range(2):
        contacts.UpsertContact(upsert)
    interaction = Interaction(
        channel=Interaction.CHANNEL_PHONE,
        direction=Interaction.DIRECTION_INBOUND,
        subject="canarysubject",
        body="canarybody",
    )
    client.interactions.CreateInteraction(
        interactions_pb2.CreateInteractionRequest(parent=created.name, interaction=interaction)
    )
    response = Response(contact=created.name, score=0, comment="canarycomment")
    answer(client, a_published_survey(client), response)
    customer = created.name.replace("contacts/", "customers/")
    client.customers.GetCustomer(customers_pb2.GetCustomerRequest(name=customer))
    return created.name


def test_a_canary_sits_in_every_field_that_holds_personal_data() -> None:
    marked = [
        path
        for message in (Contact, Interaction, Response)
        for path in redacted_paths(message.DESCRIPTOR)
    ]
    assert sorted(marked) == sorted(CANARY)


def test_personal_data_leaves_a_service_by_its_answers_alone(suite: RunningSuite) -> None:
    with suite.client() as client:
        name = succeeding_calls(client)
        told = failing_calls(client, name)
    canaries = {*CANARY.values(), *OTHER_FORMS}
    for each in told:
        assert [canary for canary in canaries if canary in each] == [], each
    for service in SERVICES:
        places = {
            "log": suite.log(service),
            "metrics": metrics_of(suite, service),
            "tables": tables_of(suite, service),
        }
        for place, content in places.items():
            hits = [canary for canary in canaries if canary in content]
            assert hits == [], f"{hits} in the {place} of {service}"


def test_a_defect_is_logged_without_the_data_of_the_call(tmp_path: Path) -> None:
    suite = RunningSuite(tmp_path, {"contacts": f"sqlite:///{tmp_path}/contacts.db"})
    suite.start("contacts")
    try:
        engine = create_engine(suite.database_urls["contacts"], poolclass=NullPool)
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE contacts RENAME COLUMN occupation TO job"))
        request_id = str(uuid.uuid4())
        request = contacts_pb2.CreateContactRequest(contact=a_contact(1), request_id=request_id)
        with suite.client() as client, pytest.raises(vafa.Internal) as error:
            client.contacts.CreateContact(request)
        assert error.value.message == "a defect of the service"
        assert error.value.metadata == {"request_id": request_id}
        [defect] = [line for line in lines_of(suite, "contacts") if line["event"] == "defect"]
        assert defect["request_id"] == request_id
        assert defect["level"] == "error"
        assert "occupation" in defect["exception"]
        log = suite.log("contacts")
        assert [canary for canary in CANARY.values() if canary in log] == []
    finally:
        suite.stop()


def test_every_line_of_every_log_is_an_object(suite: RunningSuite) -> None:
    for service in SERVICES:
        lines = lines_of(suite, service)
        assert lines
        for line in lines:
            assert {"event", "level", "ts"} <= line.keys()
            assert line["process"] == service


@pytest.mark.parametrize(
    ("contact", "code", "reason"),
    [
        (Contact(display_name="Ada"), "OK", ""),
        (Contact(), "INVALID_ARGUMENT", "INVALID_FIELD"),
        (Contact(display_name="A", locale="fa", phones=[contacts_pb2.PhoneNumber(number="+1234")]),
         "INVALID_ARGUMENT", "PHONE_INVALID"),
    ],
)  # fmt: skip
def test_a_call_has_one_line_that_tells_how_it_went(
    suite: RunningSuite, contact: Contact, code: str, reason: str
) -> None:
    request = contacts_pb2.CreateContactRequest(contact=contact)
    subject = f"clerk-{uuid.uuid4().hex[:8]}"
    request_id = request_id_of(suite, "CreateContact", request, suite.token(subject=subject))
    [line] = rpc_lines(suite, "contacts", request_id)
    assert line["service"] == "vafa.contacts.v1.ContactService"
    assert line["method"] == "CreateContact"
    assert line["code"] == code
    assert line["reason"] == reason
    assert line["principal"] == subject
    assert line["level"] == "info"
    assert line["replayed"] is False
    assert 0 < line["duration_ms"] < 60_000
    assert line["peer"].startswith("ipv4:127.0.0.1:")


def test_a_repeat_is_logged_as_one(suite: RunningSuite) -> None:
    request = contacts_pb2.CreateContactRequest(
        contact=Contact(display_name="Ada"), request_id=str(uuid.uuid4())
    )
    with suite.client() as client:
        for _ in range(2):
            client.contacts.CreateContact(request)
    ends_at = time.monotonic() + 5
    while len(lines := rpc_lines(suite, "contacts", request.request_id)) < 2:
        assert time.monotonic() < ends_at
    assert [line["replayed"] for line in lines] == [False, True]


def test_a_stranger_has_a_line_without_a_principal(suite: RunningSuite) -> None:
    request = contacts_pb2.GetContactRequest(name="contacts/a")
    request_id = request_id_of(suite, "GetContact", request, "nothing")
    [line] = rpc_lines(suite, "contacts", request_id)
    assert (line["code"], line["principal"]) == ("UNAUTHENTICATED", "")


def test_a_newline_in_what_a_caller_sends_begins_no_line(suite: RunningSuite) -> None:
    evil = f'x"}}\n{{"event": "forged-{uuid.uuid4().hex}"}}\r\n\u2028\x85'
    # A token with a control character or a line's end in its subject is refused.
    subject = f'x"}}{{"event": "forged-{uuid.uuid4().hex}"}}'
    with suite.client(subject=subject) as client:
        contact = client.contacts.CreateContact(
            contacts_pb2.CreateContactRequest(
                contact=Contact(display_name=evil, owner=evil), request_id=str(uuid.uuid4())
            )
        )
        for request in (
            contacts_pb2.ListContactsRequest(filter=evil),
            contacts_pb2.ListContactsRequest(order_by=evil),
            contacts_pb2.ListContactsRequest(page_token=evil),
        ):
            with pytest.raises(vafa.InvalidArgument):
                client.contacts.ListContacts(request)
        with suppress(vafa.VafaError):
            client.contacts.GetContact(contacts_pb2.GetContactRequest(name=evil))
    assert contact.owner == evil

    def by_evil() -> list[Line]:
        return [line for line in lines_of(suite, "contacts") if line.get("principal") == subject]

    until(lambda: len(by_evil()) >= 5)
    assert [line["event"] for line in by_evil()] == ["rpc"] * 5
    # No line was begun inside another, whatever a reader takes for the end of a line.
    for line in suite.log("contacts").splitlines():
        assert line.startswith("{") or FROM_GRPC.match(line)
