"""Types and statements that are the same on SQLite and PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Dialect,
    Integer,
    RowMapping,
    String,
    Table,
    bindparam,
    func,
    select,
    types,
)
from sqlalchemy.dialects import postgresql, sqlite

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


def insert_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert the rows; does nothing for none."""
    if rows:
        connection.execute(table.insert(), rows)


def insert_new_rows(
    connection: Connection, table: Table, rows: Sequence[Row], returning: Sequence[Column[Any]]
) -> list[RowMapping]:
    """Insert the rows whose keys are free; return the columns asked for of those inserted.

    The columns are the keys, and the rows go in by their order: a key waits for a rival who
    has it, and two who wait for each other in two orders would never end.
    """
    if not rows:
        return []
    rows = sorted(rows, key=lambda row: [row[column.name] for column in returning])
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).on_conflict_do_nothing().returning(*returning)
    return list(connection.execute(statement, rows).mappings())


def update_rows(
    connection: Connection, table: Table, keys: Sequence[str], rows: Sequence[Row]
) -> None:
    """Set the other columns of each row where the key columns match; rows are alike in shape."""
    if rows:
        statement = table.update()
        for key in keys:
            statement = statement.where(table.c[key] == bindparam(f"key_{key}"))
        statement = statement.values(
            {name: bindparam(name) for name in rows[0] if name not in keys}
        )
        renamed = [
            {(f"key_{name}" if name in keys else name): value for name, value in row.items()}
            for row in rows
        ]
        connection.execute(statement, renamed)
