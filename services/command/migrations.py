"""The databases of all services: where they are, and how they come to the present schema."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import URL, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from services.chassis import migrate as chassis
from services.chassis.contract import SERVICES
from services.chassis.settings import database_url_in
from services.command.data_directory import CannotStart
from services.command.databases import (
    CONNECT_TIMEOUT_SECONDS,
    DatabaseUnusable,
    create_missing,
    database_urls,
    parsed_url,
)


@dataclass(frozen=True)
class Databases:
    """Where the database of each service is."""

    urls: Mapping[str, str]
    # Those that stand in the environment; they must be there already.
    given: frozenset[str]

    def of(self, services: Collection[str]) -> "Databases":
        """Return those of some services alone; raises CannotStart for one that is not there."""
        unknown = sorted(set(services) - self.urls.keys())
        if unknown:
            raise CannotStart(f"{unknown[0]} is no service: there are {', '.join(self.urls)}")
        urls = {service: url for service, url in self.urls.items() if service in services}
        return Databases(urls, self.given & urls.keys())


def databases_of(directory: Path, database_url: str | None) -> Databases:
    """Return the databases that the options and the environment name; no two may be one."""
    folder = directory.resolve()
    urls = {service: f"sqlite:///{folder}/{service}.db" for service in SERVICES}
    if database_url is not None:
        urls = database_urls(database_url)
    given = {service: url for service in SERVICES if (url := _given(service))}
    named = {**urls, **given}
    if len(set(named.values())) < len(named):
        raise CannotStart("two services cannot share a database: each must have its own URL")
    return Databases(named, frozenset(given))


def _given(service: str) -> str | None:
    """Return the URL that the environment names for a service, as its settings read it."""
    variable = f"VAFA_{service.upper()}_DATABASE_URL"
    file = os.environ.get(f"{variable}_FILE")
    if not file:
        return os.environ.get(variable)
    try:
        return database_url_in(Path(file))
    except ValueError as error:
        raise CannotStart(str(error)) from error


def migrate_all(databases: Databases) -> dict[str, str]:
    """Make what is missing, bring every database to the present schema; return the revisions.

    Raises DatabaseUnusable for one that cannot be reached, or is of a later program.
    """
    parsed = {service: parsed_url(url) for service, url in databases.urls.items()}
    create_missing(
        databases.urls[service]
        for service, url in parsed.items()
        if url.get_backend_name() == "postgresql" and service not in databases.given
    )
    return {service: _migrate(service, url) for service, url in parsed.items()}


def _migrate(service: str, url: URL) -> str:
    """Bring one database to the present schema and return its revision."""
    hasty = url
    if url.get_backend_name() == "postgresql":
        timeout = {"connect_timeout": str(CONNECT_TIMEOUT_SECONDS)}
        hasty = url.set(query={**timeout, **url.query})
    try:
        chassis.migrate(service, hasty.render_as_string(hide_password=False))
        engine = create_engine(hasty, poolclass=NullPool)
        with engine.connect() as connection:
            return str(MigrationContext.configure(connection).get_current_revision())
    except DBAPIError as error:
        raise DatabaseUnusable(url, error.orig) from error
    except CommandError as error:
        raise DatabaseUnusable(url, error) from error
