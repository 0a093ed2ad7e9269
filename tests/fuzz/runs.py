"""A run of Schemathesis against an edge, and what came of it."""

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.closed import closed
from tests.harness.edge import Edge
from tests.harness.suite import ROOT

HERE = Path(__file__).parent
DOCUMENT = ROOT / "services" / "gateway" / "edge" / "openapi.json"
# One caller calls more often than the shipped values let one call.
UNLIMITED = {
    "callers": {
        "requests_per_second": 100_000,
        "requests_per_second_per_address": 100_000,
        "requests_per_second_answered_here": 100_000,
    }
}


@dataclass(frozen=True)
class Report:
    """What came of a run: `failures` are the texts of what differs; empty is what is wanted."""

    cases: int
    answers: Mapping[int, int]
    reasons: Mapping[str, int]
    operations: int
    failures: str

    def __str__(self) -> str:
        statuses = ", ".join(f"{status}: {count}" for status, count in sorted(self.answers.items()))
        reasons = ", ".join(f"{name}: {count}" for name, count in sorted(self.reasons.items()))
        return (
            f"{self.cases} cases on {self.operations} operations, {sum(self.answers.values())}"
            f" calls\nstatuses  {statuses}\nreasons   {reasons}\n{self.failures or 'no failure'}"
        )


def run(
    edge: Edge, ids: Mapping[str, str], *, examples: int, seed: int, operations: str = ""
) -> Report:
    """Call the edge with up to `examples` cases of each kind an operation, of all operations or
    those whose ids match; `ids` are those that `seed.seed` returned.
    """
    folder = edge.suite.folder
    report, config = folder / "schemathesis.json", folder / "schemathesis.toml"
    document = folder / "openapi.json"
    document.write_text(json.dumps(closed(json.loads(DOCUMENT.read_text()))))
    dictionaries = [f'{name} = {{ values = ["{id_}"] }}' for name, id_ in ids.items()]
    config.write_text("\n".join([(HERE / "schemathesis.toml").read_text(), *dictionaries, ""]))
    command = [str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(config)]
    command += ["run", str(document), "--url", edge.url, "--no-color", "--no-shrink"]
    command += ["--continue-on-failure", "--phases", "examples,coverage,fuzzing"]
    command += ["--max-examples", str(examples), "--seed", str(seed)]
    command += ["--warnings", "off", "--report", "json", "--report-json-path", str(report)]
    if operations:
        command += ["--include-operation-id-regex", operations]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks",
        "VAFA_FUZZ_FOLDER": str(folder),
    }
    done = subprocess.run(
        command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True
    )
    if not report.exists():
        raise RuntimeError(f"{done.stdout}{done.stderr}")
    found = json.loads(report.read_text())
    answers, reasons = _answers(folder / "answers.tsv")
    return Report(
        cases=found["test_cases"]["generated"],
        answers=answers,
        reasons=reasons,
        operations=found["operations"]["tested"],
        failures=done.stdout if done.returncode else "",
    )


def _answers(file: Path) -> tuple[Counter[int], Counter[str]]:
    with file.open(newline="") as lines:
        rows = list(csv.reader(lines, dialect="excel-tab"))
    reasons = Counter(reason for *_, reason in rows if reason)
    return Counter(int(status) for _, _, status, _ in rows), reasons
