"""Declared resources, and the steps of their standard methods as plain functions."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from google.api import field_behavior_pb2, resource_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from sqlalchemy import Column, Connection, Select, Table, and_, delete, select

from services.chassis import codecs, errors
from services.chassis.codecs import Codec
from services.chassis.filter_sql import Related, Scalar
from services.chassis.filters import FieldType, FilterField
from services.chassis.identifiers import Pattern, id_of, new_uid
from services.chassis.rows import Row, insert_new_rows, insert_rows, update_rows
from services.chassis.transaction import Transaction
from services.chassis.validation import check_resource

M = TypeVar("M", bound=Message)
BEHAVIOR = field_behavior_pb2.FieldBehavior
SET_BY_SERVICE = {BEHAVIOR.Value("OUTPUT_ONLY"), BEHAVIOR.Value("IDENTIFIER")}
# Fields that every resource has alike, by the columns that hold them.
STANDARD_TIMES = ("create_time", "update_time", "delete_time")


@dataclass(frozen=True)
class Index:
    """Rows drawn from a message, by which it is found: `rows(message)` without the owner's ids.

    `taken(owner, row)` is the refusal when a row's key belongs to another resource; without
    it the rows of several owners may be alike.
    """

    table: Table
    rows: Callable[[Any], list[Row]]
    taken: Callable[[str, Row], errors.Refusal] | None = None


@dataclass(frozen=True)
class Filterable:
    """What a path of the filter language means in SQL; `normalise` is done to text literals."""

    binding: Scalar | Related
    normalise: Callable[[str], str] | None = None


@dataclass(frozen=True)
class Draft(Generic[M]):
    """A resource to insert. `path` leads to the message in the request, such as `contact.`;
    `extra` are columns that the service sets; `related` goes into the event.
    """

    message: M
    path: str
    parent: tuple[str, ...] = ()
    id: str = ""
    extra: Row = field(default_factory=dict)
    related: Mapping[str, str] = field(default_factory=dict)


class Resource(Generic[M]):
    """A message of the contract and the table that holds it, declared once.

    The columns of the key are named after the variables of the resource's pattern, with
    `_id` behind. `columns` says where every other field lies; a field that is not there
    stops the service from starting. `check(old, new, now)` is the only hook: pure, it
    returns the new message in its normal form or raises a Refusal whose fields are relative
    to the message; old is None at creation.
    """

    def __init__(
        self,
        message: type[M],
        table: Table,
        columns: Mapping[str, Codec],
        *,
        parent: "Resource[Any] | None" = None,
        indexes: Sequence[Index] = (),
        filters: Mapping[str, Filterable] | None = None,
        orders: Sequence[str] = ("create_time",),
        default_order: str = "create_time",
        check: Callable[[M | None, M, datetime], M] | None = None,
    ) -> None:
        descriptor: Any = message.DESCRIPTOR
        option = descriptor.GetOptions().Extensions[resource_pb2.resource]
        self.message, self.table, self.parent = message, table, parent
        self.pattern = Pattern(option.pattern[0])
        self.type_name: str = descriptor.name
        self.singular = _snake(option.singular)
        self.plural = _snake(option.plural)
        self.plural_name = option.plural[0].upper() + option.plural[1:]
        self.keys = tuple(f"{variable}_id" for variable in self.pattern.variables)
        self.soft_delete = "delete_time" in table.c
        self.versioned = "version" in table.c
        self.indexes = tuple(indexes)
        self.check = check
        self.default_order = default_order
        self.codecs = self._all_codecs(descriptor, columns)
        self.settable = tuple(
            name
            for name, codec in self.codecs.items()
            if codec.write and not SET_BY_SERVICE & _behaviors(descriptor.fields_by_name[name])
        )
        immutable = BEHAVIOR.Value("IMMUTABLE")
        self.immutable = frozenset(
            name
            for name in self.settable
            if immutable in _behaviors(descriptor.fields_by_name[name])
        )
        self.bindings = {path: entry.binding for path, entry in (filters or {}).items()}
        self.filter_fields = {
            path: _filter_field(descriptor, path, entry.normalise)
            for path, entry in (filters or {}).items()
        }
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
        message = self.message()
        for name, codec in self.codecs.items():
            codec.read(row, message, name)
        return message

    def own_copy(self, message: M) -> M:
        """Return the message with nothing in it but what callers set."""
        own = self.message()
        for name in self.settable:
            _copy_field(message, own, name)
        return own

    def to_row(self, message: M) -> dict[str, Any]:
        """Return the columns that callers set."""
        row: dict[str, Any] = {}
        for name in self.settable:
            row |= self.codecs[name].write(message, name)  # type: ignore[misc]
        return row


def etag_of(row: Row) -> str:
    """Return the etag of a row with a version."""
    return f'"{row["version"]}"'


def get(
    connection: Connection,
    resource: Resource[Any],
    name: str,
    *,
    lock: bool = False,
    deleted: bool = False,
) -> Row:
    """Return the row of a resource, locked against other writers if asked.

    Raises ResourceNotFound; a deleted one is found only if `deleted` says so.
    """
    key = resource.key_of(name)
    query = resource.select().where(*_equal(resource.table, key))
    if lock:
        query = query.with_for_update(key_share=True)
    row = connection.execute(query).mappings().one_or_none()
    if row is None or (not deleted and resource.soft_delete and row["delete_time"] is not None):
        raise errors.ResourceNotFound(name)
    return dict(row)


def get_many(connection: Connection, resource: Resource[M], names: Sequence[str]) -> list[M]:
    """Return the messages of these names in their order; raises ResourceNotFound for the first
    that is not there.
    """
    if len(resource.keys) != 1:
        return [resource.to_message(get(connection, resource, name)) for name in names]
    column = resource.table.c[resource.keys[0]]
    ids = [resource.pattern.parse(name)[0] for name in names]
    query = resource.select().where(column.in_(set(ids)))
    if resource.soft_delete:
        query = query.where(resource.table.c.delete_time.is_(None))
    rows = {row[column.name]: row for row in connection.execute(query).mappings()}
    missing = [name for name, id_ in zip(names, ids, strict=True) if id_ not in rows]
    if missing:
        raise errors.ResourceNotFound(missing[0])
    return [resource.to_message(rows[id_]) for id_ in ids]


def insert(transaction: Transaction, resource: Resource[M], drafts: Sequence[Draft[M]]) -> list[M]:
    """Check and insert resources, their index rows and events; return them as they are now.

    Raises ResourceAlreadyExists for an id that is taken, what the check raises, and what an
    index says of a key that belongs to another.
    """
    rows: list[dict[str, Any]] = []
    checked: list[M] = []
    for draft in drafts:
        message = resource.own_copy(draft.message)
        checked.append(_checked(transaction, resource, None, message, draft.path))
        uid = new_uid()
        ids = (*draft.parent, draft.id or id_of(uid))
        row = dict(zip(resource.keys, ids, strict=True)) | resource.to_row(checked[-1])
        row |= draft.extra
        row |= {"uid": str(uid), "create_time": transaction.now}
        if "update_time" in resource.table.c:
            row["update_time"] = transaction.now
        if resource.versioned:
            row["version"] = 1
        if resource.soft_delete:
            row["delete_time"] = None
        rows.append(row)
    keys = [resource.table.c[key] for key in resource.keys]
    inserted = insert_new_rows(transaction.connection, resource.table, rows, keys)
    _require_all(resource, rows, [tuple(row[key] for key in resource.keys) for row in inserted])
    for index in resource.indexes:
        owned = [
            (draft.path, [_owner(resource, row) | dict(extra) for extra in index.rows(message)])
            for draft, row, message in zip(drafts, rows, checked, strict=True)
        ]
        _insert_index(transaction.connection, resource, index, owned)
    messages = [resource.to_message(row) for row in rows]
    for draft, row in zip(drafts, rows, strict=True):
        transaction.changed(
            f"{resource.singular}.created",
            resource.name_of(row),
            version=row.get("version", 0),
            related=draft.related,
        )
    return messages


def update(
    transaction: Transaction,
    resource: Resource[M],
    row: Row,
    message: M,
    mask: FieldMask | None,
    path: str,
) -> M:
    """Change the fields of a locked row that the mask names; return it as it is now.

    What is there already is not written, and no event tells of it. Raises EtagMismatch,
    UpdateMaskInvalid, FieldImmutable, and what the check and the indexes raise.
    """
    old = resource.to_message(row)
    require_etag(resource, row, message.etag)  # type: ignore[attr-defined]
    new = resource.message()
    new.CopyFrom(old)
    for name in _masked(resource, message, mask):
        new.ClearField(name)
        _copy_field(message, new, name)
    fixed = sorted(name for name in resource.immutable if _value(new, name) != _value(old, name))
    if fixed:
        violations = [(path + name, "cannot change") for name in fixed]
        raise errors.FieldImmutable(f"{fixed[0]} cannot change", violations=violations)
    new = _checked(transaction, resource, old, new, path)
    changed = [name for name in resource.settable if _value(new, name) != _value(old, name)]
    if not changed:
        return old
    values = resource.to_row(new)
    fresh = _rewrite(transaction, resource, row, values)
    for index in resource.indexes:
        rows = index.rows(new)
        if rows != index.rows(old):
            owner = _owner(resource, row)
            gone = delete(index.table).where(*_equal(index.table, owner))
            transaction.connection.execute(gone)
            owned = [(path, [owner | dict(extra) for extra in rows])]
            _insert_index(transaction.connection, resource, index, owned)
    _tell(transaction, resource, "updated", fresh, changed)
    return resource.to_message(fresh)


def soft_delete(transaction: Transaction, resource: Resource[M], row: Row, etag: str) -> M:
    """Mark a locked row as deleted; raises EtagMismatch."""
    require_etag(resource, row, etag)
    fresh = _rewrite(transaction, resource, row, {"delete_time": transaction.now})
    _tell(transaction, resource, "deleted", fresh, ())
    return resource.to_message(fresh)


def undelete(transaction: Transaction, resource: Resource[M], row: Row, etag: str) -> M:
    """Bring a locked row back; raises EtagMismatch, ResourceNotDeleted."""
    require_etag(resource, row, etag)
    if row["delete_time"] is None:
        raise errors.ResourceNotDeleted(resource.name_of(row))
    fresh = _rewrite(transaction, resource, row, {"delete_time": None})
    _tell(transaction, resource, "undeleted", fresh, ())
    return resource.to_message(fresh)


def require_etag(resource: Resource[Any], row: Row, etag: str) -> None:
    """Raise EtagMismatch if an etag is given that is not the row's."""
    if etag and etag != etag_of(row):
        raise errors.EtagMismatch(resource.name_of(row))


