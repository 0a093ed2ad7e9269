"""The term of a filter that leads a list: one whose own rows lie in the order of the list.

A term such as `labels.tier = "gold"` is answered by rows of another table. Where these carry the
column that the list is ordered by, an index over them gives the page, however many have the
label; without, either all that have it are put in order, or all others are passed over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, Table

from services.chassis.filter_sql import Binding, Related
from services.chassis.filters import And, Comparison, Expression


@dataclass(frozen=True)
class Leader:
    """The table whose rows lead, when such a row leads, whose it is, and what else is asked."""

    table: Table
    holds: tuple[ColumnElement[bool], ...]
    on: ColumnElement[bool]
    rest: Expression | None

    def join(self, select: Select[Any]) -> Select[Any]:
        """Return the select of rows, each once, for which the term holds."""
        return select.join(self.table, self.on).where(*self.holds)


def leader(
    expression: Expression | None, bindings: Mapping[str, Binding], order: Sequence[Column[Any]]
) -> Leader | None:
    """Return the first term that may lead a list of this order, which ends with the key; None
    if there is none.
    """
    terms = expression.terms if isinstance(expression, And) else (expression,)
    for n, term in enumerate(terms):
        if not isinstance(term, Comparison) or term.operator != "=" or term.prefix:
            continue
        binding = bindings[term.field.path]
        # A map has a key once, and so a row comes once.
        if not isinstance(binding, Related) or binding.key is None or term.key is None:
            continue
        table = binding.value.table
        if all(column.name in table.c for column in order):
            holds = (binding.key == term.key, binding.value == term.value)
            rest = [other for other in terms[:n] + terms[n + 1 :] if other is not None]
            return Leader(table, holds, binding.on, _all_of(rest))
    return None


def _all_of(terms: Sequence[Expression]) -> Expression | None:
    if len(terms) > 1:
        return And(tuple(terms))
    return terms[0] if terms else None
