"""The migrations make the tables that the services declare, on both databases."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, create_engine, func, inspect, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

import services
from services.chassis.contract import SERVICES
from services.chassis.migrate import migrate
from services.loyalty.schema import ledger_entries, ledger_transactions, members, programs
from tests.conftest import DATABASES
from tests.contract.resources import a_row
from tests.harness.postgres import Postgres

ROWS = 2


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    """A service."""
    return str(request.param)


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, service: str, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/{service}.db"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.create(f"schema_{service}")


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A connection to it."""
    with create_engine(database_url, poolclass=NullPool).connect() as opened:
        yield opened


def metadata_of(service: str) -> MetaData:
    """Return the tables that a service declares."""
    metadata: MetaData = import_module(f"services.{service}.schema").metadata
    return metadata


def scripts(service: str) -> Config:
    """Return where the migrations of a service lie."""
    config = Config()
    folder = Path(services.__path__[0]) / service / "migrations"
    config.set_main_option("script_location", str(folder))
    return config


def revisions(service: str) -> list[str]:
    """Return the revisions of a service, the first one first."""
    walked = ScriptDirectory.from_config(scripts(service)).walk_revisions()
    return [script.revision for script in walked][::-1]


def upgrade(connection: Connection, service: str, revision: str) -> None:
    """Bring a database to a revision."""
    config = scripts(service)
    config.attributes["connection"] = connection
    with connection.begin():
        command.upgrade(config, revision)


def fill(connection: Connection) -> None:
    """Put rows into each table that has none."""
    present = MetaData()
    present.reflect(connection)
    for table in present.sorted_tables:
        if not connection.scalar(select(func.count()).select_from(table)):
            connection.execute(table.insert(), [a_row(table, n) for n in range(ROWS)])


def counts(connection: Connection, metadata: MetaData) -> dict[str, int]:
    """Return how many rows each table has."""
    return {
        name: connection.scalar(select(func.count()).select_from(table)) or 0
        for name, table in metadata.tables.items()
    }


def test_the_migrations_make_the_declared_tables(
    service: str, database_url: str, connection: Connection
) -> None:
    migrate(service, database_url)
    metadata = metadata_of(service)
    found = MigrationContext.configure(connection, opts={"compare_type": True})
    assert compare_metadata(found, metadata) == []
    tables = set(inspect(connection).get_table_names())
    assert tables == {*metadata.tables, "alembic_version"}
    # What the comparison passes over.
    for table in metadata.sorted_tables:
        key = inspect(connection).get_pk_constraint(table.name)
        assert key["constrained_columns"] == [column.name for column in table.primary_key]
        assert key["name"] == table.primary_key.name


def test_a_second_migration_does_nothing(
    service: str, database_url: str, connection: Connection
) -> None:
    migrate(service, database_url)
    store = metadata_of(service).tables["store"]
    before = connection.execute(select(store)).one()
    connection.commit()
    migrate(service, database_url)
    assert connection.execute(select(store)).one() == before


def test_each_migration_runs_with_rows_and_keeps_them(service: str, connection: Connection) -> None:
    for revision in revisions(service):
        upgrade(connection, service, revision)
        with connection.begin():
            fill(connection)
    before = counts(connection, metadata_of(service))
    connection.rollback()
    upgrade(connection, service, "head")
    assert counts(connection, metadata_of(service)) == before
    assert {name for name, count in before.items() if count != ROWS} == {"store"}


def collation(connection: Connection, table: str, column: str) -> Any:
    query = "SELECT collation_name FROM information_schema.columns"
    found = f"{query} WHERE table_name = '{table}' AND column_name = '{column}'"
    return connection.scalar(text(found))


# SQLite compares so by itself.
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_text_is_compared_by_code_point(
    service: str, database_url: str, connection: Connection
) -> None:
    migrate(service, database_url)
    columns = [
        (table.name, column.name)
        for table in metadata_of(service).sorted_tables
        for column in table.columns
        if column.type.python_type is str
    ]
    assert columns
    for table, column in columns:
        assert collation(connection, table, column) == "C", f"{table}.{column}"


@pytest.mark.parametrize("service", ["loyalty"])
def test_the_sums_of_points_are_filled_for_the_members_there_are(
    service: str, connection: Connection
) -> None:
    upgrade(connection, service, "0002")
    present = MetaData()
    present.reflect(connection)
    connection.rollback()
    member, posted = present.tables["members"], present.tables["ledger_transactions"]
    movements = [("x0", 1, 10), ("x0", 1, 5), ("x0", 2, 4), ("x1", 1, 3)]
    with connection.begin():
        connection.execute(present.tables["programs"].insert(), a_row(programs, 0))
        common = a_row(member, 0)
        ids = ("x0", "x1", "x2")
        connection.execute(member.insert(), [common | {"member_id": id_} for id_ in ids])
        rows = [
            a_row(posted, n) | {"member_id": id_, "kind": kind, "points": points}
            for n, (id_, kind, points) in enumerate(movements)
        ]
        connection.execute(posted.insert(), rows)
    upgrade(connection, service, "head")
    query = select(members.c.member_id, members.c.points_issued, members.c.points_redeemed)
    found = [tuple(row) for row in connection.execute(query.order_by(members.c.member_id))]
    assert found == [("x0", 15, 4), ("x1", 3, 0), ("x2", 0, 0)]


@pytest.mark.parametrize("service", ["loyalty"])
@pytest.mark.parametrize("table", [ledger_transactions, ledger_entries], ids=lambda t: t.name)
def test_what_was_posted_is_neither_changed_nor_deleted(
    service: str, database_url: str, connection: Connection, table: Any
) -> None:
    migrate(service, database_url)
    with connection.begin():
        fill(connection)
    before = connection.execute(select(table)).all()
    connection.rollback()
    for statement in (
        table.update().values(points=table.c.points + 1),
        table.update().values(member_id=table.c.member_id),
        table.delete(),
    ):
        with pytest.raises(DBAPIError, match="only added to"):
            connection.execute(statement)
        connection.rollback()
    assert connection.execute(select(table)).all() == before
    assert before
