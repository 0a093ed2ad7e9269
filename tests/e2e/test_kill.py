"""The sample is loaded while everything is killed, again and again: the figures are the same."""

import functools
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import vafa
from services.chassis.contract import SERVICES
from tests.harness.ports import free_base_port
from tests.harness.postgres import Postgres
from tests.harness.suite import ROOT
from vafa.events.v1 import events_pb2
from vafa.loyalty.v1 import members_pb2, programs_pb2

SAMPLE = ROOT / "data" / "cdnow_sample.csv"
KILLS = 24
SEED = int(os.environ.get("VAFA_SEED", "7"))
PATIENCE_SECONDS = 240


class Machine:
    """`vafa up` and `vafa load` on one data directory, each started again when it is gone."""

    def __init__(self, folder: Path, postgres: Postgres | None) -> None:
        self.folder = folder
        self.postgres = postgres
        self.kills: Counter[str] = Counter()
        self._base_port = free_base_port()
        self._up: subprocess.Popen[bytes] | None = None
        self._load: subprocess.Popen[bytes] | None = None

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "services", *arguments],
                cwd=ROOT,
                env={**os.environ, "VAFA_DATA_DIRECTORY": str(self.folder / "data")},
                stdout=log,
                stderr=log,
            )

    def keep_up(self) -> None:
        """Start `vafa up` if it is not running."""
        if self._up is None or self._up.poll() is not None:
            arguments = ["up", "--base-port", str(self._base_port)]
            arguments += ["--edge-port", str(self._base_port + 4)]
            if self.postgres is not None:
                arguments += ["--database-url", self.postgres.url("kill")]
            self._up = self._start("up", *arguments)

    def keep_loading(self) -> bool:
        """Start `vafa load` if it is not running; return whether it has finished."""
        if self._load is not None and self._load.poll() == 0:
            return True
        if self._load is None or self._load.poll() is not None:
            options = ("--batch-size", "10", "--concurrency", "1")
            self._load = self._start("load", "load", str(SAMPLE), *options)
        return False

    def victims(self) -> list[tuple[str, Callable[[], None]]]:
        """Return what can be killed, by name."""
        found: list[tuple[str, Callable[[], None]]] = [
            ("supervisor", self._kill_supervisor),
            ("load", self._kill_load),
        ]
        found += [(service, functools.partial(self._kill_service, service)) for service in SERVICES]
        if self.postgres is not None:
            found.append(("postgres", self._kill_postgres))
        return found

    def _kill_supervisor(self) -> None:
        assert self._up is not None
        self._up.kill()
        self._up.wait()

    def _kill_load(self) -> None:
        assert self._load is not None
        self._load.kill()
        self._load.wait()

    def _kill_service(self, service: str) -> None:
        assert self._up is not None
        for pid in children(self._up.pid, f"services.{service}"):
            os.kill(pid, signal.SIGKILL)

    def _kill_postgres(self) -> None:
        assert self.postgres is not None
        self.postgres.kill()
        time.sleep(0.2)
        self.postgres.start()

    def stop(self) -> None:
        """End what still runs."""
        for process in (self._load, self._up):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(timeout=30)


def children(parent: int, marker: str) -> list[int]:
    """Return the children of a process in whose command line the marker stands."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().decode()
        except OSError:
            continue
        if int(fields[1]) == parent and marker in command:
            found.append(int(folder.name))
    return found


@contextmanager
def machine(folder: Path, database: str) -> Iterator[Machine]:
    """A machine on a database of its own."""
    postgres = None
    if database == "postgresql":
        postgres = Postgres()
        postgres.start()
    running = Machine(folder, postgres)
    try:
        yield running
    finally:
        running.stop()
        if postgres is not None:
            postgres.remove()


def kill_while_loading(running: Machine) -> None:
    """Kill one after another in turn, a moment after the last, until the load has finished."""
    chance = random.Random(SEED)  # noqa: S311 - a repeatable choice, not a secret
    turns = itertools.cycle(running.victims())
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        running.keep_up()
        if running.keep_loading():
            return
        assert time.monotonic() < ends_at, f"not loaded after {dict(running.kills)}"
        time.sleep(chance.uniform(0.3, 0.9))
        if running.kills.total() < KILLS:
            name, kill = next(turns)
            kill()
            running.kills[name] += 1


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_load_that_everything_is_killed_under_comes_to_the_same_figures(
    database: str, tmp_path: Path
) -> None:
    with machine(tmp_path, database) as running:
        kill_while_loading(running)
        assert running.kills.total() >= 20, dict(running.kills)
        with vafa.connect_local(tmp_path / "data") as suite:
            summary = suite.programs.GetProgramSummary(
                programs_pb2.GetProgramSummaryRequest(name="programs/club/summary")
            )
            assert summary.members_count == 2357
            assert summary.customers_count == 2357
            assert summary.repeat_customers_count == 1152
            assert summary.orders_count == 6919
            assert (summary.revenue.units, summary.revenue.nanos) == (244_091, 940_000_000)
            assert summary.points_issued == summary.points_outstanding == 239_444
            contacts, loyalty = events_of(suite, "contacts"), events_of(suite, "loyalty")
            assert contacts["contact.created"] == 2357
            assert loyalty["order.created"] == 6919
            assert_all_become_active(suite)
        verify = subprocess.run(
            [sys.executable, "-m", "services", "verify"],
            cwd=ROOT,
            env={**os.environ, "VAFA_DATA_DIRECTORY": str(tmp_path / "data")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert verify.returncode == 0, verify.stdout + verify.stderr


def events_of(suite: vafa.Suite, service: str) -> Counter[str]:
    """Return how many events of each type a feed holds, each subject once where it is made."""
    counts: Counter[str] = Counter()
    made: set[str] = set()
    request = events_pb2.ListEventsRequest(parent=f"feeds/{service}", page_size=1000)
    position = 0
    while True:
        page = suite.events(service).ListEvents(request)
        for event in page.events:
            position += 1
            assert event.position == position
            counts[event.type] += 1
            if event.type.endswith(".created"):
                assert event.subject not in made, f"{event.subject} was made twice"
                made.add(event.subject)
        if not page.events:
            return counts
        request.after.CopyFrom(page.next)


def assert_all_become_active(suite: vafa.Suite) -> None:
    """Every member was enrolled for a contact that loyalty hears of, sooner or later."""
    request = members_pb2.ListMembersRequest(
        parent="programs/club", filter="state = PROVISIONAL", page_size=1
    )
    ends_at = time.monotonic() + 30
    while suite.members.ListMembers(request).members:
        assert time.monotonic() < ends_at, "members are provisional still"
        time.sleep(0.1)
