"""The OpenAPI document says what the contract says, and its page needs nothing from elsewhere."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from buf.validate import validate_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from hypothesis import given
from hypothesis import strategies as st
from openapi_spec_validator import validate

from scripts.contract import ROOT
from scripts.openapi.__main__ import TARGET, main, render, renew
from scripts.openapi.bounds import UnknownRule, bounds_of, int64_pattern
from scripts.openapi.patterns import segment_patterns
from services.chassis.operations import operations_methods
from services.gateway.edge.contract import calls
from services.gateway.edge.openapi_pages import pages
from services.gateway.edge.paths import path_match, shape
from services.gateway.edge.refusals import REFUSALS

DOCUMENT: dict[str, Any] = json.loads(TARGET.read_text())
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
OPERATIONS = {
    operation["x-vafa-rpc"]: (verb, path, operation)
    for path, item in DOCUMENT["paths"].items()
    for verb, operation in item.items()
}
every_operation = pytest.mark.parametrize("rpc", OPERATIONS)
ID = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
MEMBERS = f"^programs/({ID}/members/(-|{ID})|-/members/{ID})$"


def operation(rpc: str) -> dict[str, Any]:
    return next(one for name, (_, _, one) in OPERATIONS.items() if name.endswith(f"/{rpc}"))


def parameters(rpc: str) -> dict[str, Any]:
    return {one["name"]: one for one in operation(rpc).get("parameters", [])}


def body(rpc: str) -> dict[str, Any]:
    schema: dict[str, Any] = operation(rpc)["requestBody"]["content"]["application/json"]["schema"]
    return schema


def accepts(schema: dict[str, Any], value: object) -> bool:
    whole = {**schema, "components": DOCUMENT["components"]}
    return bool(jsonschema_rs.is_valid(whole, value))


def schemas_within(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        yield from schemas_within(one)


def test_the_committed_document_is_that_of_the_contract() -> None:
    assert not renew(TARGET, only_check=True)


def test_a_document_that_differs_is_told_and_renewed(tmp_path: Any) -> None:
    target = tmp_path / "openapi.json"
    assert renew(target, only_check=True)
    assert not target.exists()
    assert renew(target, only_check=False)
    assert not renew(target, only_check=True)


def test_a_wrong_argument_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--chek"]) == 2
    assert "usage:" in capsys.readouterr().err


def test_it_is_the_same_every_time() -> None:
    assert render() == render()


def test_it_is_an_openapi_document() -> None:
    validate(DOCUMENT)


def test_every_method_with_a_mapping_is_there_and_no_other() -> None:
    mapped = {
        (call.method.path.removeprefix("/"), mapping.verb.lower())
        for call in calls()
        for mapping in call.mappings
    }
    assert {(rpc, verb) for rpc, (verb, _, _) in OPERATIONS.items()} == mapped


@every_operation
def test_its_path_is_one_that_the_edge_routes_to_the_method(rpc: str) -> None:
    verb, path, _ = OPERATIONS[rpc]
    called = re.sub(r"\{[a-z_]+\}", "x1", path)
    call = next(call for call in calls() if call.method.path == f"/{rpc}")
    (mapping,) = call.mappings
    match = path_match(shape(mapping.template))
    assert match.get("path") == called or re.fullmatch(match["safe_regex"]["regex"], called)
    assert mapping.verb.lower() == verb


@every_operation
def test_it_says_the_policy_of_the_method(rpc: str) -> None:
    method = next(call.method for call in calls() if call.method.path == f"/{rpc}")
    _, _, said = OPERATIONS[rpc]
    assert said.get("x-vafa-permission", "") == method.permission
    assert (said.get("security") == []) is method.public
    assert said["x-vafa-deadline-seconds"] == method.deadline_seconds
    assert said["x-vafa-effect"] == ("write" if method.writes else "read")
    assert {key.rpartition(".")[2] for key in said["x-vafa-reasons"]} == method.failures


@every_operation
def test_every_status_of_its_reasons_and_of_the_edge_is_there(rpc: str) -> None:
    _, _, said = OPERATIONS[rpc]
    reasons = [DOCUMENT["x-vafa-reasons"][key]["status"] for key in said["x-vafa-reasons"]]
    of_the_edge = [refusal.shown_status for refusal in REFUSALS]
    wanted = {200, *reasons, *of_the_edge}
    assert {str(status) for status in wanted} <= said["responses"].keys()


@every_operation
def test_every_part_of_it_is_explained(rpc: str) -> None:
    _, _, said = OPERATIONS[rpc]
    assert len(said["summary"]) > 5
    explained = [said, *said.get("parameters", []), *said["responses"].values()]
    assert [one for one in explained if not one.get("description") and "$ref" not in one] == []


def test_every_example_is_one() -> None:
    examples = [
        (schema, example)
        for schema in schemas_within([DOCUMENT["components"]["schemas"], DOCUMENT["paths"]])
        for example in schema.get("examples", ())
    ]
    assert len(examples) > 10
    assert [example for schema, example in examples if not accepts(schema, example)] == []


def test_a_variable_of_a_path_bears_the_name_and_bounds_of_the_resource() -> None:
    contact = parameters("GetContact")["contact"]
    assert contact["in"] == "path"
    assert contact["schema"]["pattern"] == f"^{ID}$"
    assert accepts(parameters("ListInteractions")["contact"]["schema"], "-")
    assert not accepts(contact["schema"], "-")


def test_what_the_path_does_not_give_stands_in_the_query() -> None:
    assert set(parameters("ListContacts")) == {
        *("pageSize", "pageToken", "filter", "orderBy", "showDeleted")
    }
    assert {"after.position", "after.epoch"} < set(parameters("ListEvents"))
    assert parameters("BatchGetContacts")["names"]["required"]
    assert set(parameters("DeleteContact")) == {"contact", "etag", "requestId"}


def test_what_the_path_gives_is_not_in_the_body() -> None:
    assert set(body("AwardPoints")["properties"]) == {"points", "reason", "requestId"}
    assert body("AwardPoints")["required"] == ["points", "reason"]
    assert set(parameters("AwardPoints")) == {"program", "member"}


def test_a_resource_is_whole_when_it_is_created_and_not_when_it_is_changed() -> None:
    assert not accepts(body("CreateContact"), {"givenName": "Ada"})
    assert accepts(body("CreateContact"), {"displayName": "Ada"})
    assert accepts(body("UpdateContact"), {"givenName": "Ada"})
    batch = {"requests": [{"contact": {"displayName": "Ada"}}]}
    assert accepts(body("BatchCreateContacts"), batch)
    batch["requests"].append({"contact": {}})
    assert not accepts(body("BatchCreateContacts"), batch)


def test_a_part_of_a_batch_has_no_request_id_of_its_own() -> None:
    part = {"contact": {"displayName": "Ada"}, "requestId": "0190f3a5-7c1e-7d2b-9c3a-5b1f0e6a4d21"}
    assert not accepts(body("BatchCreateContacts"), {"requests": [part]})


def test_bounds_are_those_of_the_contract() -> None:
    points = body("AwardPoints")["properties"]["points"]
    for value, fits in {
        "1": True,
        "1000000000000": True,
        "0": False,
        "1000000000001": False,
    }.items():
        assert accepts(points, value) is fits
    assert body("BatchCreateContacts")["properties"]["requests"]["maxItems"] == 1000
    channel = SCHEMAS["Interaction"]["properties"]["channel"]
    assert accepts(channel, "CHANNEL_PHONE")
    assert not accepts(channel, "CHANNEL_UNSPECIFIED")
    labels = SCHEMAS["Contact"]["properties"]["labels"]
    assert accepts(labels, {"city": "شیراز"})
    assert not accepts(labels, {"City": ""})
    assert not accepts(labels, {"city": "x" * 256})


def test_what_callers_do_not_set_is_in_answers_only() -> None:
    contact = SCHEMAS["Contact"]["properties"]
    only_read = {name for name, field in contact.items() if field.get("readOnly")}
    assert only_read == {"name", "uid", "createTime", "updateTime", "deleteTime"}
    assert contact["kind"]["x-vafa-immutable"]


def test_of_several_fields_one_is_given() -> None:
    entry = {"interaction": {}, "kind": "KIND_INTERACTION"}
    assert accepts(SCHEMAS["TimelineEntry"], entry)
    assert not accepts(SCHEMAS["TimelineEntry"], {**entry, "order": {}})
    assert accepts(SCHEMAS["TimelineEntry"], {"kind": "KIND_INTERACTION"})


def test_an_operation_says_what_it_ends_with() -> None:
    answer = operation("VerifyLedger")["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer["$ref"] == "#/components/schemas/Operation"
    assert answer["properties"]["response"]["$ref"].endswith("/VerifyLedgerResponse")
    assert answer["properties"]["metadata"]["$ref"].endswith("/VerifyLedgerMetadata")


def test_operations_are_listed_of_the_service_that_is_named() -> None:
    assert parameters("ListOperations")["vafa-service"]["required"]
    served = {method.name for method in operations_methods()} - {"WaitOperation"}
    assert {rpc.rpartition("/")[2] for rpc in OPERATIONS if "longrunning" in rpc} == served


@given(st.integers(min_value=-(2**63), max_value=2**63 - 1))
def test_the_pattern_of_a_number_takes_what_lies_in_its_bounds(number: int) -> None:
    for least, most in ((None, None), (0, None), (1, None), (1, 10**6), (0, 10**12)):
        lies_in = (least is None or number >= least) and (most is None or number <= most)
        assert bool(re.fullmatch(int64_pattern(least, most), str(number))) is lies_in


@pytest.mark.parametrize("power", [10**6, 10**12])
@given(offset=st.integers(min_value=-20, max_value=20))
def test_the_pattern_of_a_number_is_exact_at_its_end(power: int, offset: int) -> None:
    found = re.fullmatch(int64_pattern(1, power), str(power + offset))
    assert bool(found) is (offset <= 0)


@pytest.mark.parametrize(("least", "most"), [(2, None), (None, 12), (1, 2 * 10**6)])
def test_a_range_that_nobody_wrote_a_pattern_for_is_refused(
    least: int | None, most: int | None
) -> None:
    with pytest.raises(UnknownRule):
        int64_pattern(least, most)


@pytest.mark.parametrize("pattern", [MEMBERS, f"^contacts/(-|{ID})$", f"^surveys/{ID}/metric$"])
@given(data=st.data())
def test_the_segments_of_a_name_fit_the_patterns_of_its_segments(
    pattern: str, data: st.DataObject
) -> None:
    name = data.draw(st.from_regex(pattern.replace("$", r"\Z"), fullmatch=True))
    segments = name.split("/")
    patterns = segment_patterns(pattern)
    assert len(patterns) == len(segments)
    assert all(re.search(one, segment) for one, segment in zip(patterns, segments, strict=True))


def test_a_rule_that_nobody_translated_is_refused() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="new.proto", package="new", syntax="proto3")
    field = file.message_type.add(name="New").field.add(
        name="mail", number=1, type=descriptor_pb2.FieldDescriptorProto.TYPE_STRING
    )
    field.options.Extensions[validate_pb2.field].string.email = True
    pool = DescriptorPool()
    pool.Add(file)
    with pytest.raises(UnknownRule, match=r"new\.New\.mail"):
        bounds_of(pool.FindFieldByName("new.New.mail"))


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = next(page for page in pages() if page.path == "/docs")
    assert re.findall(r"""(?:src|href)=["'](?!#|/openapi\.json)[^"']*""", page.body) == []
    assert re.findall(r"@import|\burl\(|https?://", page.body) == []
    assert re.findall(r"\son[a-z]+=|style=|innerHTML|javascript:", page.body) == []


def test_only_the_scripts_and_styles_of_the_page_may_run() -> None:
    page = next(page for page in pages() if page.path == "/docs")
    policy = dict(part.split(" ", 1) for part in page.security_policy.split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    for kind in ("script-src", "style-src"):
        assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", policy[kind])


def test_the_document_is_committed_where_the_edge_finds_it() -> None:
    served = next(page for page in pages() if page.path == "/openapi.json")
    assert (ROOT / "services/gateway/edge/openapi.json").read_text() == served.body
