"""Figures: runs in turn with what each is held against, and the table of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from rich.table import Table

from bench.runs import Run
from bench.sites import SQLITE

HEADINGS = (
    *("call", "database", "/s", "p50 ms", "p99 ms", "CPU ms", "PostgreSQL ms", "MiB"),
    *("reference", "/s", "÷ reference", "wanted"),
)
TEXT = frozenset({"call", "database", "reference"})


@dataclass
class Figure:
    """Runs of one kind, each beside what its reference did in the same round."""

    name: str
    database: str
    reference: str
    wanted: float | None = None
    runs: list[Run] = field(default_factory=list)
    references: list[float] = field(default_factory=list)

    def add(self, run: Run, reference: float) -> None:
        """Add a pair."""
        self.runs.append(run)
        self.references.append(reference)

    @property
    def failed(self) -> bool:
        """Whether a call did."""
        return any(run.failures for run in self.runs)

    @property
    def ratios(self) -> list[float]:
        """The run over its reference, of each pair."""
        pairs = zip(self.runs, self.references, strict=True)
        return [run.per_second / reference for run, reference in pairs]

    def cells(self) -> list[str]:
        """Return its row: medians, and the median and range of the ratios."""

        def of(name: str) -> float:
            return float(median(getattr(run, name) for run in self.runs))

        return [
            self.name,
            self.database,
            f"{of('per_second'):,.0f}",
            f"{of('p50_ms'):.1f}",
            f"{of('p99_ms'):.1f}",
            f"{of('services_cpu_ms'):.3f}",
            "" if self.database == SQLITE else f"{of('postgres_cpu_ms'):.3f}",
            f"{self.runs[-1].resident_mib:.0f}",
            self.reference,
            f"{median(self.references):,.0f}",
            f"FAILED: {self.failures()}" if self.failed else middle(self.ratios),
            "" if self.wanted is None else f"≥ {self.wanted:.2f}",
        ]

    def failures(self) -> str:
        """Say how many calls failed, by their statuses."""
        totals: dict[int, int] = {}
        for run in self.runs:
            for status, times in run.failures.items():
                totals[status] = totals.get(status, 0) + times
        return ", ".join(f"{times} × status {status}" for status, times in totals.items())


def middle(values: Sequence[float]) -> str:
    """Return the median with the range, such as `0.91 (0.88 to 0.93)`."""
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def table_of(title: str, figures: Sequence[Figure]) -> Table:
    """Return the table of the figures."""
    table = Table(title=title)
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in TEXT else "right")
    for figure in figures:
        table.add_row(*figure.cells())
    return table
