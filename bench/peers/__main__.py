"""`make bench-peers`: the same two calls here and at what else one would pick, in turn.

A contact is got by its id, and points are awarded, one transaction a call, which writes the same
rows. All have tables filled alike on the same PostgreSQL, 32 calls in flight, and as many
processes; ours also check token, role and bounds, log each call and feed their events.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import uuid_utils
from rich.console import Console
from rich.table import Table

from bench import http1
from bench.calls import AWARD_POINTS, GET_CONTACT, PAIRS, SECONDS, WARM_UP_SECONDS
from bench.figures import middle
from bench.filling import Filled, fill
from bench.load import Answers
from bench.machine import described
from bench.peers.serving import COMMANDS, Peer, serving
from bench.peers.venv import PACKAGES, PeersMissing, python
from bench.processes import family_cpu_seconds
from bench.requests import chance
from bench.runs import IN_FLIGHT, Run, run
from bench.sites import CONTACTS, ENTRIES, POSTGRESQL, Site, sites
from services.chassis.migrate import migrate
from tests.harness.postgres import Postgres

OURS = "Vafa"
WORKS = (GET_CONTACT, AWARD_POINTS)
SECOND = ("contacts-2", "loyalty-2")
HEADINGS = ("call", "processes", "server", "/s", "p50 ms", "p99 ms", "CPU ms", "ours ÷ theirs")


@dataclass(frozen=True)
class Figures:
    """Calls a second, latencies, and the CPU of the server by call."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float

    @classmethod
    def of_run(cls, run: Run) -> "Figures":
        """Return those of a run of ours."""
        refuse(run.failures)
        return cls(run.per_second, run.p50_ms, run.p99_ms, run.services_cpu_ms)

    @classmethod
    def of_answers(cls, answers: Answers, cpu_seconds: float) -> "Figures":
        """Return those of a load on a peer."""
        refuse(answers.failures)
        cpu_ms = cpu_seconds / answers.ended * 1000
        p50, p99 = answers.percentile_ms(50), answers.percentile_ms(99)
        return cls(answers.per_second, p50, p99, cpu_ms)


class CallsFailed(Exception):
    """Calls failed, so that nothing was measured."""


def refuse(failures: object) -> None:
    """Raise CallsFailed if there are failures."""
    if failures:
        raise CallsFailed(str(failures))


def messages(peer: Peer, filled: Filled, work: str) -> Iterator[bytes]:
    """Give requests for one of our works as the peers take them."""
    if work == GET_CONTACT.name:
        paths = [f"/{name}" for name in filled.contacts]
        encoded = [http1.request("GET", path, peer.address) for path in paths]
        while True:
            yield chance.choice(encoded)
    ids = [name.rpartition("/")[2] for name in filled.members]
    while True:
        award = {
            "member_id": chance.choice(ids),
            "points": 1,
            "reason": "bench",
            "request_id": str(uuid_utils.uuid4()),
        }
        yield http1.request("POST", "/awards", peer.address, json.dumps(award).encode())


def at_peer(peer: Peer, filled: Filled, work: str, seconds: float) -> Figures:
    """Measure a peer."""
    caller = http1.caller(peer.address, IN_FLIGHT)
    before = family_cpu_seconds(peer.pid)
    answers = caller.in_flight(messages(peer, filled, work), IN_FLIGHT, seconds)
    caller.close()
    return Figures.of_answers(answers, family_cpu_seconds(peer.pid) - before)


@dataclass
class Compared:
    """One call with so many processes each: what each did, round by round."""

    work: str
    processes: int
    rounds: dict[str, list[Figures]] = field(default_factory=dict)

    def add_to(self, table: Table) -> None:
        """Add a row for each server."""
        for server, found in self.rounds.items():
            pairs = zip(self.rounds[OURS], found, strict=True)
            table.add_row(
                self.work,
                str(self.processes),
                server,
                f"{median(one.per_second for one in found):,.0f}",
                f"{median(one.p50_ms for one in found):.1f}",
                f"{median(one.p99_ms for one in found):.1f}",
                f"{median(one.cpu_ms for one in found):.2f}",
                ""
                if server == OURS
                else middle([ours.per_second / one.per_second for ours, one in pairs]),
            )


def compared(site: Site, peers: list[Peer], filled: Filled, processes: int) -> list[Compared]:
    """Measure all works with so many processes at each, in turn; the peers by rows of their own."""
    found = [Compared(work.name, processes) for work in WORKS]
    for one, work in zip(found, WORKS, strict=True):
        replicas = [work.service, f"{work.service}-2"][:processes]
        run(site, work, WARM_UP_SECONDS, replicas)
        for peer in peers:
            at_peer(peer, filled, work.name, WARM_UP_SECONDS)
        for _ in range(PAIRS):
            ours = Figures.of_run(run(site, work, SECONDS, replicas))
            one.rounds.setdefault(OURS, []).append(ours)
            for peer in peers:
                theirs = at_peer(peer, filled, work.name, SECONDS)
                one.rounds.setdefault(peer.name, []).append(theirs)
    return found


def measure(interpreter: Path) -> tuple[list[str], Table]:
    """Run all, and return what it was measured on and the table."""
    table = Table(title=f"{IN_FLIGHT} in flight, {PAIRS} rounds of {SECONDS:.0f} s in turn")
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in ("call", "server") else "right")
    postgres = Postgres(fsync=True)
    postgres.start()
    try:
        urls = {name: postgres.create(f"peers_{name}") for name in ("contacts", "loyalty")}
        for service, url in urls.items():
            migrate(service, url)
        filled = fill(urls, contacts=CONTACTS, entries=ENTRIES)
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            site = stack.enter_context(sites(folder, postgres, POSTGRESQL))[POSTGRESQL]
            for processes in (1, 2):
                with ExitStack() as these:
                    peers = [
                        these.enter_context(
                            serving(interpreter, name, processes, urls, folder / "peers.log")
                        )
                        for name in COMMANDS
                    ]
                    if processes == 2:
                        site.suite.start(*SECOND)
                    for one in compared(site, peers, filled, processes):
                        one.add_to(table)
        return described(postgres), table
    finally:
        postgres.remove()


def main() -> None:
    """Install what is missing, measure, print."""
    try:
        interpreter = python()
    except PeersMissing as error:
        sys.exit(f"skipped: the peers cannot be installed from PyPI: {error}")
    lines, table = measure(interpreter)
    console = Console(width=120)
    for line in (*lines, ", ".join(PACKAGES.read_text().split())):
        console.print(line, highlight=False)
    console.print(table)


if __name__ == "__main__":
    main()
