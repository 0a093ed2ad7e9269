"""The contract states, for every method, message and field, what callers and servers rely on."""

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import pytest
from buf.validate import validate_pb2
from google.api import annotations_pb2, field_behavior_pb2, resource_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    FileDescriptor,
    MethodDescriptor,
)
from google.protobuf.message_factory import GetMessageClass
from protovalidate import Validator

from scripts.contract import ROOT, build_image
from services.chassis import errors as common_errors
from services.chassis.contract import SERVICES, common_methods, own_methods
from services.contacts import errors as contacts_errors
from services.feedback import errors as feedback_errors
from services.gateway import errors as gateway_errors
from services.loyalty import errors as loyalty_errors
from tests.contract.resources import COMMON_REASONS, EXERCISES, SERVED
from vafa.api.v1 import policy_pb2

FILES = sorted(str(path.relative_to(ROOT / "proto")) for path in (ROOT / "proto").rglob("*.proto"))
BEHAVIOR = field_behavior_pb2.FieldBehavior
REQUIRED, OUTPUT_ONLY, IDENTIFIER = map(BEHAVIOR.Value, ("REQUIRED", "OUTPUT_ONLY", "IDENTIFIER"))
VALIDATOR = Validator()
TEXT, BYTES = FieldDescriptor.CPPTYPE_STRING, FieldDescriptor.TYPE_BYTES
# Of the messages that hold what is known of people, the texts that are not about the person.
NOT_PERSONAL = {
    "vafa.contacts.v1.Contact": {
        *("name", "uid", "etag", "locale", "acquisition_source", "owner", "external_ids")
    },
    "vafa.contacts.v1.EmailAddress": {"label"},
    "vafa.contacts.v1.PhoneNumber": {"label"},
    "vafa.contacts.v1.SocialHandle": {"network"},
    "vafa.contacts.v1.Interaction": {"name", "uid", "etag", "agent"},
    "vafa.contacts.v1.SearchContactsRequest": {"page_token"},
    "vafa.contacts.v1.LookupContactRequest": {"external_id"},
}


def file_of(name: str) -> FileDescriptor:
    """Return a file of the contract."""
    module = import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
    file: FileDescriptor = module.DESCRIPTOR
    return file


def all_messages() -> Iterator[Descriptor]:
    """Yield the messages of the contract, those within others too."""

    def within(message: Descriptor) -> Iterator[Descriptor]:
        if not message.GetOptions().map_entry:
            yield message
        for inner in message.nested_types:
            yield from within(inner)

    for name in FILES:
        for message in file_of(name).message_types_by_name.values():
            yield from within(message)


def all_methods() -> Iterator[MethodDescriptor]:
    """Yield the methods of the contract."""
    for name in FILES:
        for service in file_of(name).services_by_name.values():
            yield from service.methods


MESSAGES = {message.full_name: message for message in all_messages()}
METHODS = {method.full_name: method for method in all_methods()}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
every_message = pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)


def behaviors(field: FieldDescriptor) -> set[int]:
    return set(field.GetOptions().Extensions[field_behavior_pb2.field_behavior])


def rules(field: FieldDescriptor) -> Any:
    return field.GetOptions().Extensions[validate_pb2.field]


def policy(method: MethodDescriptor) -> policy_pb2.MethodPolicy:
    stated: policy_pb2.MethodPolicy = method.GetOptions().Extensions[policy_pb2.policy]
    return stated


def set_by_callers() -> dict[str, Descriptor]:
    """Return the messages of ours that can stand in a request."""
    found: dict[str, Descriptor] = {}
    waiting = [method.input_type for method in METHODS.values()]
    while waiting:
        message = waiting.pop()
        if message.full_name in found or message.full_name not in MESSAGES:
            continue
        found[message.full_name] = message
        waiting += [field.message_type for field in message.fields if field.message_type]
    return found


GIVEN = set_by_callers()
every_given_message = pytest.mark.parametrize("message", GIVEN.values(), ids=GIVEN)


