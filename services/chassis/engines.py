"""Connections to SQLite and PostgreSQL, as the services want them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
import psycopg
from sqlalchemy import Connection, Engine, ExceptionContext, Select, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from services.chassis.settings import ServiceSettings

SQLITE_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000", "foreign_keys=ON")

# To compile a plan, or to start further processes for it, takes longer than a page of a list; and
# what is asked for again and again lies in memory, where one page is as near as the next.
SHORT_STATEMENTS = "-c jit=off -c max_parallel_workers_per_gather=0 -c random_page_cost=1.1"


def make_engine(settings: ServiceSettings, size: int, sqlite_begin: str) -> Engine:
    """Return an engine of so many connections at most, that begins on SQLite as is said."""
    is_sqlite = settings.database_url.startswith("sqlite")
    arguments: dict[str, Any] = {}
    if not is_sqlite:
        arguments["prepare_threshold"] = settings.prepare_threshold or None
        arguments["connect_timeout"] = 3
        if settings.startup_options:
            milliseconds = round(settings.statement_timeout_seconds * 1000)
            options = f"-c TimeZone=UTC -c statement_timeout={milliseconds} {SHORT_STATEMENTS}"
            arguments["options"] = options
    engine = create_engine(
        settings.database_url,
        connect_args=arguments,
        json_deserializer=orjson.loads,
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=0,
        pool_timeout=2,
        # Errors are logged, and parameters are personal data.
        hide_parameters=True,
        # A connection that the server dropped is found when it is used.
        pool_recycle=1800,
    )
    event.listen(engine, "handle_error", _withhold_detail)
    if is_sqlite:
        prepare_sqlite(engine, sqlite_begin, SQLITE_PRAGMAS)
    else:
        event.listen(engine, "do_execute", _plan_anew)
    return engine


def planned_anew(statement: Select[Any]) -> Select[Any]:
    """Return the statement, to be planned each time for what it asks for then.

    PostgreSQL settles on one plan for a statement that comes again, and that is the wrong one for
    a value which far more rows have than others.
    """
    return statement.execution_options(planned_anew=True)


def _plan_anew(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
    """Execute what is to be planned anew, and leave all else to SQLAlchemy."""
    if context is None or not context.execution_options.get("planned_anew"):
        return False
    cursor.execute(statement, parameters, prepare=False)
    return True


def prepare_sqlite(engine: Engine, begin: str, pragmas: Sequence[str]) -> None:
    """Take transactions out of the driver's hands: it begins too late to be safe."""

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql(begin)


@contextmanager
def sent_with_begin(connection: Connection) -> Iterator[None]:
    """Send the begin of the transaction and the statements inside to PostgreSQL in one go.

    Nothing inside may lock or return rows: until a later statement has been waited for, the
    server does not end a transaction that idles.
    """
    driver: Any = connection.connection.driver_connection
    try:
        with driver.pipeline():
            yield
    except psycopg.Error as error:
        raise as_database_error(error, driver) from error


def as_database_error(error: psycopg.Error, driver: Any) -> Exception:
    """Return an error of the driver's connection as SQLAlchemy would have raised it."""
    wrapped: Any = DBAPIError.instance(
        None, None, error, psycopg.Error, connection_invalidated=driver.closed
    )
    _without_detail(error, wrapped)
    return wrapped  # type: ignore[no-any-return]


def _withhold_detail(context: ExceptionContext) -> None:
    if context.sqlalchemy_exception:
        _without_detail(context.original_exception, context.sqlalchemy_exception)


def _without_detail(error: BaseException, wrapped: Exception) -> None:
    """Take out of an error what PostgreSQL quotes of the rows; errors are logged."""
    if isinstance(error, psycopg.Error) and error.diag.message_detail:
        error.args = wrapped.args = (error.diag.message_primary,)
