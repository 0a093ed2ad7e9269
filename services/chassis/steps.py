"""The steps of the standard methods as plain functions, for custom methods to compose."""

import itertools
from collections.abc import Sequence
from typing import Any, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from sqlalchemy import ColumnElement, Connection, Table, and_, delete, select

from services.chassis import errors
from services.chassis.finding import Index
from services.chassis.identifiers import WILDCARD
from services.chassis.preparing import Draft, checked, prepare, tell_created
from services.chassis.reading import read_rows
from services.chassis.resource import Resource, etag_of
from services.chassis.rows import Row, insert_new_rows, insert_rows
from services.chassis.transaction import Transaction
from services.chassis.writes import RunAgain

M = TypeVar("M", bound=Message)


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
    rows = read_rows(connection, resource.key_columns, [tuple(key.values())], lock=lock)
    if not rows or (not deleted and resource.soft_delete and rows[0]["delete_time"] is not None):
        raise errors.ResourceNotFound(name)
    return rows[0]


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


def find_many(connection: Connection, resource: Resource[M], names: Sequence[str]) -> dict[str, M]:
    """Return the live resources of those names that are there, by their names."""
    keys = {tuple(resource.key_of(name).values()) for name in names}
    rows = read_rows(connection, resource.key_columns, list(keys))
    if resource.soft_delete:
        rows = [row for row in rows if row["delete_time"] is None]
    return {resource.name_of(row): resource.to_message(row) for row in rows}


def get_many(connection: Connection, resource: Resource[M], names: Sequence[str]) -> list[M]:
    """Return the messages of these names in their order; raises ResourceNotFound for the first
    that is not there.
    """
    found = find_many(connection, resource, names)
    for name in names:
        if name not in found:
            raise errors.ResourceNotFound(name)
    return [found[name] for name in names]


def insert(transaction: Transaction, resource: Resource[M], drafts: Sequence[Draft[M]]) -> list[M]:
    """Check and insert resources, their index rows and events; return them as they are now.

    Raises ResourceAlreadyExists for an id that is taken, what the check raises, and what an
    index says of a key that belongs to another.
    """
    prepared = [prepare(resource, draft, transaction.now) for draft in drafts]
    rows = [one.row for one in prepared]
    keys = resource.key_columns
    inserted = insert_new_rows(transaction.connection, resource.table, rows, keys)
    _require_all(resource, rows, [tuple(row[key] for key in resource.keys) for row in inserted])
    for place, index in enumerate(resource.indexes):
        owned = [(one.draft.path, one.index_rows[place]) for one in prepared]
        _insert_index(transaction.connection, resource, index, owned)
    tell_created(transaction, resource, prepared)
    return [resource.to_message(row) for row in rows]


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
    given = _masked(resource, message, mask)
    for name in given:
        new.ClearField(name)
    new.MergeFrom(resource.own_copy(message, given))
    fixed = sorted(resource.immutable.intersection(resource.changed(old, new)))
    if fixed:
        violations = [(path + name, "cannot change") for name in fixed]
        raise errors.FieldImmutable(f"{fixed[0]} cannot change", violations=violations)
    new = checked(resource, old, new, transaction.now, path, is_judged=False)
    changed = resource.changed(old, new)
    if not changed:
        return old
    values = resource.to_row(new)
    fresh = dict(row) | values
    for index in resource.indexes:
        rows = resource.index_rows(index, fresh, new)
        if rows != resource.index_rows(index, row, old):
            gone = delete(index.table).where(_equal(index.table, _owner(resource, row)))
            transaction.connection.execute(gone)
            _insert_index(transaction.connection, resource, index, [(path, rows)])
    return change(transaction, resource, row, values, "updated", changed)


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

    The row is written with all else at the end of the transaction.
    """
    fresh = dict(values) | {"version": row["version"] + 1, "update_time": transaction.now}
    transaction.update(resource.table, _owner(resource, row), fresh)
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
