"""Pages of a list: filter, order, and cursors that say where the next page begins."""

import base64
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Column, ColumnElement, Connection, Select, and_, literal, or_, tuple_

from services.chassis import errors
from services.chassis.engines import planned_anew
from services.chassis.filter_sql import to_sql
from services.chassis.filters import Expression, FilterSyntaxError, parse
from services.chassis.identifiers import WILDCARD
from services.chassis.leading import leader
from services.chassis.resource import Resource
from services.chassis.rows import Row

DEFAULT_ORDER = "create_time"
DEFAULT_SIZE = 50
LARGEST_SIZE = 1000
NONCE_BYTES = 12


@dataclass(frozen=True)
class PageQuery:
    """What a List request asks: the ids of the parent, `-` for any, and the usual fields.
    `scope` is what else its pages are bound to.
    """

    parent: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()
    filter: str = ""
    order_by: str = ""
    page_size: int = 0
    page_token: str = ""
    show_deleted: bool = False

    @classmethod
    def of(cls, request: Any, parent: tuple[str, ...] = ()) -> Self:
        """Return what a List request asks under a parent of these ids."""
        has_deleted = "show_deleted" in request.DESCRIPTOR.fields_by_name
        return cls(
            parent=parent,
            filter=request.filter,
            order_by=request.order_by,
            page_size=request.page_size,
            page_token=request.page_token,
            show_deleted=has_deleted and request.show_deleted,
        )


@dataclass(frozen=True)
class Page:
    """Rows, and the token of the next page; empty if this is the last."""

    rows: list[Row]
    next_page_token: str


def page(
    connection: Connection,
    resource: Resource[Any],
    query: PageQuery,
    token_key: bytes,
    select: Select[Any] | None = None,
) -> Page:
    """Return a page of a resource, of the rows of `select` if it is given.

    Raises FilterInvalid, OrderByInvalid, PageTokenInvalid.
    """
    select = resource.select() if select is None else select
    for key, id_ in zip(resource.keys, query.parent, strict=False):
        if id_ != WILDCARD:
            select = select.where(resource.table.c[key] == id_)
    if resource.soft_delete and not query.show_deleted:
        select = select.where(resource.table.c.delete_time.is_(None))
    expression = _parsed(resource, query.filter)
    order = _order(resource, query.order_by)
    lead = leader(expression, resource.bindings, [column for column, _ in order])
    if lead is not None:
        select, expression = lead.join(select), lead.rest
        order = [(lead.table.c[column.name], falls) for column, falls in order]
    if query.filter:
        select = planned_anew(select)
    if expression is not None:
        select = select.where(to_sql(expression, resource.bindings))
    cursor = Cursor(token_key, (resource.type_name, *_bound(query)))
    if query.page_token:
        types = [column.type.python_type for column, _ in order]
        values = cursor.read(query.page_token, types)
        select = select.where(_after(order, values))
    size = min(query.page_size or DEFAULT_SIZE, LARGEST_SIZE)
    ordered = (column.desc() if falls else column.asc() for column, falls in order)
    found = connection.execute(select.order_by(*ordered).limit(size + 1)).mappings().all()
    rows: list[Row] = [dict(row) for row in found[:size]]
    more = len(found) > size
    token = cursor.write([rows[-1][column.name] for column, _ in order]) if more else ""
    return Page(rows, token)


class Cursor:
    """Makes and reads page tokens: sealed, since a place in an order may be a name, and bound
    to one list.
    """

    def __init__(self, key: bytes, bound: tuple[str, ...]) -> None:
        self._cipher = AESGCM(key)
        self._bound = json.dumps(bound).encode()

    def write(self, values: list[Any]) -> str:
        """Return the token of a place in the order."""
        plain = [v.isoformat() if isinstance(v, datetime) else v for v in values]
        body = json.dumps(plain, separators=(",", ":"), ensure_ascii=False).encode()
        nonce = os.urandom(NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, body, self._bound)
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def read(self, token: str, types: Sequence[type]) -> list[Any]:
        """Return the place that a token stands for, in these types; raises PageTokenInvalid."""
        try:
            sealed = base64.b64decode(
                token + "=" * (-len(token) % 4), altchars=b"-_", validate=True
            )
            nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
            values = json.loads(self._cipher.decrypt(nonce, rest, self._bound))
            # Those of another release may differ in shape: it may order the list by other columns.
            return [
                datetime.fromisoformat(value) if kind is datetime else value
                for value, kind in zip(values, types, strict=True)
            ]
        except (ValueError, TypeError, InvalidTag) as error:
            raise errors.PageTokenInvalid from error


def _bound(query: PageQuery) -> tuple[str, ...]:
    bound = (query.filter, query.order_by, str(query.show_deleted))
    return (*query.parent, *query.scope, *bound)


def filter_condition(resource: Resource[Any], text: str) -> ColumnElement[bool] | None:
    """Return the condition that a filter of the resource states, None for an empty one.

    Raises FilterInvalid.
    """
    expression = _parsed(resource, text)
    return None if expression is None else to_sql(expression, resource.bindings)


def _parsed(resource: Resource[Any], text: str) -> Expression | None:
    try:
        return parse(text, resource.filter_fields)
    except FilterSyntaxError as error:
        problem = f"at character {error.position}: {error.problem}"
        violations = [("filter", problem)]
        raise errors.FilterInvalid(f"the filter, {problem}", violations=violations) from error


def _order(resource: Resource[Any], text: str) -> list[tuple[Column[Any], bool]]:
    """Return the columns of the order, whether each falls, and last the key, to be total."""
    order: list[tuple[Column[Any], bool]] = []
    for part in (text or DEFAULT_ORDER).split(","):
        words = part.split()
        known = words and words[0] in resource.orders and words[1:] in ([], ["asc"], ["desc"])
        if not known or resource.orders[words[0]] in [column for column, _ in order]:
            problem = f"{part.strip()!r} is not a field to order by, with desc or not"
            raise errors.OrderByInvalid(problem, violations=[("order_by", problem)])
        order.append((resource.orders[words[0]], words[1:] == ["desc"]))
    falls = order[-1][1]
    return order + [(resource.table.c[key], falls) for key in resource.keys]


def _after(order: list[tuple[Column[Any], bool]], values: list[Any]) -> ColumnElement[bool]:
    """Return the condition for the rows behind a place in the order."""
    places = [
        (column, literal(value, column.type), falls)
        for (column, falls), value in zip(order, values, strict=True)
    ]
    if len({falls for _, _, falls in places}) == 1:
        # As one comparison, which an index over the columns can serve.
        here = tuple_(*(column for column, _, _ in places))
        there = tuple_(*(value for _, value, _ in places))
        return here < there if places[0][2] else here > there
    return or_(
        *(
            and_(
                *(column == value for column, value, _ in places[:n]),
                column < value if falls else column > value,
            )
            for n, (column, value, falls) in enumerate(places)
        )
    )
