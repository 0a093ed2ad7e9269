"""Filters as conditions of SQL."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    BinaryExpression,
    Column,
    ColumnElement,
    and_,
    exists,
    literal,
    not_,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.sql.visitors import iterate

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


@dataclass(frozen=True)
class Scalar:
    """A column of the row itself. Text has the collation "C"; null is a field that is not set.

    `beside` holds of every row: it names the columns that come first in the index to search.
    """

    column: ColumnElement[Any]
    beside: ColumnElement[bool] = field(default_factory=true)


@dataclass(frozen=True)
class Key:
    """The columns of the row's key, which hold the ids of its resource name."""

    columns: tuple[Column[str], ...]


@dataclass(frozen=True)
class Related:
    """A column of the rows of another table that belong to the row.

    `on` equates their columns, on the left, with those of the row's key. `key` is the column
    that holds the keys of a map.
    """

    on: ColumnElement[bool]
    value: Column[Any]
    key: Column[Any] | None = None


Binding = Scalar | Key | Related


def to_sql(expression: Expression, bindings: Mapping[str, Binding]) -> ColumnElement[bool]:
    """Return the condition, which is true or false and never null. Bindings are keyed by path.

    Raises KeyError for a field without a binding, and TypeError for a map bound without keys.
    """
    return _condition(expression, bindings, negated=False)


def _condition(
    expression: Expression, bindings: Mapping[str, Binding], *, negated: bool
) -> ColumnElement[bool]:
    match expression:
        case Not(term):
            return _condition(term, bindings, negated=not negated)
        case And(terms) | Or(terms):
            # SQLite before 3.46 has a parser stack of 100, on which every NOT waits for its
            # end and every term for the parentheses after it: so negate the leaves alone, and
            # write the deepest term first.
            deepest_first = sorted(terms, key=_depth, reverse=True)
            conditions = [_condition(term, bindings, negated=negated) for term in deepest_first]
            return (or_ if isinstance(expression, And) is negated else and_)(*conditions)
        case Comparison() | Presence():
            return _leaf(expression, bindings[expression.field.path], negated=negated)


def _depth(expression: Expression) -> int:
    match expression:
        case And(terms) | Or(terms):
            return 1 + max(_depth(term) for term in terms)
        case Not(term):
            return _depth(term)
        case _:
            return 0


def _leaf(leaf: Comparison | Presence, binding: Binding, *, negated: bool) -> ColumnElement[bool]:
    if isinstance(binding, Key):
        holds = _holds_for_key(leaf, binding.columns)
        return not_(holds) if negated else holds
    is_map = leaf.field.path.endswith(".*")
    if isinstance(binding, Scalar):
        if is_map:
            raise TypeError(f"{leaf.field.path} is bound to one column")
        holds = and_(binding.beside, _holds(leaf, binding.column))
        return not_(holds) if negated else holds
    conditions: list[ColumnElement[bool]] = []
    if is_map:
        if binding.key is None:
            raise TypeError(f"{leaf.field.path} is bound without its keys")
        if leaf.key is not None:
            conditions.append(binding.key == leaf.key)
    if not is_map or isinstance(leaf, Comparison):
        conditions.append(_holds(leaf, binding.value))
    table = binding.value.table
    if negated:
        found = exists().select_from(table).where(binding.on, *conditions)
        return not_(found.correlate_except(table))
    # SQLite begins at the related rows for IN, and tries every row for EXISTS.
    owner, related = _joined(binding)
    return owner.in_(select(*related).where(*conditions))


def _joined(binding: Related) -> tuple[ColumnElement[Any], list[ColumnElement[Any]]]:
    """Return the key of the row, and the columns that hold it in the rows that belong to it."""
    equals = [part for part in iterate(binding.on) if isinstance(part, BinaryExpression)]
    owner: list[ColumnElement[Any]] = [part.right for part in equals]
    related: list[ColumnElement[Any]] = [part.left for part in equals]
    return (tuple_(*owner) if len(owner) > 1 else owner[0]), related


def _holds(leaf: Comparison | Presence, column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition on one column: false, not null, where the column is null."""
    there = column.is_not(None)
    if isinstance(leaf, Presence):
        return and_(there, _is_not_zero(leaf.field, column))
    if leaf.prefix:
        return and_(there, *_begins_with(column, str(leaf.value)))
    value: Any = leaf.value
    if leaf.field.type is FieldType.INTEGER:
        # The column may be narrower than the number.
        value = literal(value, BigInteger())
    return and_(there, OPERATORS[leaf.operator](column, value))


def _holds_for_key(
    leaf: Comparison | Presence, columns: tuple[Column[str], ...]
) -> ColumnElement[bool]:
    """Return the condition on a key, whose columns are never null."""
    if isinstance(leaf, Presence):
        return true()
    ids = cast("tuple[str, ...]", leaf.value)
    there = tuple_(*(literal(id_, c.type) for c, id_ in zip(columns, ids, strict=True)))
    condition: ColumnElement[bool] = OPERATORS[leaf.operator](tuple_(*columns), there)
    return condition


def _is_not_zero(field: FilterField, column: ColumnElement[Any]) -> ColumnElement[bool]:
    match field.type:
        case FieldType.TEXT:
            return column != ""
        case FieldType.BOOLEAN:
            return column.is_(True)
        case FieldType.INTEGER | FieldType.ENUM:
            return column != 0
        case FieldType.TIME | FieldType.NAME:
            return column.is_not(None)


def _begins_with(column: ColumnElement[Any], prefix: str) -> list[ColumnElement[bool]]:
    """Return the range of the texts with the prefix, which an index serves, as LIKE may not."""
    following = _next_prefix(prefix)
    return [column >= prefix] + ([column < following] if following else [])


def _next_prefix(prefix: str) -> str:
    """Return the least text above all that begin with the prefix; empty if there is none."""
    kept = prefix.rstrip("\U0010ffff")
    if not kept:
        return ""
    code = ord(kept[-1]) + 1
    # No text holds a surrogate.
    return kept[:-1] + chr(0xE000 if code == 0xD800 else code)
