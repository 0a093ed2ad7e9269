"""The README is true: its commands run, and print what it says."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.ports import free_base_port
from tests.harness.suite import ROOT

README = (ROOT / "README.md").read_text()
# A fenced block, and, if one follows at once, the block of what it prints.
BLOCK = re.compile(r"```(sh|python)\n(.*?)```\n(?:\n```\n(.*?)```\n)?", re.DOTALL)
BLOCKS = [match.groups() for match in BLOCK.finditer(README)]
PYTHON = [(code, printed) for language, code, printed in BLOCKS if language == "python"]
COMMANDS = [
    (line, printed)
    for language, code, printed in BLOCKS
    if language == "sh"
    for line in code.strip().split("\n")
]
EDGE = "127.0.0.1:8080"
READY_SECONDS = 90


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A data directory and ports of its own for all that the README runs."""
    folder = tmp_path_factory.mktemp("readme")
    # The columns of a terminal, so that what is printed has the width of the page.
    base_port = free_base_port()
    own = {
        "VAFA_DATA_DIRECTORY": str(folder / "data"),
        "VAFA_BASE_PORT": str(base_port),
        "VAFA_EDGE_PORT": str(base_port + 4),
    }
    return {**os.environ, **own, "COLUMNS": "110", "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="module")
def printed_by_run(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """What `make run` has printed by the time it serves; it serves until the tests are over."""
    log = tmp_path_factory.mktemp("run") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["make", "run"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    ends_at = time.monotonic() + READY_SECONDS
    while "Last orders" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < ends_at, log.read_text()
        time.sleep(0.1)
    yield log
    os.killpg(process.pid, signal.SIGINT)
    process.wait(timeout=30)


def shown(text: str) -> list[str]:
    """Return the lines of a text without the spaces at their ends."""
    return [line.strip() for line in text.strip().split("\n")]


def test_make_run_prints_what_the_readme_shows(printed_by_run: Path) -> None:
    expected = next(printed for _, code, printed in BLOCKS if code.strip() == "make run")
    lines = shown(printed_by_run.read_text())
    for line in shown(expected):
        assert line == "…" or line in lines, line


# Before the programs, which add to what the commands show.
@pytest.mark.parametrize(
    ("command", "printed"), [one for one in COMMANDS if one[0] not in ("make run", "make test")]
)
def test_command_of_the_readme_prints_what_it_shows(
    command: str, printed: str | None, printed_by_run: Path, environment: dict[str, str]
) -> None:
    own_edge = command.replace(EDGE, f"127.0.0.1:{environment['VAFA_EDGE_PORT']}")
    done = run(["bash", "-c", own_edge], environment)
    assert done.strip()
    if printed is not None:
        assert shown(done) == shown(printed)


@pytest.mark.parametrize(("code", "printed"), PYTHON)
def test_python_of_the_readme_prints_what_it_shows(
    code: str, printed: str, printed_by_run: Path, environment: dict[str, str]
) -> None:
    done = run([str(ROOT / ".venv" / "bin" / "python"), "-c", code], environment)
    assert shown(done) == shown(printed)


@pytest.mark.parametrize("path", [f"http://{EDGE}/docs", "/openapi.json"])
def test_a_document_that_the_readme_names_is_served(
    path: str, printed_by_run: Path, environment: dict[str, str]
) -> None:
    assert path in README
    url = f"http://127.0.0.1:{environment['VAFA_EDGE_PORT']}{path.removeprefix(f'http://{EDGE}')}"
    assert run(["curl", "-sS", "--fail", url], environment)


def run(command: list[str], environment: dict[str, str]) -> str:
    """Run a command at the root of the repository and return what it prints; it must succeed."""
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 150
