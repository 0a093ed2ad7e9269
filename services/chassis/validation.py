"""Checks a request against the bounds that the contract states for its fields."""

import functools
import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from google.api import resource_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from protovalidate import Validator

from services.chassis import errors

_validator = Validator()
# The years 1 to 9999, in seconds from 1970.
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799


def checker(request_class: type[Message]) -> Callable[[Message, bytes], None]:
    """Return what checks the requests of a class, given one and its bytes.

    It raises InvalidField for every field that breaks its bounds, all at once. A resource beside
    an update mask need not be whole: what it leaves out is checked by check_resource, once it is
    known what it comes to.
    """
    collect = _validator.collect_violations
    # Its rules are compiled here, and not by the first call.
    collect(request_class())
    may_be_impossible = bool(_fields_to_search(request_class.DESCRIPTOR))

    def check(request: Message, raw: bytes) -> None:
        found = collect(request)
        has_nul = b"\0" in raw
        if not (found or has_nul or may_be_impossible):
            return
        violations = [
            (_path(violation.proto.field), violation.proto.message)
            for violation in found
            if not _is_left_out(request, violation.proto.field)
        ]
        # PostgreSQL cannot hold NUL in text and SQLite can; so nobody may.
        if has_nul:
            violations += [(path, "holds a NUL character") for path in _nul_paths(request, "")]
        if may_be_impossible:
            violations += _impossible(request, "")
        _refuse(violations)

    return check


def check_resource(resource: Message) -> None:
    """Raise InvalidField for every field of a whole resource that breaks its bounds."""
    found = _validator.collect_violations(resource)
    _refuse([(_path(one.proto.field), one.proto.message) for one in found])


def _refuse(violations: list[tuple[str, str]]) -> None:
    if violations:
        text = "; ".join(f"{path}: {problem}" for path, problem in violations[:3])
        if len(violations) > 3:
            text = f"{len(violations)} fields, {text}"
        raise errors.InvalidField(text, violations=violations)


def _is_left_out(request: Any, field_path: Any) -> bool:
    """Whether the field is one that a resource beside an update mask does not give."""
    elements = list(field_path.elements) if field_path else []
    message = request
    for element, inner in pairwise(elements):
        value = getattr(message, element.field_name)
        if "update_mask" in message.DESCRIPTOR.fields_by_name and _is_resource(value):
            return inner.field_name not in {field.name for field, _ in value.ListFields()}
        message = value[element.subscript.value] if element.subscript is not None else value
        if not isinstance(message, Message):
            return False
    return False


def _is_resource(value: Any) -> bool:
    option = resource_pb2.resource
    return isinstance(value, Message) and value.DESCRIPTOR.GetOptions().HasExtension(option)


def _path(field_path: Any) -> str:
    """Render a path as a caller writes it: `requests[3].contact.phones[0].number`."""
    parts: list[str] = []
    for element in field_path.elements if field_path else ():
        parts.append(("." if parts else "") + element.field_name)
        subscript = element.subscript
        if subscript is not None:
            parts.append(f"[{subscript.value}]")
    return "".join(parts)


def _impossible(message: Any, prefix: str) -> Iterator[tuple[str, str]]:
    """Find the times and numbers that the wire can carry and neither JSON nor a date can."""
    if isinstance(message, Timestamp):
        in_range = FIRST_SECOND <= message.seconds <= LAST_SECOND
        if not (in_range and 0 <= message.nanos < 1_000_000_000):
            yield prefix.rstrip("."), "is not a time of the years 1 to 9999"
        return
    if isinstance(message, Value) and not math.isfinite(message.number_value):
        yield f"{prefix}number_value", "is not a finite number"
    for field in _fields_to_search(message.DESCRIPTOR):
        if not field.is_repeated and not message.HasField(field.name):
            continue
        for place, item in _items(field, getattr(message, field.name)):
            if isinstance(item, Message):
                yield from _impossible(item, f"{prefix}{field.name}{place}.")


@functools.cache
def _fields_to_search(descriptor: Descriptor) -> tuple[FieldDescriptor, ...]:
    """Return the fields under which a Timestamp or a Value may lie."""
    return tuple(
        field
        for field in descriptor.fields
        if field.message_type and _leads_to_impossible(field.message_type, frozenset())
    )


def _leads_to_impossible(descriptor: Descriptor, above: frozenset[str]) -> bool:
    if descriptor.full_name in (Timestamp.DESCRIPTOR.full_name, Value.DESCRIPTOR.full_name):
        return True
    above |= {descriptor.full_name}
    inner = [field.message_type for field in descriptor.fields if field.message_type]
    return any(_leads_to_impossible(each, above) for each in inner if each.full_name not in above)


def _nul_paths(message: Message, prefix: str) -> Iterator[str]:
    for field, value in message.ListFields():
        path = prefix + field.name
        for place, item in _items(field, value):
            if isinstance(item, str):
                if "\0" in item:
                    yield path + place
            elif isinstance(item, Message):
                yield from _nul_paths(item, f"{path}{place}.")


def _items(field: FieldDescriptor, value: Any) -> Iterator[tuple[str, Any]]:
    if not field.is_repeated:
        yield "", value
    elif field.message_type and field.message_type.GetOptions().map_entry:
        for key, item in value.items():
            yield "", key
            yield f"[{key!r}]", item
    else:
        for index, item in enumerate(value):
            yield f"[{index}]", item
