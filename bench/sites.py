"""Suites that run on databases with many rows, on PostgreSQL and on SQLite, filled alike."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from bench import requests
from bench.filling import Filled, fill
from bench.to_sqlite import copy_to_sqlite
from bench.wire import Caller, Target
from services.chassis.contract import SERVICES
from services.chassis.migrate import migrate
from services.contacts.schema import metadata as contacts
from services.loyalty.schema import metadata as loyalty
from tests.harness.postgres import Postgres
from tests.harness.suite import RunningSuite

POSTGRESQL, SQLITE = "PostgreSQL", "SQLite"
CONTACTS, ENTRIES = 100_000, 200_000
# So that nobody who spends a point at a time runs out of them.
POINTS = 1_000_000
BATCH = 500
HOT = 10
FILLED = {"contacts": contacts, "loyalty": loyalty}


@dataclass(frozen=True)
class Site:
    """A suite that runs, and what its databases were filled with."""

    database: str
    suite: RunningSuite
    filled: Filled
    # Of the postmaster; 0 if there is none.
    postgres_pid: int = 0

    @property
    def hot_members(self) -> list[str]:
        """Ten members, far apart."""
        return self.filled.members[:: len(self.filled.members) // HOT][:HOT]


@contextmanager
def sites(folder: Path, postgres: Postgres, *databases: str) -> Iterator[dict[str, Site]]:
    """Give sites on these databases, PostgreSQL and SQLite if none is named."""
    urls = {service: postgres.create(f"bench_{service}") for service in SERVICES}
    for service, url in urls.items():
        migrate(service, url)
    filled = fill(urls, contacts=CONTACTS, entries=ENTRIES)
    with ExitStack() as stack:
        found: dict[str, Site] = {}
        for database in databases or (POSTGRESQL, SQLITE):
            on_postgres = database == POSTGRESQL
            suite = RunningSuite(folder / database.lower(), urls if on_postgres else None)
            if not on_postgres:
                for service, metadata in FILLED.items():
                    copy_to_sqlite(metadata, urls[service], suite.database_urls[service])
            suite.start()
            stack.callback(suite.stop)
            pid = postmaster(postgres) if on_postgres else 0
            found[database] = site = Site(database, suite, filled, pid)
            _give_points(site)
        _settle(postgres, urls["contacts"], urls["loyalty"])
        yield found


def postmaster(postgres: Postgres) -> int:
    """Return the process id of PostgreSQL's first process."""
    return int((postgres.folder / "data" / "postmaster.pid").read_text().split()[0])


def _give_points(site: Site) -> None:
    path = "/vafa.loyalty.v1.LedgerService/BatchAwardPoints"
    caller = Caller([Target(site.suite.addresses["loyalty"], path, site.suite.token())], 1)
    batches = requests.batch_award_points(site.filled.members, BATCH, POINTS, in_order=True)
    answers = caller.all_of(batches, 1)
    caller.close()
    if answers.failures:
        raise RuntimeError(f"members could not be given points: {dict(answers.failures)}")


def _settle(postgres: Postgres, *urls: str) -> None:
    """Leave neither autovacuum nor a checkpoint with work that is not of the runs."""
    for url in urls:
        conninfo = postgres.conninfo(url.rpartition("/")[2])
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")
            connection.execute("CHECKPOINT")
