"""What resources are found by: rows drawn from them, and paths of the filter language."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from google.api import resource_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from sqlalchemy import Table, and_

from services.chassis.errors import Refusal
from services.chassis.filter_sql import Binding, Key, Related, Scalar
from services.chassis.filters import FieldType, FilterField
from services.chassis.identifiers import Pattern
from services.chassis.rows import Row


@dataclass(frozen=True)
class Index:
    """Rows drawn from a message, by which it is found: `rows(message)` without the owner's ids.

    `taken(owner, row)` is the refusal when a row's key belongs to another resource; without
    it the rows of several owners may be alike. `carried` are columns of the owner that stand in
    each row too, by which lists are ordered; see leading.py.
    """

    table: Table
    rows: Callable[[Any], list[Row]]
    taken: Callable[[str, Row], Refusal] | None = None
    carried: tuple[str, ...] = ()


@dataclass(frozen=True)
class Filterable:
    """What a path of the filter language means in SQL; `normalise` is done to text literals, and
    `ids` takes resource names apart.
    """

    binding: Binding
    normalise: Callable[[str], str] | None = None
    ids: Callable[[str], tuple[str, ...]] | None = None


def scalars(table: Table, *names: str) -> dict[str, Filterable]:
    """Return the paths of fields that are columns of the same names."""
    return {name: Filterable(Scalar(table.c[name])) for name in names}


def by_name(message: type[Message], table: Table) -> dict[str, Filterable]:
    """Return the path of the resource name, whose ids are the table's key."""
    pattern = pattern_of(message.DESCRIPTOR)
    key = Key(tuple(table.c[name] for name in key_columns(pattern)))
    return {"name": Filterable(key, ids=pattern.parse)}


def pattern_of(descriptor: Any) -> Pattern:
    """Return the pattern of the names of a resource, as the contract states it."""
    return Pattern(descriptor.GetOptions().Extensions[resource_pb2.resource].pattern[0])


def key_columns(pattern: Pattern) -> tuple[str, ...]:
    """Return the names of the columns that hold the ids of a pattern."""
    return tuple(f"{variable}_id" for variable in pattern.variables)


def related(owner: Table, found_by: Table, value: str, key: str | None = None) -> Related:
    """Bind a path of the owner to a table that has the owner's key among its columns.

    `value` is what is compared; `key` holds the keys of a map.
    """
    return Related(
        on=and_(*(found_by.c[column.name] == column for column in owner.primary_key)),
        value=found_by.c[value],
        key=found_by.c[key] if key else None,
    )


def label_rows(message: Any) -> list[Row]:
    """Return the rows by which a message is found by its labels."""
    return [{"key": key, "value": value} for key, value in sorted(message.labels.items())]


def filter_fields(descriptor: Any, filters: Mapping[str, Filterable]) -> dict[str, FilterField]:
    """Describe paths to the filter language by their fields in the contract."""
    return {
        path: FilterField(path, FieldType.NAME, ids=entry.ids)
        if entry.ids
        else _filter_field(descriptor, path, entry.normalise)
        for path, entry in filters.items()
    }


def _filter_field(
    descriptor: Any, path: str, normalise: Callable[[str], str] | None
) -> FilterField:
    """Describe a path to the filter language by its field in the contract."""
    first, *rest = path.split(".")
    field = descriptor.fields_by_name[first]
    if rest == ["*"]:
        return FilterField(path, FieldType.TEXT, normalise=normalise)
    for part in rest:
        field = field.message_type.fields_by_name[part]
    if field.enum_type is not None:
        prefix = snake(field.enum_type.name).upper() + "_"
        numbers = {value.name: value.number for value in field.enum_type.values}
        short = {name.removeprefix(prefix): number for name, number in numbers.items()}
        return FilterField(path, FieldType.ENUM, values=numbers | short)
    kinds = {
        FieldDescriptor.CPPTYPE_INT64: FieldType.INTEGER,
        FieldDescriptor.CPPTYPE_INT32: FieldType.INTEGER,
        FieldDescriptor.CPPTYPE_BOOL: FieldType.BOOLEAN,
        FieldDescriptor.CPPTYPE_STRING: FieldType.TEXT,
        FieldDescriptor.CPPTYPE_MESSAGE: FieldType.TIME,
    }
    return FilterField(path, kinds[field.cpp_type], normalise=normalise)


def snake(camel: str) -> str:
    """Return a camelCase name in snake_case."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", camel).lower()
