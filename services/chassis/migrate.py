"""Brings a database to the schema of its service, forward only."""

import asyncio
from pathlib import Path

import structlog
from alembic import command, context
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, create_engine, func, select
from sqlalchemy.pool import NullPool

from services.chassis.database import Database
from services.chassis.engines import prepare_sqlite

# Any number will do as long as every migrator of a database takes the same.
LOCK_KEY = 0x76616662
log = structlog.get_logger()


def _config(service: str) -> Config:
    folder = Path(__file__).parent.parent / service / "migrations"
    config = Config()
    config.set_main_option("script_location", str(folder))
    return config


def migrate(service: str, database_url: str) -> None:
    """Bring the database to the head of the service's migrations; a second migrator waits."""
    if database_url.startswith("sqlite:///"):
        Path(database_url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(database_url, poolclass=NullPool)
    if engine.dialect.name == "sqlite":
        # Tables are made in the transaction too, and rebuilt though others refer to them.
        prepare_sqlite(engine, "BEGIN IMMEDIATE", ["busy_timeout=60000"])
    config = _config(service)
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(LOCK_KEY)))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def run_migrations(metadata: MetaData) -> None:
    """Run the migrations of a service; its `migrations/env.py` calls this."""
    connection: Connection = context.config.attributes["connection"]
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=True,
        transactional_ddl=True,
    )
    context.run_migrations()


async def wait_for_schema(service: str, database: Database) -> None:
    """Return once the database is at the schema of this program, or at a later one."""
    scripts = ScriptDirectory.from_config(_config(service))
    head = scripts.get_current_head()
    known = {script.revision for script in scripts.walk_revisions()}
    said = False
    while True:
        try:
            present = await database.upkeep(
                lambda c: MigrationContext.configure(c).get_current_revision()
            )
        except Exception as error:
            present = None
            log.warning("database_unreachable", kind=type(error).__name__)
        if present == head or (present is not None and present not in known):
            return
        if not said:
            log.info("waiting_for_migration", present=present, wanted=head)
            said = True
        await asyncio.sleep(0.5)
