"""How one field of a message lies in the columns of a row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from sqlalchemy import Column

from services.chassis.rows import Row

AnyColumn = Column[Any]


@dataclass(frozen=True)
class Codec:
    """`read(row, message, field)` sets the field from the row; `write(message, field)` gives
    the values of `columns`, and is None for a field that no caller sets.
    """

    columns: tuple[AnyColumn, ...]
    read: Callable[[Row, Any, str], None]
    write: Callable[[Any, str], Row] | None


def plain(column: AnyColumn) -> Codec:
    """Keep text, a whole number, a truth value or an enum as it is; absent is null."""

    def read(row: Row, message: Message, field: str) -> None:
        if row[column.name] is not None:
            setattr(message, field, row[column.name])

    def write(message: Message, field: str) -> Row:
        optional = message.DESCRIPTOR.fields_by_name[field].has_presence
        absent = optional and not message.HasField(field)
        return {column.name: None if absent else getattr(message, field)}

    return Codec((column,), read, write)


def time(column: AnyColumn) -> Codec:
    """Keep a Timestamp, cut to the microsecond; absent is null."""

    def read(row: Row, message: Message, field: str) -> None:
        if row[column.name] is not None:
            getattr(message, field).FromDatetime(row[column.name])

    def write(message: Message, field: str) -> Row:
        return {column.name: time_of(message, field)}

    return Codec((column,), read, write)


def time_of(message: Message, field: str) -> Any:
    """Return a Timestamp field as a datetime in UTC, cut to the microsecond; None if absent."""
    return getattr(message, field).ToDatetime(tzinfo=UTC) if message.HasField(field) else None


def civil_date(column: AnyColumn) -> Codec:
    """Keep a whole google.type.Date; absent is null."""

    def read(row: Row, message: Message, field: str) -> None:
        value: date | None = row[column.name]
        if value is not None:
            target = getattr(message, field)
            target.year, target.month, target.day = value.year, value.month, value.day

    def write(message: Message, field: str) -> Row:
        value = getattr(message, field)
        present = message.HasField(field)
        return {column.name: date(value.year, value.month, value.day) if present else None}

    return Codec((column,), read, write)


def json(column: AnyColumn) -> Codec:
    """Keep a Struct, a map of text, or a list of messages as JSON, opaque to the database."""

    def read(row: Row, message: Message, field: str) -> None:
        value = row[column.name]
        if value is None:
            return
        target = getattr(message, field)
        if isinstance(value, list):
            for item in value:
                json_format.ParseDict(item, target.add())
        elif isinstance(target, Message):
            target.SetInParent()
            json_format.ParseDict(value, target)
        else:
            target.update(value)

    def write(message: Message, field: str) -> Row:
        return {column.name: json_of(message, field)}

    return Codec((column,), read, write)


def json_of(message: Message, field: str) -> Any:
    """Return a Struct, a map of text or a list of messages in JSON; None for an absent Struct."""
    value = getattr(message, field)
    if isinstance(value, Message):
        return json_format.MessageToDict(value) if message.HasField(field) else None
    if isinstance(value, Mapping):
        return dict(value)
    return [json_format.MessageToDict(item, preserving_proto_field_name=True) for item in value]


def texts(column: AnyColumn) -> Codec:
    """Keep a list of text as JSON, opaque to the database."""

    def read(row: Row, message: Message, field: str) -> None:
        getattr(message, field).extend(row[column.name])

    def write(message: Message, field: str) -> Row:
        return {column.name: list(getattr(message, field))}

    return Codec((column,), read, write)


def computed(*columns: AnyColumn, value: Callable[[Row], Any]) -> Codec:
    """Give a field that callers do not set, out of these columns."""

    def read(row: Row, message: Message, field: str) -> None:
        setattr(message, field, value(row))

    return Codec(columns, read, None)


def elsewhere() -> Codec:
    """Leave a field that callers do not set to whoever adds it from other rows."""
    return Codec((), lambda _row, _message, _field: None, None)
