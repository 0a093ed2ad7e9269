"""The databases of a suite on one PostgreSQL server: one for each service."""

from collections.abc import Iterable

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.pool import NullPool

from services.chassis import settings
from services.chassis.contract import SERVICES
from services.command.data_directory import CannotStart

CONNECT_TIMEOUT_SECONDS = 5
# PostgreSQL cuts off what is longer, and the services would share one database.
MAX_NAME_BYTES = 63
# It is on every server, and a database can only be made from within another.
MAINTENANCE_DATABASE = "postgres"


class DatabaseUnusable(CannotStart):
    """A database cannot be reached, made or brought to the present schema."""

    def __init__(self, url: URL, reason: object) -> None:
        first_line = str(reason).strip().partition("\n")[0]
        super().__init__(f"the database {url.render_as_string()} cannot be used: {first_line}")


def database_urls(url: str) -> dict[str, str]:
    """Return the URL of each service's database, `{name}_{service}` on the server of `url`.

    Raises CannotStart for anything but `postgresql+psycopg://…/name`, and for a name that is
    too long.
    """
    parsed = parsed_url(url)
    if parsed.get_backend_name() != "postgresql" or not parsed.database:
        raise CannotStart("the database URL must look like postgresql+psycopg://user@host/name")
    longest = max((f"{parsed.database}_{service}" for service in SERVICES), key=len)
    if len(longest.encode()) > MAX_NAME_BYTES:
        raise CannotStart(
            f"the name of a database has at most {MAX_NAME_BYTES} bytes, and {longest} has more"
        )
    return {
        service: parsed.set(database=f"{parsed.database}_{service}").render_as_string(
            hide_password=False
        )
        for service in SERVICES
    }


def create_missing(urls: Iterable[str]) -> None:
    """Make those of the PostgreSQL databases that are not there yet, or raise DatabaseUnusable.

    The maintenance database of a server is asked for only if one of them cannot be connected to.
    """
    by_server: dict[URL, list[URL]] = {}
    for url in map(parsed_url, urls):
        server = url.set(database=MAINTENANCE_DATABASE)
        by_server.setdefault(server, []).append(url)
    for server, targets in by_server.items():
        if all(map(_can_connect, targets)):
            continue
        try:
            with _engine(server).connect() as connection:
                _create(connection, [url.database or "" for url in targets])
        except DBAPIError as error:
            raise DatabaseUnusable(server, error.orig) from error


def parsed_url(url: str) -> URL:
    """Return the parts of the URL of a database that the services can use, or raise CannotStart."""
    try:
        return settings.parsed_url(url)
    except ValueError as error:
        raise CannotStart(str(error)) from error


def _engine(url: URL) -> Engine:
    return create_engine(
        url,
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"connect_timeout": CONNECT_TIMEOUT_SECONDS},
    )


def _can_connect(url: URL) -> bool:
    # Why not is not looked at: it may be absent, and if not, whoever uses it is told.
    try:
        _engine(url).connect().close()
    except DBAPIError:
        return False
    return True


def _create(connection: Connection, names: Iterable[str]) -> None:
    present = set(connection.scalars(text("SELECT datname FROM pg_database")))
    for name in names:
        if name in present:
            continue
        quoted = connection.dialect.identifier_preparer.quote_identifier(name)
        try:
            connection.exec_driver_sql(
                f"CREATE DATABASE {quoted} TEMPLATE template0 ENCODING 'UTF8'"
            )
        except ProgrammingError as error:
            # Another process that starts now may have been first.
            if not isinstance(error.orig, psycopg.errors.DuplicateDatabase):
                raise
