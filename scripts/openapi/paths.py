"""The google.api.http annotation of a method, as path, parameters and body of OpenAPI."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.api import annotations_pb2, resource_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, MethodDescriptor

from scripts.openapi.bounds import Schema, bounds_of, pattern_within
from scripts.openapi.patterns import segment_patterns
from scripts.openapi.schemas import Schemas, must_be_given, required_of
from scripts.openapi.wellknown import WELL_KNOWN
from services.chassis.contract import SERVICES
from services.gateway.edge.routes import SERVICE_HEADER

_VARIABLE = re.compile(r"\{(?P<field>[a-z_.]+)=(?P<template>[^}]+)\}")
_PLACEHOLDER = re.compile(r"\{(?P<name>[a-z_]+)\}")
# The patterns of resources that no message of the contract declares, by their collection.
_UNDECLARED = {"feeds": "feeds/{service}", "operations": "operations/{operation}"}

# The patterns of segments for which the contract states none, by their placeholders.
_UNSTATED = {"operation": f"^({'|'.join(SERVICES)})-[a-z0-9]+$"}
# Paths by which the edge cannot tell which of the services is meant.
_UNNAMED = {"/v1/{name=operations}"}
_SERVICE: Schema = {
    "name": SERVICE_HEADER,
    "in": "header",
    "required": True,
    "description": "Which service is asked: every service has this method.",
    "schema": {"type": "string", "enum": list(SERVICES)},
}


class MappingUnclear(Exception):
    """An annotation that this module cannot turn into a path of OpenAPI."""


@dataclass(frozen=True)
class Binding:
    """How a method is called over HTTP. `body` is empty, a field of the request, or `*`."""

    verb: str
    template: str
    body: str


@dataclass(frozen=True)
class Variable:
    """A variable of a path template: the field it fills, and its segments as in OpenAPI."""

    field_path: str
    field: FieldDescriptor
    segments: tuple[str, ...]
    patterns: tuple[str | None, ...]


def binding_of(method: MethodDescriptor) -> Binding | None:
    """Return how a method is called over HTTP; None if it is not."""
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    if verb is None:
        return None
    if rule.additional_bindings or rule.response_body or verb == "custom":
        raise MappingUnclear(f"{method.full_name}: {rule}")
    return Binding(verb, getattr(rule, verb), rule.body)


def resource_patterns(files: list[FileDescriptor]) -> dict[str, str]:
    """Return the patterns of the names of the resources in files, by their types."""
    resources = (
        message.GetOptions().Extensions[resource_pb2.resource]
        for file in files
        for message in file.message_types_by_name.values()
    )
    return {one.type: one.pattern[0] for one in resources if one.type}


class Paths:
    """Draws paths, parameters and bodies, with the schemas that they refer to."""

    def __init__(self, schemas: Schemas, patterns: dict[str, str]) -> None:
        self._schemas = schemas
        self._patterns = patterns

    def path(self, method: MethodDescriptor, binding: Binding) -> str:
        """Return the path, such as `/v1/contacts/{contact}:undelete`."""
        variables = iter(self._variables(method.input_type, binding))
        return _VARIABLE.sub(lambda _: "/".join(next(variables).segments), binding.template)

    def parameters(self, method: MethodDescriptor, binding: Binding) -> list[Schema]:
        """Return the parameters of the path, and then those of the query."""
        variables = self._variables(method.input_type, binding)
        found = [one for variable in variables for one in self._of_path(variable)]
        if binding.template in _UNNAMED:
            found.append(_SERVICE)
        if binding.body != "*":
            bound = {variable.field_path for variable in variables} | {binding.body}
            found += self._of_query(method.input_type, bound)
        return found

    def body(self, method: MethodDescriptor, binding: Binding) -> Schema | None:
        """Return the request body; None if there is none."""
        request = method.input_type
        if not binding.body:
            return None
        if binding.body == "*":
            bound = {variable.field_path for variable in self._variables(request, binding)}
            fields = [field for field in request.fields if field.name not in bound]
            required = required_of(fields)
            schema = self._schemas.of_fields(fields) | required
            return _json_body(schema, required=bool(required))
        field = request.fields_by_name[binding.body]
        # A variable of the path within the body makes the message be there.
        named = f"{{{binding.body}." in binding.template
        return _json_body(
            self._schemas.of_field(field), required=must_be_given(field) and not named
        )

    def _variables(self, request: Descriptor, binding: Binding) -> list[Variable]:
        return [
            self._variable(request, found["field"], found["template"])
            for found in _VARIABLE.finditer(binding.template)
        ]

    def _variable(self, request: Descriptor, field_path: str, template: str) -> Variable:
        owner, _, inner = field_path.rpartition(".")
        if owner:
            outer = request.fields_by_name[owner]
            message = outer.message_type
            if message is None:
                raise MappingUnclear(f"{outer.full_name} is no message")
            field = message.fields_by_name[inner]
            resource = message.GetOptions().Extensions[resource_pb2.resource]
            pattern, stated = resource.pattern[0], pattern_within(outer, inner)
        else:
            field = request.fields_by_name[inner]
            pattern = self._pattern(field, template)
            stated = bounds_of(field).get("pattern")
        segments, parts = tuple(pattern.split("/")), template.split("/")
        like = ["*" if _PLACEHOLDER.fullmatch(segment) else segment for segment in segments]
        if like != ["*" if part == "**" else part for part in parts]:
            raise MappingUnclear(f"{field.full_name}: {template} is not {pattern}")
        patterns = segment_patterns(stated) if stated else [None] * len(segments)
        if len(patterns) != len(segments):
            raise MappingUnclear(f"{field.full_name}: {stated} is not of {pattern}")
        return Variable(field_path, field, segments, tuple(patterns))

    def _pattern(self, field: FieldDescriptor, template: str) -> str:
        collection = template.split("/", maxsplit=1)[0]
        if collection in _UNDECLARED:
            return _UNDECLARED[collection] if "/" in template else template
        reference = field.GetOptions().Extensions[resource_pb2.resource_reference]
        return self._patterns[reference.type]

    def _of_path(self, variable: Variable) -> Iterator[Schema]:
        whole = "/".join(variable.segments)
        comment = self._schemas.comment(variable.field.full_name)
        for segment, pattern in zip(variable.segments, variable.patterns, strict=True):
            if placeholder := _PLACEHOLDER.fullmatch(segment):
                yield {
                    "name": placeholder["name"],
                    "in": "path",
                    "required": True,
                    "description": f"Part of `{whole}`. {comment}".strip(),
                    "schema": {
                        "type": "string",
                        "pattern": pattern or _UNSTATED[placeholder["name"]],
                    },
                }

    def _of_query(self, request: Descriptor, bound: set[str]) -> Iterator[Schema]:
        for field in request.fields:
            if field.name not in bound:
                yield from self._of_query_field(field, "", required=must_be_given(field))

    def _of_query_field(
        self, field: FieldDescriptor, prefix: str, *, required: bool
    ) -> Iterator[Schema]:
        message = field.message_type
        if message is not None and message.full_name not in WELL_KNOWN:
            if field.is_repeated:
                raise MappingUnclear(f"{field.full_name} cannot stand in a query")
            for inner in message.fields:
                given = required and must_be_given(inner)
                path = f"{prefix}{field.json_name}."
                yield from self._of_query_field(inner, path, required=given)
            return
        schema = self._schemas.of_field(field)
        parameter: dict[str, Any] = {"name": prefix + field.json_name, "in": "query"}
        if required:
            parameter["required"] = True
        if description := schema.pop("description", ""):
            parameter["description"] = description
        yield parameter | {"schema": schema}


def _json_body(schema: Schema, *, required: bool) -> Schema:
    body: Schema = {"content": {"application/json": {"schema": schema}}}
    return {"required": True, **body} if required else body
