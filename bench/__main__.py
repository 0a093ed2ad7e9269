"""`make bench`: the figures, each a ratio of what was measured in turn in one run.

Exits with 1 if a call failed: then the figures are none.
"""

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from bench import calls, chain, edge, feed
from bench.figures import table_of
from bench.machine import described
from bench.references import TpcB, echo
from bench.sites import CONTACTS, POSTGRESQL, sites
from tests.harness.postgres import Postgres

TPCB_SECONDS = 20
TITLE = (
    f"{calls.PAIRS} pairs in turn; runs of {calls.SECONDS:.0f} s with 32 calls in flight,"
    f" TPC-B of {calls.TPCB_SECONDS} s; {CONTACTS:,} contacts and members; medians, and ratios"
    " with their range"
)


def main() -> None:
    """Run the suites, measure, print each table as soon as it is there."""
    console = Console(width=160)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        postgres = Postgres(fsync=True)
        postgres.start()
        stack.callback(postgres.remove)
        tpcb = TpcB(postgres)
        tpcb.prepare()
        found = stack.enter_context(sites(Path(folder), postgres))
        bare = stack.enter_context(echo())
        long_tpcb = tpcb.transactions_per_second(TPCB_SECONDS)
        for line in (*described(postgres), f"TPC-B for {TPCB_SECONDS} s: {long_tpcb:,.0f}/s"):
            console.print(line, highlight=False)
        figures = [
            *calls.reads(found, bare),
            *calls.writes(found, tpcb),
            *calls.writes_of_two(found[POSTGRESQL], tpcb),
            *calls.imports(found, postgres),
        ]
        console.print(table_of(TITLE, figures))
        console.print(edge.report(found))
        console.print(feed.report(postgres))
        console.print(chain.report(Path(folder) / "chain"))
    if any(figure.failed for figure in figures):
        sys.exit("calls failed")


if __name__ == "__main__":
    main()