@pytest.fixture(scope="module")
def comments(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The comment that leads each element of the contract, by its full name."""
    image = tmp_path_factory.mktemp("contract") / "image.binpb"
    build_image(ROOT / "proto", image)
    files = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
    found: dict[str, str] = {}
    for file in files.file:
        if file.name in FILES:
            for location in file.source_code_info.location:
                name = _name_at(file, location.path)
                if name:
                    found[name] = " ".join(location.leading_comments.split())
    return found


def _name_at(file: descriptor_pb2.FileDescriptorProto, path: Any) -> str:
    """Return the full name of the element at a path; empty if it has none."""
    element: Any = file
    names = [file.package]
    steps = list(path)
    while len(steps) >= 2:
        field = type(element).DESCRIPTOR.fields_by_number[steps.pop(0)]
        if field.message_type is None or not field.is_repeated:
            return ""
        element = getattr(element, field.name)[steps.pop(0)]
        if not hasattr(element, "name"):
            return ""
        names.append(element.name)
    return ".".join(names) if not steps and len(names) > 1 else ""


def sentence_of_failures(comment: str) -> str:
    return comment[comment.index("Returns ") :] if "Returns " in comment else ""


# Methods


@every_method
def test_a_method_has_a_whole_policy(method: MethodDescriptor) -> None:
    stated = policy(method)
    assert bool(re.fullmatch(r"[a-z]+\.[a-z]+", stated.permission)) != stated.public
    assert bool(stated.permission) != stated.public
    assert stated.deadline.ToNanoseconds() > 0
    assert stated.effect != policy_pb2.EFFECT_UNSPECIFIED
    assert stated.failures
    assert len(set(stated.failures)) == len(stated.failures)
    assert "NONE" not in stated.failures or list(stated.failures) == ["NONE"]


@every_method
def test_what_only_reads_needs_a_permission_to_read(method: MethodDescriptor) -> None:
    reads = policy(method).effect == policy_pb2.EFFECT_READ
    assert (policy(method).public or policy(method).permission.endswith(".read")) == reads


@every_method
def test_a_method_is_mapped_to_http(method: MethodDescriptor) -> None:
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    assert verb is not None
    path = getattr(rule, verb)
    assert path.startswith(("/v1/", "/.well-known/"))
    # A secret stands in no URL.
    is_got = "secret" not in method.input_type.fields_by_name
    assert (verb == "get") == (is_got and policy(method).effect == policy_pb2.EFFECT_READ)
    for variable in re.findall(r"{([a-z_.]+)", path):
        message: Descriptor | None = method.input_type
        for part in variable.split("."):
            assert message is not None
            assert part in message.fields_by_name, f"{message.full_name} has no {part}"
            message = message.fields_by_name[part].message_type
    if rule.body not in ("", "*"):
        assert rule.body in method.input_type.fields_by_name


def test_no_two_methods_are_mapped_to_the_same_http() -> None:
    mapped = []
    for method in METHODS.values():
        rule = method.GetOptions().Extensions[annotations_pb2.http]
        verb = rule.WhichOneof("pattern")
        # The names of the variables tell no two paths apart.
        mapped.append((verb, re.sub(r"{[^=}]+=?", "{", getattr(rule, verb))))
    assert len(set(mapped)) == len(mapped)


def reasons_of(package: str) -> set[str]:
    """Return the reasons that an enum of a package or of all packages has."""
    names: set[str] = set()
    for name in FILES:
        file = file_of(name)
        if file.package in (package, "vafa.api.v1") and "ErrorReason" in file.enum_types_by_name:
            enum: EnumDescriptor = file.enum_types_by_name["ErrorReason"]
            names |= {value.name for value in enum.values if value.number}
    return names


@every_method
def test_a_failure_that_is_declared_is_a_reason(method: MethodDescriptor) -> None:
    package = method.full_name.rpartition(".")[0].rpartition(".")[0]
    failures = set(policy(method).failures) - {"NONE"}
    assert failures <= reasons_of(package)
    assert not failures & COMMON_REASONS


@every_method
def test_the_comment_of_a_method_tells_how_it_fails(
    method: MethodDescriptor, comments: Mapping[str, str]
) -> None:
    told = sentence_of_failures(comments[method.full_name])
    assert told, "does not say what it returns when it fails"
    of_others: set[str] = set()
    for name in re.findall(r"\b[A-Z][a-z]+[A-Za-z]+\b", told):
        other = METHODS.get(f"{method.full_name.rpartition('.')[0]}.{name}")
        of_others |= set(policy(other).failures) if other else set()
    mentioned = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", told))
    failures = set(policy(method).failures) - {"NONE"}
    assert failures <= mentioned | of_others
    codes = {"NOT_FOUND", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "ALREADY_EXISTS"}
    codes |= {"OUT_OF_RANGE", "PERMISSION_DENIED"}
    assert mentioned - codes <= failures


@every_method
def test_a_write_takes_a_request_id(method: MethodDescriptor) -> None:
    writes = policy(method).effect == policy_pb2.EFFECT_WRITE
    field = method.input_type.fields_by_name.get("request_id")
    assert writes == (field is not None)
    if field is not None:
        assert rules(field).string.uuid


@every_method
def test_a_list_comes_in_pages(method: MethodDescriptor) -> None:
    # A feed has a cursor instead, which its reader keeps.
    if not method.name.startswith(("List", "Search")) or method.name == "ListEvents":
        assert "page_token" not in method.input_type.fields_by_name
        return
    asked, answered = method.input_type.fields_by_name, method.output_type.fields_by_name
    assert asked["page_size"].type == FieldDescriptor.TYPE_INT32
    assert rules(asked["page_size"]).int32.gte == 0
    assert asked["page_token"].type == FieldDescriptor.TYPE_STRING
    assert answered["next_page_token"].type == FieldDescriptor.TYPE_STRING
    repeated = [field for field in method.output_type.fields if field.is_repeated]
    [listed] = [field for field in repeated if field.message_type]
    assert listed.number == 1


@every_method
def test_a_name_or_parent_in_a_request_says_of_what(method: MethodDescriptor) -> None:
    types = {
        message.GetOptions().Extensions[resource_pb2.resource].type for message in MESSAGES.values()
    } | {"events.vafa/Feed"}
    for field in method.input_type.fields:
        if field.name not in ("name", "names", "parent"):
            continue
        reference = field.GetOptions().Extensions[resource_pb2.resource_reference]
        assert reference.type in types - {""}
        texts = rules(field).repeated.items.string if field.is_repeated else rules(field).string
        assert texts.pattern.startswith("^")
        assert texts.pattern.endswith("$")
        assert REQUIRED in behaviors(field)


# Messages and fields


@every_message
def test_a_comment_says_more_than_the_name(
    message: Descriptor, comments: Mapping[str, str]
) -> None:
    enums = [value for enum in message.enum_types for value in enum.values]
    values = [f"{value.type.full_name}.{value.name}" for value in enums]
    for name in (message.full_name, *values):
        assert comments[name], f"{name} has no comment"
    for field in message.fields:
        comment = comments[field.full_name]
        assert comment, f"{field.full_name} has no comment"
        reference = field.GetOptions().Extensions[resource_pb2.resource_reference].type
        if field.message_type is None and not reference:
            said = re.sub(r"^(the|a|an) ", "", comment.lower())
            own = field.name.replace("_", "")
            assert re.sub("[^a-z0-9]", "", said) != own, f"{field.full_name}: {comment}"


def test_a_reason_says_with_which_code_it_comes(comments: Mapping[str, str]) -> None:
    codes: dict[str, str] = {}
    own_errors = (contacts_errors, loyalty_errors, feedback_errors, gateway_errors)
    for module in (common_errors, *own_errors):
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, common_errors.Refusal):
                if "reason" not in kind.__dict__:
                    continue
                enum_name = kind.reasons.DESCRIPTOR.full_name
                codes[f"{enum_name}.{kind.reason}"] = kind.code.name
    for name in FILES:
        enum = file_of(name).enum_types_by_name.get("ErrorReason")
        for value in enum.values if enum else ():
            full_name = f"{value.type.full_name}.{value.name}"
            if value.number:
                assert comments[full_name].startswith(f"{codes[full_name]}. "), full_name


@every_message
def test_what_is_required_is_asked_for(message: Descriptor) -> None:
    empty = GetMessageClass(message)()
    missed = {
        violation.proto.field.elements[0].field_name
        for violation in VALIDATOR.collect_violations(empty)
        if violation.proto.field
    }
    for field in message.fields:
        if REQUIRED in behaviors(field):
            assert field.name in missed, f"{field.full_name} may be left out"


def has_bound(text: Any) -> bool:
    """Whether the rules of a text bound its length."""
    return bool(text.max_len or text.pattern or text.uuid)


@every_given_message
def test_whatever_a_caller_gives_has_a_bound(message: Descriptor) -> None:
    for field in message.fields:
        if behaviors(field) & {OUTPUT_ONLY, IDENTIFIER}:
            # The service sets them and passes over what a caller gives.
            continue
        stated = rules(field)
        of_map = field.message_type and field.message_type.GetOptions().map_entry
        if of_map:
            assert stated.map.max_pairs, field.full_name
            assert has_bound(stated.map.keys.string), field.full_name
            assert has_bound(stated.map.values.string), field.full_name
        elif field.is_repeated:
            assert stated.repeated.max_items, field.full_name
            if field.cpp_type == TEXT:
                assert has_bound(stated.repeated.items.string), field.full_name
        elif field.cpp_type == TEXT:
            assert field.type != BYTES, field.full_name
            assert has_bound(stated.string), field.full_name
        elif field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
            assert stated.enum.defined_only, field.full_name
        elif field.cpp_type in (
            FieldDescriptor.CPPTYPE_INT32,
            FieldDescriptor.CPPTYPE_INT64,
        ):
            number = stated.int32 if field.type == FieldDescriptor.TYPE_INT32 else stated.int64
            assert number.WhichOneof("greater_than"), field.full_name
        elif field.message_type and field.message_type.name == "FieldMask":
            assert stated.cel, field.full_name


@pytest.mark.parametrize("name", NOT_PERSONAL)
def test_what_is_about_a_person_is_kept_out_of_logs(name: str) -> None:
    # A new text is taken to be about the person until this test is told otherwise.
    for field in MESSAGES[name].fields:
        is_map = field.message_type and field.message_type.GetOptions().map_entry
        holds_text = field.cpp_type == TEXT or (
            field.message_type is not None
            and field.message_type.name not in ("Timestamp", "FieldMask")
            and not is_map
        )
        if holds_text:
            redacted = field.GetOptions().debug_redact
            assert redacted != (field.name in NOT_PERSONAL[name]), field.full_name


@pytest.mark.parametrize("name", EXERCISES)
def test_a_list_says_what_it_can_be_filtered_and_ordered_by(
    name: str, comments: Mapping[str, str]
) -> None:
    exercise = EXERCISES[name]
    method = exercise.method("List")
    assert method is not None
    resource = exercise.resource
    declared = {path.replace("*", "{key}") for path in resource.filter_fields}
    for field, expected in (("filter", declared), ("order_by", set(resource.orders))):
        comment = comments[f"{method.input_type.full_name}.{field}"]
        listed = comment[comment.index("Fields: ") : comment.index(" Default: ")]
        assert set(re.findall("`([^`]+)`", listed)) == expected


def test_every_method_is_of_the_service_of_its_package_or_of_all() -> None:
    told = {service: {*own_methods()[service], *common_methods()} for service in SERVICES}
    assert told == {service: set(methods) for service, methods in SERVED.items()}
