"""Statements over sets of rows, whose texts are made once and do not depend on how many rows."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import (
    Column,
    Dialect,
    FromClause,
    Table,
    any_,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import NullType

from services.chassis.arrays import Write, array_of

KEY_OF = "key_of_"


@dataclass(frozen=True)
class Condition:
    """A condition on keys, which PostgreSQL takes as an array for each column, SQLite as JSON."""

    text: str
    writes: Sequence[Write]

    def parameters(self, keys: Sequence[tuple[Any, ...]]) -> dict[str, str]:
        """Return the keys as the driver takes them."""
        if not self.writes:
            return {"keys_0": json.dumps(keys)}
        columns = zip(*keys, strict=True) if keys else [()] * len(self.writes)
        return {
            f"keys_{n}": write(column)
            for n, (write, column) in enumerate(zip(self.writes, columns, strict=True))
        }


@dataclass(frozen=True)
class Statement:
    """A statement over a set of rows, whose text does not depend on how many there are.

    PostgreSQL takes an array for each column, and SQLite row after row.
    """

    text: str
    arrays: Sequence[tuple[str, Write]] = ()
    columns: Sequence[tuple[str, Callable[[Any], Any] | None]] = ()

    def parameters(self, rows: Sequence[Mapping[Any, Any]]) -> Any:
        """Return the rows as the driver takes them; raises ValueError for rows unlike the first."""
        width = len(rows[0])
        if any(len(row) != width for row in rows):
            raise ValueError("rows of different shapes")
        if self.arrays:
            return {name: write([row[name] for row in rows]) for name, write in self.arrays}
        return [
            tuple([process(row[name]) if process else row[name] for name, process in self.columns])
            for row in rows
        ]


@functools.cache
def among_keys(dialect: Dialect, columns: tuple[Column[Any], ...]) -> Condition:
    """Return the condition that the columns are one of the keys that it is given."""
    row: Any = columns[0] if len(columns) == 1 else tuple_(*columns)
    places = range(len(columns))
    # As text() has its parameters.
    dialect_class: Any = type(dialect)
    named = dialect_class(paramstyle="named")
    if dialect.name == "sqlite":
        key = func.json_each(bindparam("keys_0")).table_valued("value", name="given").c.value
        parts = [func.json_extract(key, literal_column(f"'$[{n}]'")) for n in places]
        one_of = row.in_(select(*parts))
        return Condition(str(one_of.compile(dialect=named)), ())
    arrays = [array_of(column.type, dialect) for column in columns]
    given = [
        cast(bindparam(f"keys_{n}", type_=NullType()), array.type) for n, array in enumerate(arrays)
    ]
    if len(columns) == 1:
        one_of = row == any_(given[0])
    else:
        names = [column.name for column in columns]
        keys = func.unnest(*given).table_valued(*names, name="given").render_derived()
        one_of = row.in_(select(keys))
    return Condition(str(one_of.compile(dialect=named)), [array.write for array in arrays])


@functools.cache
def insert_statement(
    dialect: Dialect,
    table: Table,
    names: tuple[str, ...],
    returning: tuple[Column[Any], ...] = (),
) -> Statement:
    """Return the insert of these columns; with `returning`, of rows whose keys are free."""
    if dialect.name == "sqlite":
        row_insert = sqlite.insert(table)
        if returning:
            row_insert = row_insert.on_conflict_do_nothing()
        return _for_each_row(table, row_insert.compile(dialect=dialect, column_keys=names))
    given, arrays = _given(dialect, table, names)
    insert: Any = postgresql.insert(table).from_select(names, select(given))
    if returning:
        insert = insert.on_conflict_do_nothing().returning(*returning)
    return Statement(str(insert.compile(dialect=dialect)), arrays)


@functools.cache
def update_statement(
    dialect: Dialect, table: Table, keys: tuple[str, ...], names: tuple[str, ...]
) -> Statement:
    """Return the update of the columns of these names that are no keys, where the keys match."""
    others = [name for name in names if name not in keys]
    update = table.update()
    if dialect.name == "sqlite":
        for key in keys:
            update = update.where(table.c[key] == bindparam(f"{KEY_OF}{key}"))
        update = update.values({name: bindparam(name) for name in others})
        return _for_each_row(table, update.compile(dialect=dialect))
    given, arrays = _given(dialect, table, names)
    for key in keys:
        update = update.where(table.c[key] == given.c[key])
    update = update.values({name: given.c[name] for name in others})
    return Statement(str(update.compile(dialect=dialect)), arrays)


class Together(NamedTuple):
    """Several statements as one, whose parameters bear the number of their part."""

    text: str
    parts: Sequence[Statement]


@functools.cache
def joined_statement(
    dialect: Dialect, shape: tuple[tuple[Table, tuple[str, ...], tuple[str, ...]], ...]
) -> Together:
    """Return the inserts and, for tables with keys, updates as one statement of PostgreSQL."""
    parts = [
        update_statement(dialect, table, keys, names)
        if keys
        else insert_statement(dialect, table, names)
        for table, keys, names in shape
    ]
    texts = [
        f"set_{n} AS ({part.text.replace('%(', f'%(set_{n}_')})" for n, part in enumerate(parts)
    ]
    return Together(f"WITH {', '.join(texts)} SELECT 1", parts)


def _given(
    dialect: Dialect, table: Table, names: Sequence[str]
) -> tuple[FromClause, list[tuple[str, Write]]]:
    """Return the rows that arrays under these names hold, and how the arrays are written."""
    arrays = {name: array_of(table.c[name].type, dialect) for name in names}
    given = [cast(bindparam(name, type_=NullType()), array.type) for name, array in arrays.items()]
    rows = func.unnest(*given).table_valued(*names, name="given").render_derived()
    return rows, [(name, array.write) for name, array in arrays.items()]


def _for_each_row(table: Table, compiled: Any) -> Statement:
    columns: list[tuple[str, Callable[[Any], Any] | None]] = []
    for parameter in compiled.positiontup:
        name = parameter.removeprefix(KEY_OF)
        kind = table.c[name].type.dialect_impl(compiled.dialect)
        columns.append((name, kind.bind_processor(compiled.dialect)))
    return Statement(str(compiled), columns=columns)
