"""What a figure depends on beside the code: the machine, the versions, the settings."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psycopg

from tests.harness.postgres import Postgres

PACKAGES = ("grpcio", "psycopg", "sqlalchemy", "uvloop")
SETTINGS = (
    *("shared_buffers", "synchronous_commit", "fsync", "full_page_writes", "wal_level"),
    *("max_connections", "autovacuum"),
)


def described(postgres: Postgres) -> list[str]:
    """Return lines that tell what the figures were measured on."""
    with psycopg.connect(postgres.conninfo("postgres")) as connection:
        number = connection.info.server_version // 10_000, connection.info.server_version % 10_000
        settings = [
            f"{name} {row[0]}"
            for name in SETTINGS
            for row in connection.execute("SELECT current_setting(%s)", [name])
        ]
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return [
        f"{platform.machine()}, {_processor()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB,"
        f" Linux {platform.release()}",
        f"Python {platform.python_version()}, {packages}, PostgreSQL {number[0]}.{number[1]}",
        ", ".join(settings),
    ]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "processor unknown"


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
