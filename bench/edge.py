"""What the edge costs: calls through it against calls made directly, and how it wears.

`python -m bench.edge --soak-seconds 300` prints both; `make bench` prints the first.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.load import IN_FLIGHT, Call, Measured, at_rate, measure, middle, resident_bytes
from tests.harness.edge import Edge
from tests.harness.postgres import Postgres
from tests.harness.suite import SERVICES, RunningSuite
from vafa import aio
from vafa.contacts.v1 import contacts_pb2

PAIRS = 7
SECONDS = 4.0
CONTACTS = 10_000
BATCH = 500
# No caller is to be held back by the rate that protects the services.
VALUES = {"callers": {"requests_per_second": 1_000_000}}
WARM_UP_SECONDS = 20.0
SAMPLE_SECONDS = 1.0


async def prepare(suite: aio.Suite) -> list[str]:
    """Make the contacts that are asked for; return their names."""
    names: list[str] = []
    for first in range(0, CONTACTS, BATCH):
        requests = [
            contacts_pb2.CreateContactRequest(
                contact=contacts_pb2.Contact(display_name=f"Contact {n}")
            )
            for n in range(first, first + BATCH)
        ]
        created = await suite.contacts.BatchCreateContacts(
            contacts_pb2.BatchCreateContactsRequest(requests=requests)
        )
        names += [contact.name for contact in created.contacts]
    return names


def get_contact(suite: aio.Suite, names: list[str]) -> Call:
    """Return a call that gets one contact after another, in an order that no cache follows."""

    def call(number: int) -> Awaitable[Any]:
        name = names[number * 7919 % len(names)]
        return suite.contacts.GetContact(contacts_pb2.GetContactRequest(name=name))

    return call


async def compare(running: RunningSuite, edge: Edge) -> list[tuple[Measured, Measured]]:
    """Measure GetContact through the edge and directly, in turn; return the pairs."""
    pairs: list[tuple[Measured, Measured]] = []
    token = running.token()
    async with (
        aio.connect(running.addresses["contacts"], token=token) as direct,
        aio.connect(edge.address, token=token) as through,
    ):
        names = await prepare(direct)
        calls = get_contact(through, names), get_contact(direct, names)
        pid = running.pid("contacts")
        for call in calls:
            await measure(pid, call, 1.0)
        for _ in range(PAIRS):
            one, other = [await measure(pid, call, SECONDS) for call in calls]
            pairs.append((one, other))
    return pairs


def report(by_database: dict[str, list[tuple[Measured, Measured]]]) -> Table:
    """Return the table of the pairs: medians, and the median and range of their ratios."""
    table = Table(title=f"GetContact, {IN_FLIGHT} in flight, {PAIRS} pairs of {SECONDS:.0f} s")
    table.add_column("database")
    for heading in ("edge /s", "p50 ms", "p99 ms", "direct /s", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="right")
    table.add_column("edge ÷ direct", justify="right")
    for database, pairs in by_database.items():
        cells = [database]
        for side in zip(*pairs, strict=True):
            cells += [
                f"{median(one.calls_per_second for one in side):,.0f}",
                f"{median(one.p50_ms for one in side):.1f}",
                f"{median(one.p99_ms for one in side):.1f}",
            ]
        ratios = [one.calls_per_second / other.calls_per_second for one, other in pairs]
        table.add_row(*cells, middle(ratios))
    return table


async def soak(running: RunningSuite, edge: Edge, peak: float, seconds: float) -> Table:
    """Call at half of the peak for some seconds, and watch the memory of the edge."""
    sizes: list[tuple[float, int]] = []

    async def watch() -> None:
        while True:
            sizes.append((time.monotonic(), resident_bytes(edge.pid())))
            await asyncio.sleep(SAMPLE_SECONDS)

    # A token lives five minutes at most, so that each call asks for the present one.
    async with edge.aio_client() as through, running.aio_client() as direct:
        found = await direct.contacts.ListContacts(contacts_pb2.ListContactsRequest(page_size=1000))
        call = get_contact(through, [contact.name for contact in found.contacts])
        await at_rate(call, peak / 2, WARM_UP_SECONDS)
        watching = asyncio.create_task(watch())
        latencies = await at_rate(call, peak / 2, seconds)
        watching.cancel()
    return _soak_table(peak / 2, latencies, sizes)


def _soak_table(rate: float, latencies: list[float], sizes: list[tuple[float, int]]) -> Table:
    third = len(sizes) // 3
    first, last = (median(size for _, size in part) for part in (sizes[:third], sizes[-third:]))
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
        f"{sizes[-1][0] - sizes[0][0]:.0f}",
        f"{first / 2**20:.1f}",
        f"{last / 2**20:.1f}",
        f"{last / first:.3f}",
    )
    return table


def run(folder: Path, postgres: Postgres, soak_seconds: float) -> list[Table]:
    """Measure on both databases, and soak on PostgreSQL; a failed call ends it all."""
    urls = {service: postgres.create(f"edge_{service}") for service in SERVICES}
    measured: dict[str, list[tuple[Measured, Measured]]] = {}
    tables: list[Table] = []
    for database, chosen in (("SQLite", None), ("PostgreSQL", urls)):
        with ExitStack() as stack:
            running = RunningSuite(folder / f"edge-{database.lower()}", chosen)
            running.start()
            stack.callback(running.stop)
            edge = stack.enter_context(Edge(running, VALUES))
            measured[database] = asyncio.run(compare(running, edge))
            if soak_seconds and chosen is not None:
                peak = median(through.calls_per_second for through, _ in measured[database])
                tables.append(asyncio.run(soak(running, edge, peak, soak_seconds)))
    return [report(measured), *tables]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--soak-seconds", type=float, default=0.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        postgres = Postgres(fsync=True)
        postgres.start()
        stack.callback(postgres.remove)
        tables = run(Path(folder), postgres, arguments.soak_seconds)
    console = Console(width=120)
    for table in tables:
        console.print(table)


if __name__ == "__main__":
    main()
