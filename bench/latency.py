"""How long it takes until another service has what happened: `make bench-latency`.

Two ways, each on PostgreSQL as it is by default, between services in processes of their own:

- from an order that is recorded to its points in the database of a service that follows loyalty;
- from a contact that is created, over loyalty, which activates a membership, to that in the
  database of the same follower: two feeds, one after the other.

What is measured begins when the call is answered, and ends when the effect is committed.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import psycopg
from google.type import money_pb2
from rich.console import Console
from rich.table import Table

from bench import follower, load
from bench.filling import PROGRAM, fill
from bench.http2 import Connection
from bench.processes import family_cpu_seconds
from bench.sites import postmaster
from bench.wire import Target
from services.command import keys
from tests.harness.postgres import Postgres
from tests.harness.suite import ROOT, RunningSuite
from tests.harness.waiting import until
from vafa.contacts.v1 import contacts_pb2
from vafa.loyalty.v1 import orders_pb2

CONTACTS, ENTRIES = 10_000, 200_000
CONNECTIONS = 4
RECORD_ORDER = "/vafa.loyalty.v1.OrderService/RecordOrder"
CREATE_CONTACT = "/vafa.contacts.v1.ContactService/CreateContact"
# Before the first round: plans are made, connections opened.
WARM_UP_SECONDS = 3.0
HEADINGS = ("asked /s", "reached /s", "failed", "p50 ms", "p95 ms", "p99 ms", "worst ms")


@dataclass(frozen=True)
class Round:
    """One round: calls a second that succeeded, how many did not, seconds from answer to effect,
    CPU ms a call by process.
    """

    per_second: float
    failures: int
    latencies: list[float]
    cpu_ms: Mapping[str, float]


class Listening:
    """The follower's process, and when it had what, by keys."""

    def __init__(self, database_url: str, address: str, token_file: Path) -> None:
        command = [sys.executable, "-m", "bench.follower", database_url, address, str(token_file)]
        self.process = subprocess.Popen(  # noqa: S603
            command, cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        self.heard_at: dict[str, float] = {}
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            key, _, moment = line.partition(" ")
            self.heard_at[key] = float(moment)

    def stop(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.wait()
        self._reader.join()


class Noting(Connection):
    """A connection that notes when calls are answered, by what their effects will be known by."""

    def __init__(self, target: Target, keys: Mapping[bytes, str], at: dict[str, float]) -> None:
        super().__init__(target.address, target.headers())
        self._keys, self._at = keys, at
        self._due: dict[float, str] = {}

    def call(self, message: bytes, due: float) -> None:
        """Begin a call."""
        self._due[due] = self._keys[message]
        super().call(message, due)

    def receive(self) -> list[load.Ended]:
        """Take what has come, and return what ended."""
        ended, now = super().receive(), time.perf_counter()
        self._at.update((self._due[due], now) for due, status in ended if status == 0)
        return ended


@dataclass(frozen=True)
class Bench:
    """All that runs, and the contacts that buy."""

    postgres: Postgres
    suite: RunningSuite
    listening: Listening
    token_file: Path
    contacts: Sequence[str]

    def cpu_seconds(self) -> dict[str, float]:
        """Return the CPU time that each part has used."""
        pids = {name: self.suite.pid(name) for name in ("contacts", "loyalty")}
        pids |= {"follower": self.listening.process.pid, "PostgreSQL": postmaster(self.postgres)}
        return {name: family_cpu_seconds(pid) for name, pid in pids.items()}

    def measure(self, path: str, requests: Mapping[bytes, str], per_second: float) -> Round:
        """Make the calls, given with the keys of their effects, and wait until the follower has
        heard of each that succeeded.
        """
        # Tokens live minutes.
        keys.write_token(self.token_file, self.suite.token("service", subject="follower"))
        service = "contacts" if "contacts" in path else "loyalty"
        target = Target(self.suite.addresses[service], path, self.suite.token())
        answered_at: dict[str, float] = {}
        caller = load.Caller([lambda: Noting(target, requests, answered_at)] * CONNECTIONS)
        before = self.cpu_seconds()
        answers = caller.at_rate(iter(requests), per_second, len(requests) / per_second)
        caller.close()
        heard_at = self.listening.heard_at
        until(lambda: answered_at.keys() <= heard_at.keys(), "the follower hears of all")
        used = {name: now - before[name] for name, now in self.cpu_seconds().items()}
        return Round(
            answers.per_second,
            answers.failures.total(),
            [heard_at[key] - at for key, at in answered_at.items()],
            {name: seconds / len(requests) * 1000 for name, seconds in used.items()},
        )

    def orders(self, per_second: float, seconds: float) -> Round:
        """Measure orders of members."""
        requests = {}
        for n in range(int(per_second * seconds)):
            request_id = str(uuid.uuid4())
            contact = self.contacts[n * 7919 % len(self.contacts)]
            request = orders_pb2.RecordOrderRequest(
                parent=PROGRAM, order=an_order(contact), request_id=request_id
            )
            requests[request.SerializeToString()] = request_id
        return self.measure(RECORD_ORDER, requests, per_second)

    def new_contacts(self, per_second: float, seconds: float) -> Round:
        """Measure contacts that have bought before they are known."""
        requests, orders = {}, []
        for _ in range(int(per_second * seconds)):
            contact_id = str(uuid.uuid4())
            request = contacts_pb2.CreateContactRequest(
                contact=contacts_pb2.Contact(display_name="Ada"),
                contact_id=contact_id,
                request_id=str(uuid.uuid4()),
            )
            requests[request.SerializeToString()] = f"{PROGRAM}/members/{contact_id}"
            orders.append(an_order(f"contacts/{contact_id}"))
        with self.suite.client() as client:
            for n in range(0, len(orders), 500):
                client.orders.BatchRecordOrders(
                    orders_pb2.BatchRecordOrdersRequest(parent=PROGRAM, orders=orders[n : n + 500])
                )
        return self.measure(CREATE_CONTACT, requests, per_second)


def an_order(contact: str) -> orders_pb2.Order:
    """Return an order that earns points."""
    ten = money_pb2.Money(currency_code="USD", units=10)
    line = orders_pb2.OrderLine(sku="item", quantity=1, amount=ten)
    return orders_pb2.Order(external_id=str(uuid.uuid4()), contact=contact, lines=[line])


@contextmanager
def running(folder: Path) -> Iterator[Bench]:
    """Fill the databases, start the services and the follower."""
    with ExitStack() as stack:
        postgres = Postgres(fsync=True)
        stack.callback(postgres.remove)
        postgres.start()
        urls = {name: postgres.create(f"latency_{name}") for name in ("contacts", "loyalty")}
        suite = RunningSuite(folder, urls)
        filled = fill(urls, contacts=CONTACTS, entries=ENTRIES)
        suite.start("contacts", "loyalty")
        stack.callback(suite.stop)
        with psycopg.connect(postgres.conninfo("latency_loyalty")) as connection:
            store = connection.execute("SELECT epoch, head_position FROM store").fetchall()[0]
        url = postgres.create("latency_follower")
        follower.make_tables(url, "feeds/loyalty", *store)
        token_file = folder / "follower.jwt"
        keys.write_token(token_file, suite.token("service", subject="follower"))
        listening = Listening(url, suite.addresses["loyalty"], token_file)
        stack.callback(listening.stop)
        yield Bench(postgres, suite, listening, token_file, filled.contacts)


def report(title: str, per_second: float, rounds: Sequence[Round]) -> Table:
    """Return the table of some rounds: a line for each, and one of their medians."""
    table = Table(title=title)
    table.add_column("round")
    names = [name for name in rounds[0].cpu_ms if rounds[0].cpu_ms[name] >= 0.005]
    for heading in (*HEADINGS, *(f"{name} CPU ms" for name in names)):
        table.add_column(heading, justify="right")
    lines: list[list[float]] = []
    for one in rounds:
        cuts = quantiles(one.latencies, n=100)
        times = [cuts[49], cuts[94], cuts[98], max(one.latencies)]
        milliseconds = [seconds * 1000 for seconds in times]
        lines.append(
            [
                per_second,
                one.per_second,
                one.failures,
                *milliseconds,
                *(one.cpu_ms[n] for n in names),
            ]
        )
    places = [0, 0, 0, 1, 1, 1, 1, *(2 for _ in names)]

    def cells(line: Sequence[float]) -> list[str]:
        return [f"{value:,.{n}f}" for value, n in zip(line, places, strict=True)]

    for number, line in enumerate(lines, 1):
        table.add_row(str(number), *cells(line))
    table.add_row("median", *cells([median(column) for column in zip(*lines, strict=True)]))
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="latency from one service to another")
    parser.add_argument("--orders-per-second", type=float, default=500.0)
    parser.add_argument("--contacts-per-second", type=float, default=50.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as bench:
        rate = asked.orders_per_second
        bench.orders(rate / 5, WARM_UP_SECONDS)
        bench.new_contacts(asked.contacts_per_second, WARM_UP_SECONDS)
        orders = [bench.orders(rate, asked.seconds) for _ in range(asked.rounds)]
        rate = asked.contacts_per_second
        contacts = [bench.new_contacts(rate, asked.seconds) for _ in range(asked.rounds)]
    console = Console(width=140)
    way = "order recorded → points in the follower's database"
    console.print(report(way, asked.orders_per_second, orders))
    way = "contact created → membership active, in the follower's database"
    console.print(report(way, asked.contacts_per_second, contacts))


if __name__ == "__main__":
    main()
