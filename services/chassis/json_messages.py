"""Messages as JSON under the names of their fields, as json_format has them, only faster.

What there is to do for a type is found out once, when the service starts.
"""

import functools
from collections.abc import Callable
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

Convert = Callable[[Any], Any]

_SIMPLE = {
    FieldDescriptor.TYPE_STRING,
    FieldDescriptor.TYPE_BOOL,
    FieldDescriptor.TYPE_INT32,
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_ENUM,
}


def to_json(descriptor: Descriptor) -> Convert:
    """Return the function that gives messages of a type in JSON."""
    if not _is_simple(descriptor):
        return functools.partial(json_format.MessageToDict, preserving_proto_field_name=True)
    parts = [
        (field.name, field.has_presence, _each(field, _field_to_json(field)))
        for field in sorted(descriptor.fields, key=lambda field: field.number)
    ]

    def convert(message: Any) -> dict[str, Any]:
        found = {}
        for name, has_presence, convert_field in parts:
            value = getattr(message, name)
            if message.HasField(name) if has_presence else value:
                found[name] = value if convert_field is None else convert_field(value)
        return found

    return convert


def from_json(descriptor: Descriptor) -> Convert | None:
    """Return the function that makes of JSON what the constructor of a message with a field of
    the type takes for it; None if it takes the JSON as it is.
    """
    if not _is_simple(descriptor):
        message_class: Any = GetMessageClass(descriptor)
        return lambda value: json_format.ParseDict(value, message_class())
    all_parts = {f.name: _each(f, _field_from_json(f)) for f in descriptor.fields}
    parts = {name: part for name, part in all_parts.items() if part is not None}
    if not parts:
        return None

    def convert(value: dict[str, Any]) -> dict[str, Any]:
        return {name: parts[name](item) if name in parts else item for name, item in value.items()}

    return convert


def _is_simple(descriptor: Descriptor) -> bool:
    """Whether the type is made of text, whole numbers, truth values, enums and such types."""
    # Some of those have a JSON of their own.
    if descriptor.file.package == "google.protobuf":
        return False
    for field in descriptor.fields:
        if field.message_type is not None:
            if field.message_type.GetOptions().map_entry or not _is_simple(field.message_type):
                return False
        elif field.type not in _SIMPLE:
            return False
    return True


def _field_to_json(field: FieldDescriptor) -> Convert | None:
    if field.message_type is not None:
        return to_json(field.message_type)
    if field.enum_type is not None:
        return _names_of(field.enum_type)
    return str if field.type == FieldDescriptor.TYPE_INT64 else None


def _field_from_json(field: FieldDescriptor) -> Convert | None:
    if field.message_type is not None:
        return from_json(field.message_type)
    # The constructor knows an enum by its names too.
    return int if field.type == FieldDescriptor.TYPE_INT64 else None


def _names_of(enum: EnumDescriptor) -> Convert:
    names = {value.number: value.name for value in reversed(enum.values)}
    return lambda number: names.get(number, number)


def _each(field: FieldDescriptor, convert: Convert | None) -> Convert | None:
    """Return the conversion of a whole field out of that of one value."""
    if not field.is_repeated:
        return convert
    if convert is None:
        return list
    return lambda values: [convert(value) for value in values]
