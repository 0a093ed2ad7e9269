"""Messages and enums as JSON Schema, in the JSON form of protobuf."""

from collections.abc import Callable, Mapping
from typing import Any

from buf.validate import validate_pb2
from google.api import field_behavior_pb2, resource_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from scripts.openapi.bounds import Schema, bounds_of, int64_pattern, is_required
from scripts.openapi.examples import EXAMPLES
from scripts.openapi.wellknown import WELL_KNOWN

_BEHAVIOR = field_behavior_pb2.FieldBehavior
_INT64 = {"type": "string", "format": "int64", "pattern": int64_pattern(None, None)}
_INT32 = {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1}
_SCALARS: Mapping[int, Schema] = {
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_INT32: _INT32,
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
}
_KEYS: Mapping[int, Schema] = {
    FieldDescriptor.TYPE_STRING: {},
    FieldDescriptor.TYPE_INT32: {"pattern": "^-?[0-9]{1,10}$"},
}


class NameTaken(Exception):
    """Two messages or enums of the contract would have one name in the document."""


class FormUnknown(Exception):
    """A message whose JSON form is not that of its fields, and that nobody wrote down yet."""


def behaviors_of(field: FieldDescriptor) -> set[str]:
    """Return the names of the behaviours that the contract states for a field."""
    stated = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return {_BEHAVIOR.Name(value) for value in stated}


def must_be_given(field: FieldDescriptor) -> bool:
    """Whether a message without the field is refused."""
    return "REQUIRED" in behaviors_of(field) or is_required(field)


def is_resource(message: Descriptor) -> bool:
    """Whether a message is a resource, which other methods give and take in parts."""
    return bool(message.GetOptions().HasExtension(resource_pb2.resource))


class Schemas:
    """The schemas of the document, collected as they are referred to."""

    def __init__(self, comments: Mapping[str, str]) -> None:
        self._comments = comments
        self._found: dict[str, tuple[str, Schema]] = {}

    def all(self) -> dict[str, Schema]:
        """Return what was referred to, by name."""
        return {name: schema for name, (_, schema) in sorted(self._found.items())}

    def comment(self, full_name: str) -> str:
        """Return the comment of an element of the contract; empty if it has none."""
        return self._comments.get(full_name, "")

    def of_message(self, message: Descriptor) -> Schema:
        """Return a reference to the schema of a message."""
        return self._reference(message, lambda: self._message(message))

    def of_field(self, field: FieldDescriptor) -> Schema:
        """Return the schema of a field with its bounds, comment and behaviour."""
        schema = _joined(self._type_of(field), bounds_of(field))
        whole = _within_request(field)
        if field.is_repeated and whole:
            schema["items"] = schema["items"] | whole
        else:
            schema |= whole
        if comment := self.comment(field.full_name):
            schema["description"] = comment
        if example := EXAMPLES.get(field.full_name):
            schema["examples"] = [example]
        behaviors = behaviors_of(field)
        if behaviors & {"OUTPUT_ONLY", "IDENTIFIER"}:
            schema["readOnly"] = True
        if "IMMUTABLE" in behaviors:
            schema["x-vafa-immutable"] = True
        return schema

    def of_fields(self, fields: list[FieldDescriptor]) -> Schema:
        """Return the schema of an object with these fields."""
        schema: Schema = {"type": "object"}
        if fields:
            schema["properties"] = {field.json_name: self.of_field(field) for field in fields}
        return schema

    def _type_of(self, field: FieldDescriptor) -> Schema:
        if field.message_type and field.message_type.GetOptions().map_entry:
            key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
            schema = {"type": "object", "additionalProperties": self._item(value)}
            return schema | ({"propertyNames": names} if (names := _KEYS[key.type]) else {})
        if field.is_repeated:
            return {"type": "array", "items": self._item(field)}
        return self._item(field)

    def _item(self, field: FieldDescriptor) -> Schema:
        if field.enum_type:
            enum = field.enum_type
            return self._reference(enum, lambda: self._enum(enum))
        if field.message_type:
            return self.of_message(field.message_type)
        return dict(_SCALARS[field.type])

    def _reference(
        self, element: Descriptor | EnumDescriptor, build: Callable[[], Schema]
    ) -> Schema:
        name = element.full_name.removeprefix(f"{element.file.package}.")
        if name not in self._found:
            # Noted before it is built: messages may hold themselves.
            self._found[name] = (element.full_name, {})
            self._found[name] = (element.full_name, build())
        if self._found[name][0] != element.full_name:
            raise NameTaken(f"{name}: {self._found[name][0]} and {element.full_name}")
        return {"$ref": f"#/components/schemas/{name}"}

    def _message(self, message: Descriptor) -> Schema:
        if message.full_name in WELL_KNOWN:
            return WELL_KNOWN[message.full_name]
        if message.file.package == "google.protobuf":
            raise FormUnknown(message.full_name)
        schema = self.of_fields(list(message.fields))
        if not is_resource(message):
            schema |= required_of(list(message.fields))
        if groups := [_choice(oneof) for oneof in message.oneofs if not _is_presence(oneof)]:
            schema |= groups[0] if len(groups) == 1 else {"allOf": groups}
        return schema | self._described(message.full_name)

    def _enum(self, enum: EnumDescriptor) -> Schema:
        values = [
            f"- `{value.name}`: {self.comment(f'{enum.full_name}.{value.name}')}"
            for value in enum.values
        ]
        return {
            "type": "string",
            "enum": [value.name for value in enum.values],
            "description": "\n".join([self.comment(enum.full_name), "", *values]),
        }

    def _described(self, full_name: str) -> Schema:
        comment = self.comment(full_name)
        return {"description": comment} if comment else {}


def required_of(fields: list[FieldDescriptor]) -> Schema:
    """Return the keyword for those of the fields that must be given; empty if none must."""
    names = [field.json_name for field in fields if must_be_given(field)]
    return {"required": names} if names else {}


def _within_request(field: FieldDescriptor) -> Schema:
    """Return what a request asks of a message in one of its fields, beyond what is asked of it
    everywhere: a resource is whole, unless an update mask stands beside it; what is part of a
    batch has no request_id, since the batch has one.
    """
    message, request = field.message_type, field.containing_type
    if message is None or request is None:
        return {}
    if is_resource(message) and must_be_given(field):
        is_part = "update_mask" in request.fields_by_name
        return {} if is_part else required_of(list(message.fields))
    if "request_id" in message.fields_by_name and "request_id" in request.fields_by_name:
        return {"not": {"required": [message.fields_by_name["request_id"].json_name]}}
    return {}


def _is_presence(oneof: Any) -> bool:
    """Whether a oneof only says that its one field is `optional`."""
    return len(oneof.fields) == 1 and oneof.name == f"_{oneof.fields[0].name}"


def _choice(oneof: Any) -> Schema:
    options: list[Schema] = [{"required": [field.json_name]} for field in oneof.fields]
    if not oneof.GetOptions().Extensions[validate_pb2.oneof].required:
        options.append({"not": {"anyOf": options.copy()}})
    return {"oneOf": options}


def _joined(schema: Schema, bounds: Schema) -> Schema:
    """Return a schema with bounds that lie as deep as the schema does."""
    joined = dict(schema)
    for key, value in bounds.items():
        inner = joined.get(key)
        joined[key] = _joined(inner, value) if isinstance(inner, dict) else value
    return joined
