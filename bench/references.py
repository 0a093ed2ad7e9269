"""What the figures are held against, measured on the same machine in the same minutes."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc

from bench.echo import path_of
from bench.runs import Work
from bench.sites import Site
from bench.wire import Caller, Target
from tests.harness.ports import free_port
from tests.harness.postgres import PROGRAMS, Postgres
from tests.harness.suite import ROOT

TPCB_DATABASE, TPCB_SCALE, TPCB_CLIENTS, TPCB_THREADS = "bench_tpcb", 50, 16, 2


class ReferenceFailed(Exception):
    """A reference did not do its work; the text tells what it said."""


@dataclass(frozen=True)
class Echo:
    """A bare server of grpc.aio that runs."""

    address: str

    def calls_per_second(self, site: Site, work: Work, seconds: float) -> float:
        """Send the messages of the work, with its token; answers are as long as those to it."""
        target = Target(self.address, path_of(_answer_bytes(site, work)), site.suite.token())
        caller = Caller([target])
        answers = caller.in_flight(work.messages(site), work.in_flight, seconds)
        caller.close()
        if answers.failures:
            raise ReferenceFailed(f"echo: {dict(answers.failures)}")
        return answers.per_second


def _answer_bytes(site: Site, work: Work) -> int:
    """Return how long an answer to the work is."""
    metadata = (("authorization", f"Bearer {site.suite.token()}"),)
    with grpc.insecure_channel(site.suite.addresses[work.service]) as channel:
        call = channel.unary_unary(work.path, lambda sent: sent, lambda received: received)
        return len(call(next(work.messages(site)), timeout=10, metadata=metadata))


@contextmanager
def echo() -> Iterator[Echo]:
    """Give an echo server in a process of its own."""
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "bench.echo", address]
    with subprocess.Popen(command, cwd=ROOT) as process:  # noqa: S603
        try:
            with grpc.insecure_channel(address) as channel:
                grpc.channel_ready_future(channel).result(timeout=20)
            yield Echo(address)
        finally:
            process.terminate()


@dataclass(frozen=True)
class TpcB:
    """pgbench's own transaction, TPC-B, over 5,000,000 accounts of the same server."""

    postgres: Postgres

    def prepare(self) -> None:
        """Make its tables."""
        self.postgres.create(TPCB_DATABASE)
        self._pgbench("-i", "-q", "-s", str(TPCB_SCALE))

    def transactions_per_second(self, seconds: int) -> float:
        """Run it with prepared statements for so long."""
        shape = ("-M", "prepared", "-c", str(TPCB_CLIENTS), "-j", str(TPCB_THREADS))
        said = self._pgbench(*shape, "-T", str(seconds))
        found = re.search(r"^tps = ([\d.]+)", said, re.MULTILINE)
        if not found or not re.search(r"number of failed transactions: 0 ", said):
            raise ReferenceFailed(f"pgbench: {said}")
        return float(found[1])

    def _pgbench(self, *arguments: str) -> str:
        server = ("-h", "127.0.0.1", "-p", str(self.postgres.port), "-U", "postgres")
        command = [str(PROGRAMS / "pgbench"), *server, *arguments, TPCB_DATABASE]
        done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
        if done.returncode:
            raise ReferenceFailed(f"pgbench: {done.stderr}")
        return done.stdout