def _tell(
    transaction: Transaction,
    resource: Resource[Any],
    happened: str,
    row: Row,
    paths: Sequence[str],
) -> None:
    event_type = f"{resource.singular}.{happened}"
    name, version = resource.name_of(row), row["version"]
    transaction.changed(event_type, name, version=version, paths=paths)


def _rewrite(
    transaction: Transaction, resource: Resource[Any], row: Row, values: Row
) -> dict[str, Any]:
    fresh = dict(values) | {"version": row["version"] + 1, "update_time": transaction.now}
    update_rows(
        transaction.connection, resource.table, resource.keys, [_owner(resource, row) | fresh]
    )
    return dict(row) | fresh


def _checked(
    transaction: Transaction, resource: Resource[M], old: M | None, new: M, path: str
) -> M:
    try:
        check_resource(new)
        return resource.check(old, new, transaction.now) if resource.check else new
    except errors.Refusal as refusal:
        raise refusal.under(path) from None


def _masked(resource: Resource[Any], message: Message, mask: FieldMask | None) -> list[str]:
    if mask is None or not mask.paths:
        return [field.name for field, _ in message.ListFields() if field.name in resource.settable]
    if list(mask.paths) == ["*"]:
        return list(resource.settable)
    wrong = [path for path in mask.paths if path not in resource.settable]
    if wrong:
        text = f"{wrong[0]} is not a field that can be set"
        raise errors.UpdateMaskInvalid(text, violations=[("update_mask", text)])
    return list(mask.paths)


