"""Types and statements that are the same on SQLite and PostgreSQL."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Dialect,
    Integer,
    String,
    Table,
    TextClause,
    bindparam,
    func,
    select,
    text,
    types,
)
from sqlalchemy.dialects import postgresql

from services.chassis.statements import (
    among_keys,
    insert_statement,
    joined_statement,
    update_statement,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A row as it is read or to be written, by the names of its columns.
Row = Mapping[Any, Any]


class UtcTime(types.TypeDecorator[datetime]):
    """An instant in UTC, to the microsecond: timestamptz, or microseconds on SQLite."""

    impl = BigInteger
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        """What a row holds, and so what a page token must be read back as."""
        return datetime

    def load_dialect_impl(self, dialect: Dialect) -> types.TypeEngine[Any]:
        """Pick the type of the database."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.TIMESTAMP(timezone=True))
        return dialect.type_descriptor(BigInteger())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Give the database an instant; a time without a zone is a defect."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        if dialect.name == "postgresql":
            return value
        return (value - EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Take an instant from the database."""
        if value is None:
            return None
        if dialect.name == "postgresql":
            return value.astimezone(UTC)  # type: ignore[no-any-return]
        return EPOCH + timedelta(microseconds=value)


# Text that is compared code point by code point, as Python and SQLite compare it.
Text = String().with_variant(String(collation="C"), "postgresql")
Json = types.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
# A number that the database gives, rising. SQLite counts only a plain INTEGER key.
Serial = BigInteger().with_variant(Integer(), "sqlite")


def lock_name(connection: Connection, name: str, *, shared: bool) -> None:
    """Hold a name until the transaction ends, alone or shared with others who share it.

    Who wants it alone waits for those who share it now, and who comes later waits behind: so
    they cannot keep it from him for ever, as those who share the lock of a row can. SQLite has
    one writer, who is alone anyway.
    """
    if connection.dialect.name == "postgresql":
        lock = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
        connection.execute(select(lock(func.hashtextextended(name, 0))))


def among(
    connection: Connection, columns: Sequence[Column[Any]], keys: Sequence[tuple[Any, ...]]
) -> TextClause:
    """Return the condition that the columns of a row, texts or whole numbers, are one of the keys.

    Its text does not depend on how many there are.
    """
    condition = among_keys(connection.dialect, tuple(columns))
    # Unique, since there may be another such condition in the same statement.
    given = condition.parameters(keys).items()
    return text(condition.text).bindparams(
        *(bindparam(name, value, String, unique=True) for name, value in given)
    )


def keep_statistics(connection: Connection, table: str, *columns: str) -> None:
    """Have PostgreSQL know how often which values of a column stand in a table, to a thousandth;
    or, of several, which values come together: it takes them to have nothing to do with each
    other otherwise. SQLite counts nothing.
    """
    if connection.dialect.name != "postgresql":
        return
    if len(columns) == 1:
        target = f"ALTER COLUMN {columns[0]} SET STATISTICS 1000"
        connection.exec_driver_sql(f"ALTER TABLE {table} {target}")
    else:
        name = f"st_{table}_{'_'.join(columns)}"
        listed = ", ".join(columns)
        connection.exec_driver_sql(f"CREATE STATISTICS {name} ON {listed} FROM {table}")


def insert_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert the rows, which are alike in shape, in their order; does nothing for none."""
    if rows:
        insert = insert_statement(connection.dialect, table, tuple(rows[0]))
        connection.exec_driver_sql(insert.text, insert.parameters(rows))


def insert_new_rows(
    connection: Connection, table: Table, rows: Sequence[Row], returning: Sequence[Column[Any]]
) -> list[Row]:
    """Insert the rows whose keys are free; return the columns asked for of those inserted.

    The columns are the keys, and the rows go in by their order: a key waits for a rival who
    has it, and two who wait for each other in two orders would never end.
    """
    if not rows:
        return []
    names = [column.name for column in returning]
    rows = sorted(rows, key=lambda row: [row[name] for name in names])
    insert = insert_statement(connection.dialect, table, tuple(rows[0]), tuple(returning))
    given = insert.parameters(rows)
    if insert.arrays:
        return list(connection.exec_driver_sql(insert.text, given).mappings())
    # SQLite counts what it inserted, which is cheaper than to have it told.
    return [
        {name: row[name] for name in names}
        for row, parameters in zip(rows, given, strict=True)
        if connection.exec_driver_sql(insert.text, parameters).rowcount
    ]


def update_rows(
    connection: Connection, table: Table, keys: Sequence[str], rows: Sequence[Row]
) -> None:
    """Set the other columns of each row where the key columns match; rows are alike in shape.

    Raises ValueError for two rows of one key, of which only one could stand.
    """
    if not rows:
        return
    _require_different(table, keys, rows)
    update = update_statement(connection.dialect, table, tuple(keys), tuple(rows[0]))
    connection.exec_driver_sql(update.text, update.parameters(rows))


@dataclass(frozen=True)
class RowSet:
    """Rows of a table, alike in shape, to be inserted; or with `keys`, locked ones to be changed
    as update_rows does.
    """

    table: Table
    rows: Sequence[Row]
    keys: tuple[str, ...] = ()


def write_together(connection: Connection, sets: Iterable[RowSet]) -> None:
    """Write sets of rows, none of which changes what another inserts; PostgreSQL takes all of
    them in one statement. Raises what update_rows does.
    """
    sets = [one for one in sets if one.rows]
    if connection.dialect.name == "sqlite" or len(sets) < 2:
        for one in sets:
            if one.keys:
                update_rows(connection, one.table, one.keys, one.rows)
            else:
                insert_rows(connection, one.table, one.rows)
        return
    shape = tuple((one.table, one.keys, tuple(one.rows[0])) for one in sets)
    statement = joined_statement(connection.dialect, shape)
    parameters: dict[str, Any] = {}
    for n, (one, part) in enumerate(zip(sets, statement.parts, strict=True)):
        if one.keys:
            _require_different(one.table, one.keys, one.rows)
        given = part.parameters(one.rows)
        parameters |= {f"set_{n}_{name}": array for name, array in given.items()}
    connection.exec_driver_sql(statement.text, parameters)


def _require_different(table: Table, keys: Sequence[str], rows: Sequence[Row]) -> None:
    if len({tuple([row[key] for key in keys]) for row in rows}) < len(rows):
        raise ValueError(f"two updates of one row of {table.name}")
