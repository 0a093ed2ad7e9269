"""`make bench`: the figures, each a ratio of what was measured in turn in one run."""

import asyncio
import os
import platform
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from bench import calls, edge, feed
from tests.harness.postgres import Postgres
from tests.harness.suite import SERVICES, RunningSuite


def main() -> None:
    """Run the suites, measure, print."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        postgres = Postgres(fsync=True)
        postgres.start()
        stack.callback(postgres.remove)
        feed_table = feed.report(postgres)
        edge_tables = edge.run(Path(folder), postgres, soak_seconds=0)
        urls = {service: postgres.create(f"bench_{service}") for service in SERVICES}
        suites = {
            "sqlite": RunningSuite(Path(folder) / "sqlite"),
            "postgresql": RunningSuite(Path(folder) / "postgresql", urls),
        }
        for suite in suites.values():
            suite.start()
            stack.callback(suite.stop)
        measured = asyncio.run(calls.run(suites))
    console = Console(width=120)
    console.print(f"{platform.machine()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}")
    console.print(calls.report(measured))
    for table in (*edge_tables, feed_table):
        console.print(table)


if __name__ == "__main__":
    main()
