"""Settings: from the environment, each with a default that works on a laptop."""

import sys
from pathlib import Path
from typing import Self

from pydantic import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

# What sysexits.h calls EX_CONFIG.
EXIT_CONFIGURATION = 78


class ServiceSettings(BaseSettings):
    """The settings that every service has. A service's environment prefix is
    `VAFA_{SERVICE}_`, such as `VAFA_CONTACTS_DATABASE_URL`.
    """

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    # sqlite:///file or postgresql+psycopg://user@host/name
    database_url: str
    listen: str
    metrics_listen: str
    # Who issues the tokens, for whom, and the keys to check them by.
    token_issuer: str = "vafa-local"  # noqa: S105
    token_audience: str = "vafa"  # noqa: S105
    jwks_file: Path = Path(".vafa/keys/jwks.json")
    roles_file: Path = Path(__file__).parent.parent / "roles.json"
    # The service's own token, for calls of its own accord. It is read anew when it changes.
    token_file: Path | None = None
    reflection: bool = True
    log_level: str = "INFO"
    # Where to send traces; none by default.
    otlp_endpoint: str = ""

    reader_connections: PositiveInt = 8
    # SQLite has one writer whatever stands here.
    writer_connections: PositiveInt = 4
    waiting_calls: PositiveInt = 1000
    concurrent_calls: PositiveInt = 2000
    lock_timeout_seconds: PositiveFloat = 0.5
    statement_timeout_seconds: PositiveFloat = 15
    # 0 turns server-side prepared statements off, for a pooler that cannot keep them.
    prepare_threshold: NonNegativeInt = 5
    # Whether connections ask PostgreSQL for UTC and a statement timeout as they begin. Off for
    # a pooler that refuses such options; then give both to the role in the database.
    startup_options: bool = True
    # How soon the events of a replica that died before it numbered them are numbered.
    sequence_interval_seconds: PositiveFloat = 0.5
    event_retention_days: PositiveFloat = 30
    idempotency_retention_days: PositiveFloat = 7
    max_message_bytes: PositiveInt = 4 * 1024 * 1024

    drain_delay_seconds: NonNegativeFloat = 10
    stop_grace_seconds: NonNegativeFloat = 25

    @classmethod
    def from_environment(cls) -> Self:
        """Return the settings of this process; exits with 78 and names those that cannot work."""
        try:
            return cls()
        except ValidationError as error:
            # Without their values, which may be secret.
            wrong = ", ".join(f"{one['loc'][0]}: {one['msg']}" for one in error.errors())
            prefix = cls.model_config.get("env_prefix", "")
            print(f"settings {prefix}* cannot work: {wrong}", file=sys.stderr)  # noqa: T201
            sys.exit(EXIT_CONFIGURATION)
