"""The long run: a suite and an edge of its own, at least ten thousand cases."""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from services.chassis.contract import SERVICES
from tests.fuzz.runs import UNLIMITED, Report, run
from tests.fuzz.seed import seed
from tests.harness.edge import Edge
from tests.harness.postgres import Postgres
from tests.harness.suite import RunningSuite


def main() -> int:
    """Print what came of the run; 1 if anything differs from the document."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--examples", type=int, default=120, help="cases a kind and operation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--operations", default="", help="a pattern of operation ids")
    parser.add_argument("--postgresql", action="store_true", help="instead of SQLite")
    arguments = parser.parse_args()
    with _databases(postgresql=arguments.postgresql) as urls:
        report = _run(urls, arguments)
    print(f"seed {arguments.seed}: {report}")  # noqa: T201
    return int(bool(report.failures))


@contextmanager
def _databases(*, postgresql: bool) -> Iterator[Mapping[str, str] | None]:
    if not postgresql:
        yield None
        return
    server = Postgres()
    server.start()
    try:
        yield {service: server.create(f"fuzz_{service}") for service in SERVICES}
    finally:
        server.remove()


def _run(urls: Mapping[str, str] | None, arguments: argparse.Namespace) -> Report:
    with tempfile.TemporaryDirectory(prefix="vafa-fuzz-") as folder:
        suite = RunningSuite(Path(folder), urls)
        suite.start()
        try:
            with Edge(suite, UNLIMITED) as edge:
                with edge.client() as client:
                    ids = seed(client)
                return run(
                    edge,
                    ids,
                    examples=arguments.examples,
                    seed=arguments.seed,
                    operations=arguments.operations,
                )
        finally:
            suite.stop()


if __name__ == "__main__":
    sys.exit(main())
