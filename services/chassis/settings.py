"""Settings: from the environment, each with a default that works on a laptop."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
    BeforeValidator(lambda name: name.upper() if isinstance(name, str) else name),
]
# A path, or nothing: an empty variable would otherwise stand for the present folder.
OptionalPath = Annotated[Path | None, BeforeValidator(lambda path: path or None)]
# What sysexits.h calls EX_CONFIG.
EXIT_CONFIGURATION = 78
DATABASE_DRIVERS = frozenset({"sqlite", "postgresql+psycopg"})
# The suite's own issuer of tokens, and for whom they are, unless a deployment names its own.
TOKEN_ISSUER = "vafa-local"  # noqa: S105
TOKEN_AUDIENCE = "vafa"  # noqa: S105


class ProcessSettings(BaseSettings):
    """The settings of one process, by variables with a prefix of its own."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    @classmethod
    def from_environment(cls) -> Self:
        """Return the settings of this process; exits with 78 and names those that cannot work."""
        try:
            return cls()
        except ValidationError as error:
            # Without their values, which may be secret.
            wrong = ", ".join(
                ": ".join([*map(str, one["loc"]), one["msg"]]) for one in error.errors()
            )
            prefix = cls.model_config.get("env_prefix", "")
            print(f"settings {prefix}* cannot work: {wrong}", file=sys.stderr)  # noqa: T201
            sys.exit(EXIT_CONFIGURATION)


class ServiceSettings(ProcessSettings):
    """The settings that every service has. A service's environment prefix is
    `VAFA_{SERVICE}_`, such as `VAFA_CONTACTS_DATABASE_URL`.
    """

    # sqlite:///file or postgresql+psycopg://user@host/name
    database_url: str
    # A file that holds database_url, and goes before it: a secret need stand in no environment.
    database_url_file: OptionalPath = None
    listen: str
    metrics_listen: str
    # The suite's own issuer of tokens, for whom they are, and the keys to check them by. An empty
    # issuer stands for none: then only those of issuers_file are trusted.
    token_issuer: str = TOKEN_ISSUER
    token_audience: str = TOKEN_AUDIENCE
    jwks_file: Path = Path(".vafa/keys/jwks.json")
    # Further issuers; services/chassis/issuers.py says what the file holds.
    issuers_file: OptionalPath = None
    roles_file: Path = Path(__file__).parent.parent / "roles.json"
    # The service's own token, for calls of its own accord. It is read anew when it changes.
    token_file: OptionalPath = None
    reflection: bool = True
    log_level: LogLevel = "INFO"
    # Where to send traces; none by default.
    otlp_endpoint: str = ""

    reader_connections: PositiveInt = 8
    # SQLite has one writer whatever stands here.
    writer_connections: PositiveInt = 4
    # Of calls that wait for a thread of the database, more are refused; of methods of several,
    # such as BatchCreateContacts, so many.
    waiting_calls: PositiveInt = 1000
    waiting_batches: PositiveInt = 100
    concurrent_calls: PositiveInt = 2000
    lock_timeout_seconds: PositiveFloat = 0.5
    statement_timeout_seconds: PositiveFloat = 15
    # 0 turns server-side prepared statements off, for a pooler that cannot keep them.
    prepare_threshold: NonNegativeInt = 5
    # Whether connections ask PostgreSQL for UTC, a statement timeout and plans that suit short
    # statements (see engines.py) as they begin. Off for a pooler that refuses such options; then
    # give them to the role in the database.
    startup_options: bool = True
    # How soon the events of a replica that died before it numbered them are numbered.
    sequence_interval_seconds: PositiveFloat = 0.5
    event_retention_days: PositiveFloat = 30
    idempotency_retention_days: PositiveFloat = 7
    max_message_bytes: PositiveInt = 4 * 1024 * 1024

    drain_delay_seconds: NonNegativeFloat = 10
    stop_grace_seconds: NonNegativeFloat = 25

    @model_validator(mode="before")
    @classmethod
    def _read_database_url(cls, values: dict[str, Any]) -> dict[str, Any]:
        if not values.get("database_url_file"):
            return values
        return values | {"database_url": database_url_in(Path(values["database_url_file"]))}

    @field_validator("database_url")
    @classmethod
    def _is_a_database_url(cls, url: str) -> str:
        parsed_url(url)
        return url


def database_url_in(path: Path) -> str:
    """Return the database URL that a file holds; raises ValueError if it holds none."""
    try:
        url = path.read_text().strip()
    except (OSError, UnicodeError) as error:
        # Without the content, which is secret.
        raise ValueError(f"{path} cannot be read: {type(error).__name__}") from None
    if not url:
        raise ValueError(f"{path} is empty")
    return url


def parsed_url(database_url: str) -> URL:
    """Return the parts of a database URL that the services can use; raises ValueError, whose
    text does not repeat the URL: it may hold a password.
    """
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError):
        raise ValueError("a database URL cannot be read") from None
    if url.drivername not in DATABASE_DRIVERS:
        raise ValueError(
            "a database URL begins with sqlite:/// or postgresql+psycopg://,"
            f" not with {url.drivername}://"
        )
    return url
