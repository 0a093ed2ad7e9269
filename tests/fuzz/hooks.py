"""What Schemathesis does at each call beside its own: the token, a note of the answer, and two
checks by the JSON form of protobuf, which takes more than a schema of it can say.
"""

import csv
import json
import os
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import schemathesis
from google.protobuf import descriptor_pool
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message_factory import GetMessageClass
from schemathesis import AuthContext, Case, CheckContext, HookContext, Response
from schemathesis.core.parameters import ParameterLocation

from scripts.openapi.paths import binding_of
from services.command import keys

FOLDER = Path(os.environ["VAFA_FUZZ_FOLDER"])
DOCUMENT = json.loads((FOLDER / "openapi.json").read_text())
# How a call that the document allows may be refused nevertheless, by what no schema says: the
# operation, and the text of the refusal.
UNSAID = (
    # JSON Schema cannot compare times.
    ("", "must be greater than or equal to 1900-01-01T00:00:00Z"),
    # What the mask names, the body must have, if it is required.
    ("_Update", "must be at least 1 characters|must contain at least 1 item"),
    # Whether the contact must be whole depends on whether there is one already.
    ("ContactService_(Batch)?Upsert", "^display_name: "),
    # In the query, one key of several, and of one of them both parts.
    ("ContactService_LookupContact", "oneof|exactly one field is required|^external_id"),
    # `-` stands for all programmes or for all members, but not for both.
    ("LedgerService_ListLedgerTransactions", "^parent: "),
    # The members are of the programme that the path names.
    ("LedgerService_BatchAwardPoints", "a member of another programme"),
    # The scale is that of the survey's kind.
    ("ResponseService_CreateResponse", "^response.score: "),
)
# The names of masks and times.
_AS_OBJECT = re.compile("([mM]ask|[tT]ime)$")


@schemathesis.auth(refresh_interval=120)
class Administrator:
    """Calls with a token that grants everything."""

    def get(self, case: Case[Any], context: AuthContext) -> str:
        """Return a new token: it lives for five minutes."""
        return keys.mint_token(FOLDER, subject="fuzz", roles=["admin"])

    def set(self, case: Case[Any], data: str, context: AuthContext) -> None:
        """Put the token into a call."""
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def after_call(context: HookContext, case: Case[Any], response: Response) -> None:
    """Note the answer, for the figures of the run."""
    reason = _reason(response)
    with (FOLDER / "answers.tsv").open("a", newline="") as file:
        line = (case.method, case.path, response.status_code, reason)
        csv.writer(file, dialect="excel-tab").writerow(line)


@schemathesis.check
def forbidden_is_refused(context: CheckContext, response: Response, case: Case[Any]) -> None:
    """What the document forbids is refused, unless the JSON form takes it for what is allowed:
    `null` for what is not given, 1 for "1", snake_case for lowerCamelCase.
    """
    meta = case.meta
    if meta is None or not meta.generation.mode.is_negative or response.status_code != 200:
        return
    for location, given in (
        (ParameterLocation.QUERY, case.query),
        (ParameterLocation.PATH, case.path_parameters),
    ):
        # A parameter without a name is passed over, and an empty list is not sent.
        unseen = any(name == "" or value == [] for name, value in given.items())
        told = not meta.is_negative_at(location) or unseen
        assert told, f"the {location.value} should be refused: {given}"
    if meta.is_negative_at(ParameterLocation.BODY):
        problem = _problem(case)
        assert problem is None, f"the body should be refused: {problem}"


@schemathesis.check
def allowed_is_read(context: CheckContext, response: Response, case: Case[Any]) -> None:
    """What the document allows is not refused as malformed or out of bounds."""
    meta = case.meta
    if meta is None or meta.generation.mode.is_negative or response.status_code != 400:
        return
    if _reason(response) in {"INVALID_FIELD", "MALFORMED_MESSAGE"}:
        message = response.json()["message"]
        operation = case.operation.definition.raw["operationId"]
        known = [text for pattern, text in UNSAID if re.search(pattern, operation)]
        assert re.search("|".join(known), message), f"the document allows it: {message}"


def _reason(response: Response) -> str:
    if response.status_code == 200:
        return ""
    try:
        return str(response.json()["details"][0]["reason"])
    except (ValueError, LookupError, TypeError):
        return "unreadable"


def _problem(case: Case[Any]) -> str | None:
    """Return what the document has against a body, in the form that protobuf gives it; None if
    nothing.
    """
    raw = case.operation.definition.raw
    service, _, name = raw["x-vafa-rpc"].partition("/")
    method = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    binding = binding_of(method)
    assert binding is not None
    request = method.input_type
    field = None if binding.body == "*" else request.fields_by_name[binding.body]
    message = request if field is None else field.message_type
    assert message is not None
    body = {} if case.body is None else _as_envoy_reads(case.body)
    if not isinstance(body, dict):
        return "not an object"
    try:
        read = ParseDict(body, GetMessageClass(message)(), ignore_unknown_fields=True)
    except ParseError as error:
        return str(error)
    schema: dict[str, Any] = raw["requestBody"]["content"]["application/json"]["schema"]
    whole = {**schema, "components": DOCUMENT["components"]}
    errors = jsonschema_rs.Draft202012Validator(whole).iter_errors(MessageToDict(read))
    return next((error.message for error in errors), None)


def _as_envoy_reads(value: Any) -> Any:
    """Return JSON without what Envoy takes and protobuf elsewhere does not: lists within lists
    are one list, null in a list or map is passed over, and a mask or a time may be an object.
    """
    if isinstance(value, list):
        read = [_as_envoy_reads(item) for item in value if item is not None]
        return [item for one in read for item in (one if isinstance(one, list) else [one])]
    if isinstance(value, dict):
        return {
            key: _as_envoy_reads(inner)
            for key, inner in value.items()
            if inner is not None and not (isinstance(inner, dict) and _AS_OBJECT.search(key))
        }
    return value
