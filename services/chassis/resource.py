"""Declared resources: a message of the contract, and the table that holds it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

from google.api import field_behavior_pb2, resource_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from sqlalchemy import Column, Select, Table, select

from services.chassis import codecs, errors
from services.chassis.codecs import Codec
from services.chassis.finding import (
    Filterable,
    Index,
    filter_fields,
    key_columns,
    label_rows,
    pattern_of,
    related,
    snake,
)
from services.chassis.rows import Row

M = TypeVar("M", bound=Message)
BEHAVIOR = field_behavior_pb2.FieldBehavior
SET_BY_SERVICE = {BEHAVIOR.Value("OUTPUT_ONLY"), BEHAVIOR.Value("IDENTIFIER")}
# Fields that every resource has alike, by the columns that hold them.
STANDARD_TIMES = ("create_time", "update_time", "delete_time")


class Resource(Generic[M]):
    """A message of the contract and the table that holds it, declared once.

    The columns of the key are named after the variables of the resource's pattern, with
    `_id` behind. `columns` says where every other field lies; a field that is not there
    stops the service from starting. `check(old, new, now)` is the only hook: pure, it
    returns the new message in its normal form or raises a Refusal whose fields are relative
    to the message; old is None at creation. `labels` is the table by which labels are found;
    the labels themselves are the column of that name.
    """

    def __init__(
        self,
        message: type[M],
        table: Table,
        columns: Mapping[str, Codec],
        *,
        parent: "Resource[Any] | None" = None,
        labels: Table | None = None,
        indexes: Sequence[Index] = (),
        filters: Mapping[str, Filterable] | None = None,
        orders: Sequence[str] = ("create_time",),
        check: Callable[[M | None, M, datetime], M] | None = None,
    ) -> None:
        descriptor: Any = message.DESCRIPTOR
        option = descriptor.GetOptions().Extensions[resource_pb2.resource]
        self.message, self.table, self.parent = message, table, parent
        self.pattern = pattern_of(descriptor)
        self.type_name: str = descriptor.name
        self.singular = snake(option.singular)
        self.plural = snake(option.plural)
        self.plural_name = option.plural[0].upper() + option.plural[1:]
        self.keys = key_columns(self.pattern)
        self.key_columns = [table.c[key] for key in self.keys]
        self.soft_delete = "delete_time" in table.c
        self.versioned = "version" in table.c
        self.indexes = tuple(indexes)
        self.check = check
        filters = dict(filters or {})
        if labels is not None:
            columns = {**columns, "labels": codecs.json(table.c.labels)}
            carried = tuple(name for name in orders if name in labels.c)
            self.indexes = (Index(labels, label_rows, carried=carried), *self.indexes)
            filters["labels.*"] = Filterable(related(table, labels, "value", "key"))
        self.codecs = self._all_codecs(descriptor, columns)
        self.settable = tuple(
            name
            for name, codec in self.codecs.items()
            if codec.writer and not SET_BY_SERVICE & _behaviors(descriptor.fields_by_name[name])
        )
        fields = descriptor.fields_by_name
        self._readers = [
            (name, codec.reader(fields[name]))
            for name, codec in self.codecs.items()
            if codec.reader
        ]
        writers = [(name, self.codecs[name].writer) for name in self.settable]
        self._writers = [writer(fields[name]) for name, writer in writers if writer is not None]
        self._not_settable = [name for name in self.codecs if name not in self.settable]
        immutable = BEHAVIOR.Value("IMMUTABLE")
        self.immutable = frozenset(
            name
            for name in self.settable
            if immutable in _behaviors(descriptor.fields_by_name[name])
        )
        self.bindings = {path: entry.binding for path, entry in filters.items()}
        self.filter_fields = filter_fields(descriptor, filters)
        self.orders: dict[str, Column[Any]] = {name: table.c[name] for name in orders}
        nullable = [name for name, column in self.orders.items() if column.nullable]
        if nullable:
            raise TypeError(f"{self.type_name}: cannot order by nullable {nullable}")

    def _all_codecs(self, descriptor: Descriptor, columns: Mapping[str, Codec]) -> dict[str, Codec]:
        table = self.table
        keys = [table.c[key] for key in self.keys]
        own: dict[str, Codec] = {
            "name": codecs.computed(*keys, value=self.name_of),
            "uid": codecs.computed(table.c.uid, value=lambda row: row["uid"]),
        }
        if self.versioned:
            own["etag"] = codecs.computed(table.c.version, value=etag_of)
        own |= {name: codecs.time(table.c[name]) for name in STANDARD_TIMES if name in table.c}
        if "update_time" not in table.c:
            own["update_time"] = codecs.time(table.c.create_time)
        if not self.versioned:
            own["etag"] = codecs.computed(table.c.uid, value=lambda _: '"1"')
        fields = [field.name for field in descriptor.fields]
        found = {name: (columns.get(name) or own.get(name)) for name in fields}
        unmapped = sorted(name for name, codec in found.items() if codec is None)
        unknown = sorted(columns.keys() - set(fields))
        if unmapped or unknown:
            raise TypeError(f"{self.type_name}: unmapped {unmapped}, unknown {unknown}")
        return {name: codec for name, codec in found.items() if codec is not None}

    def name_of(self, row: Row) -> str:
        """Return the resource name of a row."""
        return self.pattern.format([row[key] for key in self.keys])

    def key_of(self, name: str) -> dict[str, str]:
        """Return the key columns of a resource name; raises ResourceNotFound for another kind."""
        try:
            return dict(zip(self.keys, self.pattern.parse(name), strict=True))
        except ValueError as error:
            raise errors.ResourceNotFound(name) from error

    def select(self) -> Select[Any]:
        """Return the select of whole rows."""
        return select(self.table)

    def to_message(self, row: Row) -> M:
        """Return the message of a row."""
        return self.message(**{name: read(row) for name, read in self._readers})

    def index_rows(self, index: Index, row: Row, message: Message) -> list[dict[str, Any]]:
        """Return the rows of an index for a message that has this row."""
        owner = {name: row[name] for name in (*self.keys, *index.carried)}
        return [owner | dict(found) for found in index.rows(message)]

    def own_copy(self, message: M, fields: Collection[str] | None = None) -> M:
        """Return the message with nothing in it but these fields; without them, with nothing
        but what callers set.
        """
        own = self.message()
        own.CopyFrom(message)
        for name in self._not_settable if fields is None else self.codecs.keys() - fields:
            own.ClearField(name)
        own.DiscardUnknownFields()
        return own

    def to_row(self, message: M) -> dict[str, Any]:
        """Return the columns that callers set."""
        row: dict[str, Any] = {}
        for write in self._writers:
            write(message, row)
        return row

    def changed(self, old: M, new: M) -> list[str]:
        """Return the fields that callers set and that are not the same in both."""
        if new == old:
            return []
        return [name for name in self.settable if value_of(new, name) != value_of(old, name)]


def etag_of(row: Row) -> str:
    """Return the etag of a row with a version."""
    return f'"{row["version"]}"'


def value_of(message: Message, name: str) -> Any:
    """Return a field in a form that can be compared; None for an absent one."""
    field = message.DESCRIPTOR.fields_by_name[name]
    absent = field.has_presence and not message.HasField(name)
    return None if absent else getattr(message, name)


def _behaviors(field: FieldDescriptor) -> set[int]:
    return set(field.GetOptions().Extensions[field_behavior_pb2.field_behavior])
