"""The bounds that the contract states for a field, as keywords of JSON Schema.

Only what the two say alike is translated. What JSON Schema cannot say stays with the
comment of the field; a rule that nobody looked at yet raises UnknownRule.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

Schema = dict[str, Any]
_UUID = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
# What the services ask, and the contract says in words alone.
_IN_WORDS: Mapping[str, Schema] = {
    "google.longrunning.ListOperationsRequest.filter": {"maxLength": 0},
    "google.longrunning.ListOperationsRequest.page_size": {"minimum": 0},
    "vafa.contacts.v1.Contact.birth_date": {
        "required": ["year", "month", "day"],
        "properties": {"year": {"minimum": 1870}, "month": {"minimum": 1}, "day": {"minimum": 1}},
    },
}
_NAME_PATTERN = re.compile(r"this\.(?P<field>[a-z_]+)\.matches\('(?P<pattern>[^']+)'\)")


class UnknownRule(Exception):
    """A rule of the contract for which this module has no translation."""


def rules_of(field: FieldDescriptor) -> validate_pb2.FieldRules:
    """Return the rules of a field; empty ones if it has none."""
    rules: validate_pb2.FieldRules = field.GetOptions().Extensions[validate_pb2.field]
    return rules


def bounds_of(field: FieldDescriptor) -> Schema:
    """Return the keywords that stand beside the type of a field."""
    rules = rules_of(field)
    found = _keywords(rules, field.enum_type, field.full_name)
    found |= _IN_WORDS.get(field.full_name, {})
    if rules.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE and "pattern" in found:
        # Empty is as good as not given.
        found["pattern"] = f"^({found['pattern'].removeprefix('^').removesuffix('$')})?$"
    return found


def is_required(field: FieldDescriptor) -> bool:
    """Whether the rules refuse a message without the field."""
    return rules_of(field).required


def pattern_within(field: FieldDescriptor, inner: str) -> str | None:
    """Return the pattern that the rules of a message field state for a field within it."""
    for rule in rules_of(field).cel:
        found = _NAME_PATTERN.fullmatch(rule.expression)
        if found and found["field"] == inner:
            return found["pattern"]
    return None


def int64_pattern(least: int | None, most: int | None) -> str:
    """Return the pattern of the decimal text of an integer from least to most.

    Told apart are a least of 0, of 1 and of none, and a most that is a power of ten; raises
    UnknownRule for another.
    """
    if least not in {None, 0, 1}:
        raise UnknownRule(f"an integer from {least}")
    zeros = 18 if most is None else len(str(most)) - 1
    if most is not None and most != 10**zeros:
        raise UnknownRule(f"an integer up to {most}")
    options = ["0"] if least != 1 else []
    options.append(f"[1-9][0-9]{{0,{zeros if most is None else zeros - 1}}}")
    if most is not None:
        options.append(str(most))
    sign = "-?" if least is None else ""
    return f"^{sign}({'|'.join(options)})$"


def _keywords(rules: Any, enum: EnumDescriptor | None, where: str) -> Schema:
    found: Schema = {}
    for field, value in rules.ListFields():
        if field.name in _ELSEWHERE:
            continue
        translate = _OF_TYPE.get(field.name)
        if translate is None:
            raise UnknownRule(f"{where}: {field.name}")
        found |= translate(value, enum, where)
    return found


def _simple(names: Mapping[str, str]) -> Callable[[Any, Any, str], Schema]:
    def translate(rules: Message, _enum: Any, where: str) -> Schema:
        stated = {field.name: value for field, value in rules.ListFields()}
        if unknown := stated.keys() - names.keys():
            raise UnknownRule(f"{where}: {unknown}")
        return {names[name]: value for name, value in stated.items()}

    return translate


def _of_string(rules: Any, _enum: Any, where: str) -> Schema:
    names = {"min_len": "minLength", "max_len": "maxLength", "pattern": "pattern", "uuid": "uuid"}
    found = _simple(names)(rules, None, where)
    if found.pop("uuid", False):
        found["pattern"] = _UUID
    return found


def _of_int64(rules: Any, _enum: Any, where: str) -> Schema:
    stated = _simple({"gte": "gte", "lte": "lte"})(rules, None, where)
    return {"pattern": int64_pattern(stated.get("gte"), stated.get("lte"))}


def _of_enum(rules: Any, enum: EnumDescriptor | None, where: str) -> Schema:
    stated = _simple({"defined_only": "defined_only", "not_in": "not_in"})(rules, None, where)
    if enum is None or not stated.get("not_in"):
        return {}
    return {"not": {"enum": [enum.values_by_number[number].name for number in stated["not_in"]]}}


def _of_repeated(rules: Any, enum: EnumDescriptor | None, where: str) -> Schema:
    found: Schema = {}
    for field, value in rules.ListFields():
        if field.name == "items":
            found["items"] = _keywords(value, enum, where)
        else:
            found[_OF_LIST[field.name]] = value
    return found


def _of_map(rules: Any, _enum: Any, where: str) -> Schema:
    found: Schema = {}
    for field, value in rules.ListFields():
        if field.name == "keys":
            found["propertyNames"] = _keywords(value, None, where)
        elif field.name == "values":
            found["additionalProperties"] = _keywords(value, None, where)
        else:
            found[_OF_MAP[field.name]] = value
    return found


def _of_timestamp(_rules: Any, _enum: Any, _where: str) -> Schema:
    return {}


_ELSEWHERE = {"cel", "ignore", "required"}
_OF_LIST = {"min_items": "minItems", "max_items": "maxItems", "unique": "uniqueItems"}
_OF_MAP = {"min_pairs": "minProperties", "max_pairs": "maxProperties"}
_OF_TYPE: Mapping[str, Callable[[Any, Any, str], Schema]] = {
    "string": _of_string,
    "int32": _simple({"gte": "minimum", "lte": "maximum"}),
    "int64": _of_int64,
    "enum": _of_enum,
    "repeated": _of_repeated,
    "map": _of_map,
    # JSON Schema cannot compare times.
    "timestamp": _of_timestamp,
}
