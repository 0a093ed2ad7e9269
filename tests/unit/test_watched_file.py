"""Files of settings that change while they are in use."""

import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.chassis.watched_file import WatchedFile
from tests.harness.issuers import replace_file


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic time, to be moved on past the second for which a file is not looked at."""
    now = [time.monotonic()]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_a_file_that_wants_another_is_taken_once_the_other_is_there(
    tmp_path: Path, clock: list[float]
) -> None:
    """As when the issuers of a cluster come some seconds before the keys that they name."""

    def read(content: bytes) -> str:
        return (tmp_path / content.decode()).read_text()

    replace_file(tmp_path / "first", "one")
    watched = WatchedFile(replace_file(tmp_path / "names", "first"), read)
    replace_file(tmp_path / "names", "second")
    with capture_logs() as told:
        for _ in range(3):
            clock[0] += 2
            assert not watched.changed()
            assert watched.value == "one"
        replace_file(tmp_path / "second", "two")
        clock[0] += 2
        assert watched.changed()
    assert watched.value == "two"
    assert [line["event"] for line in told] == ["file_unreadable"]
