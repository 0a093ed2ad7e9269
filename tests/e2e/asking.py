"""Asks a suite the same questions by clients of several languages."""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2

import vafa
from services.chassis.policy import Method
from tests.harness.edge import Edge
from tests.harness.json_client import http_request
from tests.harness.plain_objects import fill
from tests.harness.suite import ROOT
from tests.harness.tools import node_packages, tool
from vafa.contacts.v1 import contacts_pb2
from vafa.errors import error_from_status
from vafa.events.v1 import events_pb2
from vafa.loyalty.v1 import ledger_pb2

FOREIGN = Path(__file__).parent / "foreign"
EXAMPLES = ROOT / "examples"
TIMEOUT_SECONDS = 60
CONTACTS = contacts_pb2.DESCRIPTOR.services_by_name["ContactService"]
LEDGER = ledger_pb2.DESCRIPTOR.services_by_name["LedgerService"]
EVENTS = events_pb2.DESCRIPTOR.services_by_name["EventService"]
Outcome = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """A call; `about` is the service whose method is meant, where every service has it."""

    method: Method
    request: Message
    about: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """The metadata of the call, beside the token."""
        return {"vafa-service": self.about} if self.about else {}

    def to_json(self, *, names_of_the_contract: bool) -> dict[str, Any]:
        """Return it as the programs of other languages read it."""
        request = json_format.MessageToDict(
            self.request, preserving_proto_field_name=names_of_the_contract
        )
        called = {"service": self.method.service, "method": self.method.name}
        return {**called, "request": request, "headers": self.headers}


def answered(answer: Message) -> Outcome:
    """Return an answer as proto3 JSON. A page token is never the same twice."""
    fields = json_format.MessageToDict(answer)
    if "nextPageToken" in fields:
        fields["nextPageToken"] = "sealed"
    return {"answer": fields}


def refused(error: vafa.VafaError) -> Outcome:
    """Return all that a refusal says."""
    violations = [violation._asdict() for violation in error.field_violations]
    cause = {"reason": error.reason, "domain": error.domain, "metadata": error.metadata}
    told = {"code": error.code.name, "message": error.message, "fieldViolations": violations}
    return {"refusal": {**told, **cause}}


def run(
    *command: str, given: str = "", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        input=given,
        env=dict(environment or os.environ),
        timeout=TIMEOUT_SECONDS,
    )


