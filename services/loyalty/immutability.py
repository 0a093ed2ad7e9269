"""Triggers by which the database itself refuses to change what was posted."""

from sqlalchemy import Connection

TABLES = ("ledger_transactions", "ledger_entries")


def make_immutable(connection: Connection) -> None:
    """Make the triggers; a posted transaction or entry is neither changed nor deleted."""
    for statement in _statements(connection.dialect.name):
        connection.exec_driver_sql(statement)


def _statements(dialect: str) -> list[str]:
    if dialect == "postgresql":
        refuse = (
            "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the ledger is only added to'; END $$"
        )
        return [refuse] + [
            f"CREATE TRIGGER {table}_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
            for table in TABLES
        ]
    return [
        f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is only added to'); END"
        for table in TABLES
        for change in ("UPDATE", "DELETE")
    ]
