"""Fixtures of all tests: a PostgreSQL, and suites of real processes on both databases."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

import vafa
from services.chassis.contract import SERVICES
from tests.harness.edge import Edge
from tests.harness.postgres import Postgres
from tests.harness.suite import RunningSuite

DATABASES = ("sqlite", "postgresql")
# How long an example takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL for the whole run; a test that kills one makes its own."""
    server = Postgres()
    server.start()
    yield server
    server.remove()


def database_urls(postgres: Postgres, name: str) -> dict[str, str]:
    """Make new databases for a suite and return their URLs."""
    return {service: postgres.create(f"{name}_{service}") for service in SERVICES}


@pytest.fixture(scope="session")
def shared_suites(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, RunningSuite]]:
    """The suites that tests share, by database; made when first asked for."""
    suites: dict[str, RunningSuite] = {}
    yield suites
    for suite in suites.values():
        suite.stop()


@pytest.fixture(params=DATABASES)
def suite(
    request: pytest.FixtureRequest,
    shared_suites: dict[str, RunningSuite],
    tmp_path_factory: pytest.TempPathFactory,
) -> RunningSuite:
    """A suite that other tests use too, once on each database: leave it running, and make
    what you need under names of your own.
    """
    database: str = request.param
    if database == "sqlite":
        sqlite: RunningSuite = request.getfixturevalue("sqlite_suite")
        return sqlite
    if database not in shared_suites:
        urls = database_urls(request.getfixturevalue("postgres"), "shared")
        started = RunningSuite(tmp_path_factory.mktemp(database), urls)
        shared_suites[database] = started
        started.start()
    return shared_suites[database]


@pytest.fixture(scope="session")
def sqlite_suite(
    shared_suites: dict[str, RunningSuite], tmp_path_factory: pytest.TempPathFactory
) -> RunningSuite:
    """The shared suite on SQLite, for what has nothing to do with databases."""
    shared_suites["sqlite"] = started = RunningSuite(tmp_path_factory.mktemp("sqlite"))
    started.start()
    return started


@pytest.fixture(scope="session")
def shared_edges() -> Iterator[dict[RunningSuite, Edge]]:
    """Envoys in front of the shared suites; made when first asked for."""
    edges: dict[RunningSuite, Edge] = {}
    yield edges
    for edge in edges.values():
        edge.stop()


@pytest.fixture
def edge(
    suite: RunningSuite,
    shared_suites: dict[str, RunningSuite],
    shared_edges: dict[RunningSuite, Edge],
) -> Edge:
    """Envoy in front of the shared suite, shared too: leave it running."""
    if suite not in shared_edges:
        shared_edges[suite] = started = Edge(suite)
        started.start()
    return shared_edges[suite]


@pytest.fixture
def client(suite: RunningSuite) -> Iterator[vafa.Suite]:
    """A blocking client of the shared suite with all permissions."""
    with suite.client() as connected:
        yield connected