def _insert_index(
    connection: Connection,
    resource: Resource[Any],
    index: Index,
    owned: Sequence[tuple[str, list[dict[str, Any]]]],
) -> None:
    rows = [row for _, group in owned for row in group]
    if index.taken is None:
        insert_rows(connection, index.table, rows)
        return
    key = [column.name for column in index.table.primary_key]
    columns = [index.table.c[name] for name in key]
    inserted = insert_new_rows(connection, index.table, rows, columns)
    if len(inserted) == len(rows):
        return
    free = [tuple(row[name] for name in key) for row in inserted]
    for path, group in owned:
        for row in group:
            value = tuple(row[name] for name in key)
            if value in free:
                free.remove(value)
                continue
            taken = _equal(index.table, {name: row[name] for name in key})
            other = connection.execute(select(index.table).where(*taken)).mappings().one()
            raise index.taken(resource.name_of(other), row).under(path)


def _require_all(
    resource: Resource[Any], rows: Sequence[Row], inserted: list[tuple[Any, ...]]
) -> None:
    for row in rows if len(inserted) < len(rows) else ():
        key = tuple(row[name] for name in resource.keys)
        if key not in inserted:
            raise errors.ResourceAlreadyExists(resource.name_of(row))
        inserted.remove(key)


def _owner(resource: Resource[Any], row: Row) -> dict[str, Any]:
    return {key: row[key] for key in resource.keys}


def _equal(table: Table, key: Row) -> list[Any]:
    return [and_(*(table.c[name] == value for name, value in key.items()))]


def _copy_field(source: Message, target: Message, name: str) -> None:
    field = source.DESCRIPTOR.fields_by_name[name]
    value = getattr(source, name)
    if _is_map(field):
        getattr(target, name).update(value)
    elif field.is_repeated:
        getattr(target, name).extend(value)
    elif field.message_type is None:
        setattr(target, name, value)
    elif source.HasField(name):
        getattr(target, name).CopyFrom(value)


def _value(message: Message, name: str) -> Any:
    """Return a field in a form that can be compared; None for an absent message."""
    field = message.DESCRIPTOR.fields_by_name[name]
    value = getattr(message, name)
    if _is_map(field):
        return dict(value)
    if field.is_repeated:
        return list(value)
    return None if field.message_type and not message.HasField(name) else value


def _is_map(field: Any) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def _behaviors(field: FieldDescriptor) -> set[int]:
    return set(field.GetOptions().Extensions[field_behavior_pb2.field_behavior])


def _snake(camel: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", camel).lower()


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
        prefix = _snake(field.enum_type.name).upper() + "_"
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
