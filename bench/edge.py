"""What the edge costs: calls through it against calls made directly, and how it wears.

`make bench` prints the first, `python -m bench.edge --soak-seconds 300` both.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

from rich.console import Console
from rich.table import Table

from bench.calls import GET_CONTACT
from bench.figures import middle
from bench.load import Answers
from bench.processes import resident_mib
from bench.runs import IN_FLIGHT
from bench.sites import POSTGRESQL, Site, sites
from bench.wire import Caller, Target
from tests.harness.edge import Edge
from tests.harness.postgres import Postgres

PAIRS = 5
SECONDS = 3.0
# No caller is to be held back by the rate that protects the services.
VALUES = {"callers": {"requests_per_second": 1_000_000}}
WARM_UP_SECONDS = 20.0
# A token lives five minutes, and a connection has the same one all its life.
LEG_SECONDS = 60.0
SAMPLE_SECONDS = 1.0
Pairs = list[tuple[Answers, Answers]]


class CallsFailed(Exception):
    """Calls failed, so that nothing was measured; the text has how many, by their statuses."""


def _called(
    address: str, site: Site, load: Callable[[Caller, Iterator[bytes]], Answers]
) -> Answers:
    caller = Caller([Target(address, GET_CONTACT.path, site.suite.token())])
    answers = load(caller, GET_CONTACT.messages(site))
    caller.close()
    if answers.failures:
        raise CallsFailed(str(dict(answers.failures)))
    return answers


def compare(site: Site, edge: Edge) -> Pairs:
    """Measure GetContact through the edge and directly, in turn; return the pairs."""

    def called(address: str, seconds: float) -> Answers:
        return _called(address, site, lambda c, m: c.in_flight(m, IN_FLIGHT, seconds))

    addresses = edge.address, site.suite.addresses["contacts"]
    for address in addresses:
        called(address, 1.0)
    pairs: Pairs = []
    for _ in range(PAIRS):
        one, other = [called(address, SECONDS) for address in addresses]
        pairs.append((one, other))
    return pairs


def report(found: Mapping[str, Site]) -> Table:
    """Measure on all databases, and return the table."""
    table = Table(title=f"GetContact, {IN_FLIGHT} in flight, {PAIRS} pairs of {SECONDS:.0f} s")
    table.add_column("database")
    for heading in ("edge /s", "p50 ms", "p99 ms", "direct /s", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="right")
    table.add_column("edge ÷ direct", justify="right")
    for database, site in found.items():
        with Edge(site.suite, VALUES) as edge:
            pairs = compare(site, edge)
        cells = [database]
        for side in zip(*pairs, strict=True):
            cells += [
                f"{median(one.per_second for one in side):,.0f}",
                f"{median(one.percentile_ms(50) for one in side):.1f}",
                f"{median(one.percentile_ms(99) for one in side):.1f}",
            ]
        table.add_row(*cells, middle([one.per_second / other.per_second for one, other in pairs]))
    return table


def soak(site: Site, edge: Edge, per_second: float, seconds: float) -> Table:
    """Call at a rate for some seconds, and watch the memory of the edge."""
    latencies: list[float] = []

    def leg(seconds: float) -> list[float]:
        return _called(edge.address, site, lambda c, m: c.at_rate(m, per_second, seconds)).latencies

    leg(WARM_UP_SECONDS)
    with _watched(edge.pid()) as sizes:
        began = time.monotonic()
        while (left := seconds - (time.monotonic() - began)) > 1:
            latencies += leg(min(left, LEG_SECONDS))
        took = time.monotonic() - began
    return _soak_table(per_second, latencies, took, sizes)


@contextmanager
def _watched(pid: int) -> Iterator[list[float]]:
    """Give a list to which the memory of a process is added each second."""
    sizes: list[float] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_SECONDS):
            sizes.append(resident_mib(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield sizes
    finally:
        over.set()
        watcher.join()


def _soak_table(rate: float, latencies: list[float], seconds: float, sizes: list[float]) -> Table:
    third = len(sizes) // 3
    first, last = median(sizes[:third]), median(sizes[-third:])
    cuts = quantiles(latencies, n=100)
    table = Table(title="the edge at half of its peak")
    for heading in ("calls", "/s", "p50 ms", "p99 ms", "seconds"):
        table.add_column(heading, justify="right")
    for heading in ("memory, first third MiB", "last third MiB", "last ÷ first"):
        table.add_column(heading, justify="right")
    table.add_row(
        f"{len(latencies):,}",
        f"{rate:,.0f}",
        f"{cuts[49] * 1000:.1f}",
        f"{cuts[98] * 1000:.1f}",
        f"{seconds:.0f}",
        f"{first:.1f}",
        f"{last:.1f}",
        f"{last / first:.3f}",
    )
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--soak-seconds", type=float, default=0.0)
    arguments = parser.parse_args()
    postgres = Postgres(fsync=True)
    postgres.start()
    try:
        with tempfile.TemporaryDirectory() as folder, sites(Path(folder), postgres) as found:
            tables = [report(found)]
            if arguments.soak_seconds:
                with Edge(found[POSTGRESQL].suite, VALUES) as edge:
                    pairs = compare(found[POSTGRESQL], edge)
                    peak = median(through.per_second for through, _ in pairs)
                    tables.append(soak(found[POSTGRESQL], edge, peak / 2, arguments.soak_seconds))
    finally:
        postgres.remove()
    console = Console(width=120)
    for table in tables:
        console.print(table)


if __name__ == "__main__":
    main()
