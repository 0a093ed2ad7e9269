"""Writes a descriptor as the source of a .proto file, for a file that no package ships as one.

The source has no comments. It says all that the descriptor says, and compiles to it again.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

# Whoever reads options must know the extensions that they are made of.
from buf.validate import validate_pb2  # noqa: F401
from google.protobuf import descriptor_pb2, text_format

Field = descriptor_pb2.FieldDescriptorProto
LARGEST_NUMBER = 0x20000000  # the end of `max`, not itself a number of a field
INDENT = "  "


def source_of(file: descriptor_pb2.FileDescriptorProto) -> str:
    """Return the source of a file; ValueError for a group or a service, which it cannot write."""
    if file.service:
        raise ValueError(f"{file.name} has a service")
    parts = [[f'syntax = "{file.syntax or "proto2"}";'], [f"package {file.package};"]]
    parts.append([f'import "{name}";' for name in file.dependency])
    parts.append([f"option {option};" for option in _options(file.options)])
    parts += [list(_message(message)) for message in file.message_type]
    parts += [list(_enum(enum)) for enum in file.enum_type]
    parts += [list(lines) for lines in _extensions(file.extension)]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _message(message: descriptor_pb2.DescriptorProto) -> Iterator[str]:
    maps = {one.name: one for one in message.nested_type if one.options.map_entry}
    yield f"message {message.name} {{"
    for option in _options(message.options):
        yield f"{INDENT}option {option};"
    for nested in message.nested_type:
        if nested.name not in maps:
            yield from _indented(_message(nested))
    for enum in message.enum_type:
        yield from _indented(_enum(enum))
    for oneof, fields in groupby(message.field, _oneof_of):
        if oneof is None:
            for field in fields:
                entry = maps.get(field.type_name.rpartition(".")[2])
                yield INDENT + (_map(field, entry) if entry else _field(field, _label(field)))
        else:
            yield from _indented(_oneof(message.oneof_decl[oneof], fields))
    for extensible in message.extension_range:
        declared = _in_brackets(_options(extensible.options))
        yield f"{INDENT}extensions {_range(extensible.start, extensible.end)}{declared};"
    for reserved in message.reserved_range:
        yield f"{INDENT}reserved {_range(reserved.start, reserved.end)};"
    yield from (f'{INDENT}reserved "{name}";' for name in message.reserved_name)
    for lines in _extensions(message.extension):
        yield from _indented(lines)
    yield "}"


def _enum(enum: descriptor_pb2.EnumDescriptorProto) -> Iterator[str]:
    yield f"enum {enum.name} {{"
    yield from (f"{INDENT}option {option};" for option in _options(enum.options))
    for value in enum.value:
        yield f"{INDENT}{value.name} = {value.number}{_in_brackets(_options(value.options))};"
    for reserved in enum.reserved_range:
        # Here the end is reserved too.
        yield f"{INDENT}reserved {_range(reserved.start, reserved.end + 1)};"
    yield from (f'{INDENT}reserved "{name}";' for name in enum.reserved_name)
    yield "}"


def _oneof_of(field: Field) -> int | None:
    """Return which oneof of its message a field is written in."""
    within = field.HasField("oneof_index") and not field.proto3_optional
    return field.oneof_index if within else None


def _oneof(oneof: descriptor_pb2.OneofDescriptorProto, fields: Iterable[Field]) -> Iterator[str]:
    yield f"oneof {oneof.name} {{"
    yield from (f"{INDENT}option {option};" for option in _options(oneof.options))
    yield from (INDENT + _field(field, "") for field in fields)
    yield "}"


def _extensions(fields: Sequence[Field]) -> Iterator[Iterator[str]]:
    for field in fields:
        yield iter([f"extend {field.extendee} {{", INDENT + _field(field, _label(field)), "}"])


def _field(field: Field, label: str) -> str:
    if field.type == Field.TYPE_GROUP:
        raise ValueError(f"{field.name} is a group")
    options = list(_options(field.options))
    if field.HasField("default_value"):
        is_text = field.type in (Field.TYPE_STRING, Field.TYPE_BYTES)
        value = _quoted(field.default_value) if is_text else field.default_value
        options.insert(0, f"default = {value}")
    return f"{label}{_type(field)} {field.name} = {field.number}{_in_brackets(options)};"


def _map(field: Field, entry: descriptor_pb2.DescriptorProto) -> str:
    key, value = (_type(one) for one in entry.field)
    options = _in_brackets(_options(field.options))
    return f"map<{key}, {value}> {field.name} = {field.number}{options};"


def _label(field: Field) -> str:
    return Field.Label.Name(field.label).removeprefix("LABEL_").lower() + " "


def _type(field: Field) -> str:
    return field.type_name or Field.Type.Name(field.type).removeprefix("TYPE_").lower()


def _range(start: int, end: int) -> str:
    return f"{start} to {'max' if end == LARGEST_NUMBER else end - 1}"


def _options(options: Any) -> Iterator[str]:
    for option, value in options.ListFields():
        name = f"({option.full_name})" if option.is_extension else option.name
        for one in value if option.is_repeated else [value]:
            yield f"{name} = {_value(option, one)}"


def _value(option: Any, value: Any) -> str:
    write: dict[int, Callable[[Any], str]] = {
        option.CPPTYPE_MESSAGE: lambda message: (
            "{" + text_format.MessageToString(message, as_one_line=True) + "}"
        ),
        option.CPPTYPE_ENUM: lambda number: option.enum_type.values_by_number[number].name,
        option.CPPTYPE_BOOL: lambda true: str(true).lower(),
        option.CPPTYPE_STRING: _quoted,
    }
    return write.get(option.cpp_type, str)(value)


def _quoted(text: str) -> str:
    # A literal of JSON is one of a .proto file too.
    return json.dumps(text, ensure_ascii=False)


def _in_brackets(options: Iterator[str] | list[str]) -> str:
    told = ", ".join(options)
    return f" [{told}]" if told else ""


def _indented(lines: Iterator[str]) -> Iterator[str]:
    return (INDENT + line for line in lines)