def printed(*command: str, given: str = "", environment: Mapping[str, str] | None = None) -> str:
    """Return what a program prints; it must succeed."""
    done = run(*command, given=given, environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Ask:
    """Asks all questions by one kind of client; each method returns an outcome for each."""

    def __init__(
        self, edge: Edge, environment: Mapping[str, str], questions: Mapping[str, Question]
    ) -> None:
        self._edge = edge
        self._environment = environment
        self._token = edge.suite.token()
        self._questions = questions

    def _each(self, ask: Callable[[Question], Outcome]) -> dict[str, Outcome]:
        return {name: ask(question) for name, question in self._questions.items()}

    def _given(self, *, names_of_the_contract: bool) -> str:
        asked = [
            question.to_json(names_of_the_contract=names_of_the_contract)
            for question in self._questions.values()
        ]
        where = {"address": self._edge.address, "edge": self._edge.url, "token": self._token}
        return json.dumps({**where, "questions": asked})

    def python(self) -> dict[str, Outcome]:
        """By the Python client."""
        with self._edge.client() as client:
            stubs = {CONTACTS.full_name: client.contacts, LEDGER.full_name: client.ledger}
            stubs[EVENTS.full_name] = client.events("contacts")

            def ask(question: Question) -> Outcome:
                call = getattr(stubs[question.method.service], question.method.name)
                try:
                    return answered(call(question.request))
                except vafa.VafaError as error:
                    return refused(error)

            return self._each(ask)

    def grpc_js(self) -> dict[str, Outcome]:
        """By grpc-js, as the example on Node calls."""
        node_packages(EXAMPLES / "node")
        given = self._given(names_of_the_contract=True)
        script = str(FOREIGN / "ask_node.mjs")
        outcomes = json.loads(
            printed(tool("node"), script, given=given, environment=self._environment)
        )
        for question, outcome in zip(self._questions.values(), outcomes, strict=True):
            if "answer" in outcome:
                message = fill(question.method.response_class(), outcome["answer"])
                outcome.update(answered(message))
        return dict(zip(self._questions, outcomes, strict=True))

    def grpc_web(self) -> dict[str, Outcome]:
        """By gRPC-Web in a browser, as the example's page calls."""
        node_packages(EXAMPLES / "browser")
        chromium = tool("chromium", "chromium-browser", "google-chrome")
        given = self._given(names_of_the_contract=False)
        script = str(FOREIGN / "ask_browser.mjs")
        outcomes = json.loads(
            printed(
                tool("node"),
                script,
                given=given,
                environment={**self._environment, "CHROMIUM": chromium},
            )
        )
        for question, outcome in zip(self._questions.values(), outcomes, strict=True):
            if "answer" in outcome:
                message = json_format.ParseDict(outcome["answer"], question.method.response_class())
                outcome.update(answered(message))
            else:
                words = re.sub("(?<!^)(?=[A-Z])", "_", outcome["refusal"]["code"])
                outcome["refusal"]["code"] = words.upper()
        return dict(zip(self._questions, outcomes, strict=True))

    def curl(self) -> dict[str, Outcome]:
        """By curl, as JSON."""
        return self._each(self._curl)

    def _curl(self, question: Question) -> Outcome:
        asked = http_request(question.method.descriptor, question.request)
        command = [tool("curl"), "--silent", "--show-error", "--request", asked.verb]
        headers = {"authorization": f"Bearer {self._token}", **question.headers}
        for name, value in headers.items():
            command += ["--header", f"{name}: {value}"]
        if asked.body is not None:
            command += ["--json", asked.body]
        body = json.loads(printed(*command, f"{self._edge.url}{asked.target}"))
        if "code" in body:
            status = json_format.ParseDict(body, status_pb2.Status())
            return refused(error_from_status(status, question.method.path))
        return answered(json_format.ParseDict(body, question.method.response_class()))

    def buf_curl(self) -> dict[str, Outcome]:
        """By buf curl, as gRPC."""
        return self._each(lambda question: self._buf(question, "grpc"))

    def buf_curl_web(self) -> dict[str, Outcome]:
        """By buf curl, as gRPC-Web."""
        return self._each(lambda question: self._buf(question, "grpcweb"))

    def _buf(self, question: Question, protocol: str) -> Outcome:
        buf = str(Path(sys.executable).parent / "buf")
        schema = str(ROOT / "client" / "vafa" / "vafa.binpb")
        command = [buf, "curl", "--schema", schema, "--protocol", protocol]
        if protocol == "grpc":
            command.append("--http2-prior-knowledge")
        headers = {"authorization": f"Bearer {self._token}", **question.headers}
        for name, value in headers.items():
            command += ["--header", f"{name}: {value}"]
        command += ["--data", json_format.MessageToJson(question.request)]
        done = run(*command, f"{self._edge.url}{question.method.path}")
        if done.returncode == 0:
            message = json_format.Parse(done.stdout, question.method.response_class())
            return answered(message)
        return refused(error_from_status(_status(json.loads(done.stderr)), question.method.path))


def _status(told: Mapping[str, Any]) -> status_pb2.Status:
    """Return the status that buf prints: its code by name, its details in base64."""
    code = code_pb2.Code.Value(told["code"].upper())
    status = status_pb2.Status(code=code, message=told["message"])
    for detail in told["details"]:
        value = base64.b64decode(detail["value"] + "==")
        status.details.add(type_url=f"type.googleapis.com/{detail['type']}", value=value)
    return status
