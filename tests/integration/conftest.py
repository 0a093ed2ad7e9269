"""Fixtures of the integration tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.alone import ContactsAlone, alone_on


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[ContactsAlone]:
    """A contacts service on SQLite that is not started."""
    with alone_on("", tmp_path) as suite:
        yield suite


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContactsAlone]:
    """A contacts service that runs, for tests that leave it as it is."""
    with alone_on("", tmp_path_factory.mktemp("steady")) as suite:
        suite.start("contacts")
        yield suite
