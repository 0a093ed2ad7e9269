"""The steps of the standard methods as plain functions, for custom methods to compose."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from sqlalchemy import ColumnElement, Connection, Table, and_, delete, select

from services.chassis import errors
from services.chassis.finding import Index
from services.chassis.identifiers import WILDCARD, id_of, new_uid
from services.chassis.resource import Resource, copy_field, etag_of, value_of
from services.chassis.rows import Row, insert_new_rows, insert_rows, update_rows
from services.chassis.transaction import RunAgain, Transaction
from services.chassis.validation import check_resource

M = TypeVar("M", bound=Message)


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
    query = resource.select().where(_equal(resource.table, key))
    if lock:
        query = query.with_for_update(key_share=True)
    row = connection.execute(query).mappings().one_or_none()
    if row is None or (not deleted and resource.soft_delete and row["delete_time"] is not None):
        raise errors.ResourceNotFound(name)
    return dict(row)


def require_parent(connection: Connection, parent: Resource[Any], name: str) -> tuple[str, ...]:
    """Return the ids in the parent of a list, each of which may be `-` for any.

    Raises ResourceNotFound unless that is there which is named before the first `-`.
    """
    ids = tuple(parent.key_of(name).values())
    named = list(itertools.takewhile(lambda id_: id_ != WILDCARD, ids))
    above: Resource[Any] | None = parent
    while above is not None and len(above.keys) > len(named):
        above = above.parent
    if above is not None:
        get(connection, above, above.pattern.format(named))
    return ids


def get_many(connection: Connection, resource: Resource[M], names: Sequence[str]) -> list[M]:
    """Return the messages of these names in their order; raises ResourceNotFound for the first
    that is not there.
    """
    if len(resource.keys) != 1:
        return [resource.to_message(get(connection, resource, name)) for name in names]
    column = resource.table.c[resource.keys[0]]
    ids = [resource.key_of(name)[column.name] for name in names]
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
        copy_field(message, new, name)
    fixed = sorted(
        name for name in resource.immutable if value_of(new, name) != value_of(old, name)
    )
    if fixed:
        violations = [(path + name, "cannot change") for name in fixed]
        raise errors.FieldImmutable(f"{fixed[0]} cannot change", violations=violations)
    new = _checked(transaction, resource, old, new, path)
    changed = [name for name in resource.settable if value_of(new, name) != value_of(old, name)]
    if not changed:
        return old
    for index in resource.indexes:
        rows = index.rows(new)
        if rows != index.rows(old):
            owner = _owner(resource, row)
            gone = delete(index.table).where(_equal(index.table, owner))
            transaction.connection.execute(gone)
            owned = [(path, [owner | dict(extra) for extra in rows])]
            _insert_index(transaction.connection, resource, index, owned)
    return change(transaction, resource, row, resource.to_row(new), "updated", changed)


def change(
    transaction: Transaction,
    resource: Resource[M],
    row: Row,
    values: Row,
    happened: str,
    paths: Sequence[str] = (),
) -> M:
    """Set columns of a locked row, and tell of it as `{singular}.{happened}` with the paths
    of the fields that changed; return it as it is now.
    """
    fresh = dict(values) | {"version": row["version"] + 1, "update_time": transaction.now}
    update_rows(
        transaction.connection, resource.table, resource.keys, [_owner(resource, row) | fresh]
    )
    fresh = dict(row) | fresh
    event_type, name = f"{resource.singular}.{happened}", resource.name_of(row)
    transaction.changed(event_type, name, version=fresh["version"], paths=paths)
    return resource.to_message(fresh)


def soft_delete(transaction: Transaction, resource: Resource[M], row: Row, etag: str) -> M:
    """Mark a locked row as deleted; raises EtagMismatch."""
    require_etag(resource, row, etag)
    return change(transaction, resource, row, {"delete_time": transaction.now}, "deleted")


def undelete(transaction: Transaction, resource: Resource[M], row: Row, etag: str) -> M:
    """Bring a locked row back; raises EtagMismatch, ResourceNotDeleted."""
    require_etag(resource, row, etag)
    if row["delete_time"] is None:
        raise errors.ResourceNotDeleted(resource.name_of(row))
    return change(transaction, resource, row, {"delete_time": None}, "undeleted")


def require_etag(resource: Resource[Any], row: Row, etag: str) -> None:
    """Raise EtagMismatch if an etag is given that is not the row's."""
    if etag and etag != etag_of(row):
        raise errors.EtagMismatch(resource.name_of(row))


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
            other = connection.execute(select(index.table).where(taken)).mappings().one_or_none()
            if other is None:
                # Given up by its owner in between.
                raise RunAgain
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


def _equal(table: Table, key: Row) -> ColumnElement[bool]:
    return and_(*(table.c[name] == value for name, value in key.items()))
