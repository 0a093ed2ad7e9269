"""The comments of the contract, by the full names of what they explain."""

from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf import descriptor_pb2

_FILE, _MESSAGE, _ENUM, _SERVICE = (
    descriptor_pb2.FileDescriptorProto,
    descriptor_pb2.DescriptorProto,
    descriptor_pb2.EnumDescriptorProto,
    descriptor_pb2.ServiceDescriptorProto,
)
_Path = tuple[int, ...]


def comments_of(files: descriptor_pb2.FileDescriptorSet) -> Mapping[str, str]:
    """Return the leading comments, each paragraph one line; needs files with source info."""
    found: dict[str, str] = {}
    for file in files.file:
        names = dict(_places(file))
        for location in file.source_code_info.location:
            name = names.get(tuple(location.path))
            if name is not None and location.leading_comments:
                found[name] = _unwrapped(location.leading_comments)
    return found


def _unwrapped(comment: str) -> str:
    paragraphs = "\n".join(line.strip() for line in comment.strip().splitlines()).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _places(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[_Path, str]]:
    for path, service in _each(file.service, (_FILE.SERVICE_FIELD_NUMBER,)):
        name = f"{file.package}.{service.name}"
        yield path, name
        for inner, method in _each(service.method, (*path, _SERVICE.METHOD_FIELD_NUMBER)):
            yield inner, f"{name}.{method.name}"
    for path, enum in _each(file.enum_type, (_FILE.ENUM_TYPE_FIELD_NUMBER,)):
        yield from _of_enum(enum, path, file.package)
    for path, message in _each(file.message_type, (_FILE.MESSAGE_TYPE_FIELD_NUMBER,)):
        yield from _of_message(message, path, file.package)


def _of_message(message: Any, path: _Path, scope: str) -> Iterator[tuple[_Path, str]]:
    name = f"{scope}.{message.name}"
    yield path, name
    for inner, field in _each(message.field, (*path, _MESSAGE.FIELD_FIELD_NUMBER)):
        yield inner, f"{name}.{field.name}"
    for inner, enum in _each(message.enum_type, (*path, _MESSAGE.ENUM_TYPE_FIELD_NUMBER)):
        yield from _of_enum(enum, inner, name)
    for inner, nested in _each(message.nested_type, (*path, _MESSAGE.NESTED_TYPE_FIELD_NUMBER)):
        yield from _of_message(nested, inner, name)


def _of_enum(enum: Any, path: _Path, scope: str) -> Iterator[tuple[_Path, str]]:
    name = f"{scope}.{enum.name}"
    yield path, name
    for inner, value in _each(enum.value, (*path, _ENUM.VALUE_FIELD_NUMBER)):
        yield inner, f"{name}.{value.name}"


def _each(elements: Any, path: _Path) -> Iterator[tuple[_Path, Any]]:
    for index, element in enumerate(elements):
        yield (*path, index), element
