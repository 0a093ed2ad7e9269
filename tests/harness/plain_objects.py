"""Messages as protobufjs gives them to programs on Node: plain objects, fields by their names."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message


def fill(message: Any, plain: Mapping[str, Any]) -> Message:
    """Set the fields of a message from a plain object, and return it.

    Enums are names, numbers of 64 bits are text, and a field that is null is not there; what
    names no field, as which of a oneof is set, is passed over.
    """
    for field in message.DESCRIPTOR.fields:
        # Of the types that protobufjs brings itself, such as Struct, the names are those of JSON.
        value = plain.get(field.name, plain.get(field.json_name))
        if value is not None:
            _set(message, field, value)
    filled: Message = message
    return filled


def _set(message: Any, field: FieldDescriptor, value: Any) -> None:
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        of_messages = inner.fields_by_name["value"].message_type is not None
        for key, one in value.items():
            if of_messages:
                fill(getattr(message, field.name)[key], one)
            else:
                getattr(message, field.name)[key] = one
    elif inner is not None and field.is_repeated:
        for one in value:
            fill(getattr(message, field.name).add(), one)
    elif inner is not None:
        getattr(message, field.name).SetInParent()
        fill(getattr(message, field.name), value)
    elif field.is_repeated:
        getattr(message, field.name).extend(_scalar(field, one) for one in value)
    else:
        setattr(message, field.name, _scalar(field, value))


def _scalar(field: FieldDescriptor, value: Any) -> Any:
    if field.enum_type is not None:
        return field.enum_type.values_by_name[value].number
    if field.cpp_type in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64):
        return int(value)
    return value
