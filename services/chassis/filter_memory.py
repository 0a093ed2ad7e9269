"""Filters over a message in memory; they agree with the same filters in SQL."""

from collections.abc import Iterator, Mapping, MutableSequence
from datetime import UTC
from typing import Any

from google.protobuf.message import Message

from services.chassis.filters import (
    OPERATORS,
    And,
    Comparison,
    Expression,
    FieldType,
    FilterField,
    Not,
    Or,
    Presence,
)


def matches(expression: Expression, message: Message) -> bool:
    """Tell whether the message is one that the filter asks for.

    Raises AttributeError if the message has no field at a path of the filter, and whatever
    the `normalise` of a field raises for a text in the message.
    """
    match expression:
        case And(terms):
            return all(matches(term, message) for term in terms)
        case Or(terms):
            return any(matches(term, message) for term in terms)
        case Not(term):
            return not matches(term, message)
        case Comparison(field, key):
            return any(_holds(expression, value) for value in _values(field, key, message))
        case Presence(field, key):
            in_map = field.path.endswith(".*")
            return any(in_map or bool(value) for value in _values(field, key, message))


def _holds(comparison: Comparison, value: Any) -> bool:
    if comparison.field.normalise:
        value = comparison.field.normalise(value)
    if comparison.prefix:
        return bool(value.startswith(comparison.value))
    return bool(OPERATORS[comparison.operator](value, comparison.value))


def _values(field: FilterField, key: str | None, message: Message) -> list[Any]:
    """Return every value that the field has in the message, or those under the key."""
    found: list[Any] = [message]
    for name in field.path.removesuffix(".*").split("."):
        found = [value for holder in found for value in _children(field, key, holder, name)]
    if field.ids:
        return [field.ids(value) for value in found]
    if field.type is FieldType.TIME:
        return [value.ToDatetime(tzinfo=UTC) for value in found]
    return found


def _children(field: FilterField, key: str | None, holder: Message, name: str) -> Iterator[Any]:
    child = getattr(holder, name)
    if isinstance(child, Mapping):
        yield from (value for each, value in child.items() if key in (None, each))
    elif isinstance(child, MutableSequence):
        yield from child
    # A text column is never null, so a text that is not set is an empty one; whatever else is
    # not set, where that can be told from 0, has no value.
    elif (
        field.type is FieldType.TEXT
        or not holder.DESCRIPTOR.fields_by_name[name].has_presence
        or holder.HasField(name)
    ):
        yield child
