"""How one field of a message lies in the columns of a row."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from operator import attrgetter, itemgetter
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from sqlalchemy import Column

from services.chassis.json_messages import from_json, to_json
from services.chassis.rows import EPOCH, Row

AnyColumn = Column[Any]
Read = Callable[[Row], Any]
Write = Callable[[Any, dict[str, Any]], None]


@dataclass(frozen=True)
class Codec:
    """How a field is read and written; asked once for each field, when the service starts.

    `reader(field)` gives the function that makes, of a row, what the constructor of the message
    takes for the field: None if it is absent. `writer(field)` gives the one that puts the field
    of a message into a row. There is no reader for what is set elsewhere, and no writer for what
    no caller sets.
    """

    columns: tuple[AnyColumn, ...]
    reader: Callable[[FieldDescriptor], Read] | None
    writer: Callable[[FieldDescriptor], Write] | None


def plain(column: AnyColumn) -> Codec:
    """Keep text, a whole number, a truth value or an enum as it is; absent is null."""
    return _in_one(column, itemgetter(column.name), None)


def time(column: AnyColumn) -> Codec:
    """Keep a Timestamp, cut to the microsecond; absent is null."""

    def read(row: Row) -> dict[str, int] | None:
        value: datetime | None = row[column.name]
        if value is None:
            return None
        passed = value - EPOCH
        seconds = passed.days * 86_400 + passed.seconds
        return {"seconds": seconds, "nanos": passed.microseconds * 1000}

    return _in_one(column, read, _instant)


def _instant(stamp: Any) -> datetime:
    return EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)


def time_of(message: Message, field: str) -> Any:
    """Return a Timestamp field as a datetime in UTC, cut to the microsecond; None if absent."""
    return _instant(getattr(message, field)) if message.HasField(field) else None


def civil_date(column: AnyColumn) -> Codec:
    """Keep a whole google.type.Date; absent is null."""

    def read(row: Row) -> dict[str, int] | None:
        value: date | None = row[column.name]
        if value is None:
            return None
        return {"year": value.year, "month": value.month, "day": value.day}

    return _in_one(column, read, lambda value: date(value.year, value.month, value.day))


def texts(column: AnyColumn) -> Codec:
    """Keep a list of text as JSON, opaque to the database."""
    return _in_one(column, itemgetter(column.name), list)


def json(column: AnyColumn) -> Codec:
    """Keep a Struct, a map of text, or a list of messages as JSON, opaque to the database."""
    name = column.name

    def reader(field: FieldDescriptor) -> Read:
        if not field.is_repeated:
            return lambda row: None if row[name] is None else _struct(row[name])
        convert = None if _is_map(field) else from_json(_message_type(field))
        if convert is None:
            return itemgetter(name)
        return lambda row: [convert(item) for item in row[name]]

    def writer(field: FieldDescriptor) -> Write:
        if _is_map(field):
            return _put(field, name, dict)
        convert = to_json(_message_type(field))
        if not field.is_repeated:
            return _put(field, name, convert)
        return _put(field, name, lambda items: [convert(item) for item in items])

    return Codec((column,), reader, writer)


def _struct(value: dict[str, Any]) -> Struct:
    # A constructor would take a key `fields` for the field of that name.
    struct = Struct()
    struct.update(value)
    return struct


def computed(*columns: AnyColumn, value: Callable[[Row], Any]) -> Codec:
    """Give a field that callers do not set, out of these columns."""
    return Codec(columns, lambda _field: value, None)


def elsewhere() -> Codec:
    """Leave a field that callers do not set to whoever adds it from other rows."""
    return Codec((), None, None)


def _message_type(field: FieldDescriptor) -> Descriptor:
    if field.message_type is None:
        raise TypeError(f"{field.full_name} is no message")
    return field.message_type


def _is_map(field: FieldDescriptor) -> bool:
    return bool(_message_type(field).GetOptions().map_entry)


def _in_one(column: AnyColumn, read: Read, convert: Callable[[Any], Any] | None) -> Codec:
    """Keep a field in one column, where it is null if it is absent."""
    return Codec((column,), lambda _field: read, lambda field: _put(field, column.name, convert))


def _put(field: FieldDescriptor, column: str, convert: Callable[[Any], Any] | None) -> Write:
    get = attrgetter(field.name)

    def write(message: Any, row: dict[str, Any]) -> None:
        value = get(message)
        row[column] = value if convert is None else convert(value)

    def write_if_present(message: Any, row: dict[str, Any]) -> None:
        if message.HasField(field.name):
            write(message, row)
        else:
            row[column] = None

    return write_if_present if field.has_presence else write
