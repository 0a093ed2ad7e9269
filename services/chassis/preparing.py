"""Resources made ready to be inserted: checked, with their rows; no database is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from services.chassis import errors
from services.chassis.identifiers import id_of, new_uid
from services.chassis.resource import Resource
from services.chassis.rows import Row
from services.chassis.validation import check_resource
from services.chassis.writes import Writes

M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class Draft(Generic[M]):
    """A resource to insert. `path` leads to the message in the request, such as `contact.`;
    `extra` are columns that the service sets; `related` goes into the event.

    `is_judged` says that the bounds of its fields were judged with its request, as they all are
    where there is no update mask.
    """

    message: M
    path: str
    parent: tuple[str, ...] = ()
    id: str = ""
    extra: Row = field(default_factory=dict)
    related: Mapping[str, str] = field(default_factory=dict)
    is_judged: bool = False


@dataclass(frozen=True)
class Prepared(Generic[M]):
    """A draft that was checked, its row, and its rows in each index of the resource."""

    draft: Draft[M]
    row: dict[str, Any]
    index_rows: Sequence[list[dict[str, Any]]]


def prepare(resource: Resource[M], draft: Draft[M], now: datetime) -> Prepared[M]:
    """Check a draft, and give it an id if it has none; raises what the check raises."""
    own = resource.own_copy(draft.message)
    message = checked(resource, None, own, now, draft.path, is_judged=draft.is_judged)
    uid = new_uid()
    ids = (*draft.parent, draft.id or id_of(uid))
    row: dict[str, Any] = dict(zip(resource.keys, ids, strict=True))
    row |= resource.to_row(message)
    row |= draft.extra
    row |= {"uid": str(uid), "create_time": now}
    if "update_time" in resource.table.c:
        row["update_time"] = now
    if resource.versioned:
        row["version"] = 1
    if resource.soft_delete:
        row["delete_time"] = None
    index_rows = [resource.index_rows(index, row, message) for index in resource.indexes]
    return Prepared(draft, row, index_rows)


def put(
    writes: Writes,
    resource: Resource[M],
    prepared: Sequence[Prepared[M]],
    unique: Sequence[str] = (),
) -> None:
    """Have resources inserted with their index rows, and tell of them.

    If somebody may take the unique columns meanwhile, the transaction then runs again; without
    them nobody can. Raises TypeError for a resource with an index whose keys may be taken: who
    has one is found out by steps.insert alone.
    """
    for place, index in enumerate(resource.indexes):
        if index.taken is not None:
            raise TypeError(f"{index.table.name} may be taken")
        writes.insert(index.table, *(row for one in prepared for row in one.index_rows[place]))
    rows = [one.row for one in prepared]
    if unique:
        writes.insert_new(resource.table, *rows, unique=unique)
    else:
        writes.insert(resource.table, *rows)
    tell_created(writes, resource, prepared)


def tell_created(writes: Writes, resource: Resource[M], prepared: Sequence[Prepared[M]]) -> None:
    """Tell of resources that were inserted."""
    for one in prepared:
        writes.changed(
            f"{resource.singular}.created",
            resource.name_of(one.row),
            version=one.row.get("version", 0),
            related=one.draft.related,
        )


def checked(
    resource: Resource[M], old: M | None, new: M, now: datetime, path: str, *, is_judged: bool
) -> M:
    """Return the message in its normal form, or raise a Refusal whose fields are under the path.

    The bounds of its fields are judged unless they were.
    """
    try:
        if not is_judged:
            check_resource(new)
        return resource.check(old, new, now) if resource.check else new
    except errors.Refusal as refusal:
        raise refusal.under(path) from None
