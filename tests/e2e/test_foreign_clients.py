"""Programs of other languages get the answers and the refusals that the Python client gets, and
the examples do what they say.
"""

import json
import os
import re
import subprocess
import uuid
from collections.abc import Iterator, Mapping

import pytest

from scripts.protos import pack
from services.chassis.policy import method_of
from tests.contract.resources import a_contact
from tests.e2e.asking import (
    CONTACTS,
    EVENTS,
    EXAMPLES,
    FOREIGN,
    LEDGER,
    TIMEOUT_SECONDS,
    Ask,
    Outcome,
    Question,
    printed,
)
from tests.harness.edge import Edge
from tests.harness.suite import ROOT, RunningSuite
from tests.harness.tools import node_packages, tool
from vafa.contacts.v1 import contacts_pb2
from vafa.events.v1 import events_pb2
from vafa.loyalty.v1 import ledger_pb2, members_pb2, programs_pb2


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """A suite on SQLite behind its edge."""
    suite = RunningSuite(tmp_path_factory.mktemp("foreign"))
    suite.start()
    try:
        with Edge(suite) as started:
            yield started
    finally:
        suite.stop()


@pytest.fixture(scope="module")
def environment(edge: Edge, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """What the examples read: where the suite is, the token, and the unpacked contract."""
    folder = tmp_path_factory.mktemp("environment")
    (folder / "token").write_text(edge.suite.token())
    pack(folder / "vafa-protos")
    own = {"VAFA_ADDRESS": edge.address, "VAFA_EDGE": edge.url, "PORT": "0"}
    files = {"VAFA_TOKEN_FILE": "token", "VAFA_PROTOS": "vafa-protos"}
    return {**os.environ, **own, **{name: str(folder / file) for name, file in files.items()}}


@pytest.fixture(scope="module")
def questions(edge: Edge) -> Mapping[str, Question]:
    """What every client is asked, about things that are there by then."""
    tag = uuid.uuid4().hex[:12]
    with edge.client() as client:
        names = [
            client.contacts.CreateContact(
                contacts_pb2.CreateContactRequest(contact=a_contact(tag, n))
            ).name
            for n in range(3)
        ]
        program = programs_pb2.Program(display_name="باشگاه", currency_code="IRR")
        parent = client.programs.CreateProgram(
            programs_pb2.CreateProgramRequest(program=program)
        ).name
        member = client.members.CreateMember(
            members_pb2.CreateMemberRequest(
                parent=parent, member=members_pb2.Member(contact=names[0])
            )
        ).name
        award = ledger_pb2.AwardPointsRequest(member=member, points=100, reason="welcome")
        client.ledger.AwardPoints(award)
        pages = contacts_pb2.ListContactsRequest(filter=f'labels.tag = "{tag}"', page_size=2)
        second = contacts_pb2.ListContactsRequest()
        second.CopyFrom(pages)
        second.page_token = client.contacts.ListContacts(pages).next_page_token
    without_name = contacts_pb2.Contact(phones=[contacts_pb2.PhoneNumber(number="12")])
    asked = {
        "a contact": (CONTACTS, "GetContact", contacts_pb2.GetContactRequest(name=names[1])),
        "the first page": (CONTACTS, "ListContacts", pages),
        "the last page": (CONTACTS, "ListContacts", second),
        "a contact without a name": (
            CONTACTS,
            "CreateContact",
            contacts_pb2.CreateContactRequest(contact=without_name),
        ),
        "a contact that is not there": (
            CONTACTS,
            "GetContact",
            contacts_pb2.GetContactRequest(name="contacts/nobody"),
        ),
        "a movement of points": (
            LEDGER,
            "ListLedgerTransactions",
            ledger_pb2.ListLedgerTransactionsRequest(parent=member),
        ),
        "more points than there are": (
            LEDGER,
            "SpendPoints",
            ledger_pb2.SpendPointsRequest(member=member, points=250, reason="gift"),
        ),
    }
    found = {
        name: Question(method_of(service.methods_by_name[method]), request)
        for name, (service, method, request) in asked.items()
    }
    method = method_of(EVENTS.methods_by_name["ListEvents"])
    request = events_pb2.ListEventsRequest(parent="feeds/contacts", page_size=2)
    return {**found, "the feed of a service": Question(method, request, about="contacts")}


QUESTIONS = (
    "a contact",
    "the first page",
    "the last page",
    "a contact without a name",
    "a contact that is not there",
    "a movement of points",
    "more points than there are",
    "the feed of a service",
)


@pytest.fixture(scope="module")
def ask(edge: Edge, environment: Mapping[str, str], questions: Mapping[str, Question]) -> Ask:
    """What asks the questions."""
    assert tuple(questions) == QUESTIONS
    return Ask(edge, environment, questions)


@pytest.fixture(scope="module")
def reference(ask: Ask) -> dict[str, Outcome]:
    """What the Python client is answered."""
    return ask.python()


@pytest.fixture(scope="module", params=["grpc_js", "grpc_web", "curl", "buf_curl", "buf_curl_web"])
def outcomes(request: pytest.FixtureRequest, ask: Ask) -> dict[str, Outcome]:
    """What another client is answered."""
    found: dict[str, Outcome] = getattr(ask, request.param)()
    return found


def test_the_python_client_is_answered_in_full(reference: dict[str, Outcome]) -> None:
    contact = reference["a contact"]["answer"]
    custom = contact["customFields"]
    assert (custom["size"], custom["vip"], custom["notes"]) == (42.5, True, ["a", None])
    assert contact["birthDate"] == {"year": 1990, "month": 5, "day": 17}
    first, last = (reference[name]["answer"] for name in ("the first page", "the last page"))
    assert [len(page["contacts"]) for page in (first, last)] == [2, 1]
    assert "nextPageToken" in first
    assert "nextPageToken" not in last
    [moved] = reference["a movement of points"]["answer"]["ledgerTransactions"]
    assert moved["pointsBalance"] == "100"
    assert len(reference["the feed of a service"]["answer"]["events"]) == 2
    refusals = {name: one["refusal"] for name, one in reference.items() if "refusal" in one}
    assert {name: one["reason"] for name, one in refusals.items()} == {
        "a contact without a name": "INVALID_FIELD",
        "a contact that is not there": "RESOURCE_NOT_FOUND",
        "more points than there are": "INSUFFICIENT_POINTS",
    }
    violations = refusals["a contact without a name"]["fieldViolations"]
    assert [one["field"] for one in violations] == [
        "contact.display_name",
        "contact.phones[0].number",
    ]
    assert refusals["more points than there are"]["metadata"]["points_balance"] == "100"


@pytest.mark.parametrize("question", QUESTIONS)
def test_another_client_gets_what_the_python_client_gets(
    question: str, outcomes: dict[str, Outcome], reference: dict[str, Outcome]
) -> None:
    assert outcomes[question] == reference[question]


# The examples


def test_the_example_on_node_does_what_it_says(environment: Mapping[str, str]) -> None:
    node_packages(EXAMPLES / "node")
    lines = printed(
        tool("node"), str(EXAMPLES / "node" / "main.js"), environment=environment
    ).splitlines()
    created = re.fullmatch(r"created +(contacts/\w+) علی‌رضا مؤمنی \+989121234567", lines[0])
    assert created
    assert re.fullmatch(r"listed +[1-9]\d* from Shiraz", lines[1])
    assert lines[2].split() == ["refused", "INVALID_ARGUMENT", "INVALID_FIELD", "vafa.api.v1"]
    assert [line.split(":")[0].strip() for line in lines[3:5]] == [
        "contact.display_name",
        "contact.phones[0].number",
    ]
    assert lines[5].split() == ["event", "contact.created", created.group(1)]
    assert len(lines) == 6


def test_grpc_js_takes_the_service_config_and_would_not_take_a_wrong_one() -> None:
    node_packages(EXAMPLES / "node")
    config = (ROOT / "docs" / "api" / "service_config.json").read_text()
    wrong = config.replace('"timeout": "5s"', '"timeout": "five seconds"')
    assert wrong != config
    script = """
      import { text } from "node:stream/consumers";
      import grpc from "@grpc/grpc-js";
      const options = { "grpc.service_config": await text(process.stdin) };
      new grpc.Client("127.0.0.1:1", grpc.credentials.createInsecure(), options).close();
    """
    command = [tool("node"), "--input-type=module", "--eval", script]
    for given, succeeds in ((config, True), (wrong, False)):
        done = subprocess.run(
            command,
            cwd=EXAMPLES / "node",
            check=False,
            capture_output=True,
            text=True,
            input=given,
            timeout=TIMEOUT_SECONDS,
        )
        assert (done.returncode == 0) == succeeds, done.stderr
    assert "invalid timeout" in done.stderr


def test_the_example_with_curl_does_what_it_says(environment: Mapping[str, str]) -> None:
    tool("curl")
    script = str(EXAMPLES / "curl" / "vafa.sh")
    parts = re.split(r"^# .*\n", printed("bash", script, environment=environment), flags=re.M)
    place, created, got, listed, refusal, events = parts[1:]
    contact = json.loads(created)
    assert contact["displayName"] == "علی‌رضا مؤمنی"
    assert json.loads(got) == contact
    assert all(one["labels"]["city"] == "شیراز" for one in json.loads(listed)["contacts"])
    assert json.loads(refusal)["details"][0]["reason"] == "INVALID_FIELD"
    [event] = [one for line in events.splitlines() for one in json.loads(line)["events"]]
    assert event["subject"] == contact["name"]
    assert int(event["position"]) == int(place) + 1


def test_the_example_in_a_browser_shows_what_is_added_and_why_it_is_refused(
    environment: Mapping[str, str], questions: Mapping[str, Question]
) -> None:
    node_packages(EXAMPLES / "browser")
    chromium = tool("chromium", "chromium-browser", "google-chrome")
    server = subprocess.Popen(
        [tool("node"), str(EXAMPLES / "browser" / "serve.js")],
        env=dict(environment),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1]
        script = str(FOREIGN / "use_example.mjs")
        name = f"آذر {uuid.uuid4().hex[:6]}"
        shown = printed(
            tool("node"), script, url, name, environment={**environment, "CHROMIUM": chromium}
        )
    finally:
        server.kill()
        server.communicate()
    assert shown.strip() == ("INVALID_FIELD · contact.display_name: must be at least 1 characters")
