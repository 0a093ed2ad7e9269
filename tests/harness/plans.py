"""The plans by which PostgreSQL ran the statements of services, as it ran them."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import make_url

from tests.harness.postgres import Postgres

# Others on the same server may have plans logged too, though not as JSON.
ENTRY = re.compile(rb"LOG:  duration: [0-9.]+ ms  plan:\n(\t\{\n(?:\t.*\n)+)")
SETTINGS = (
    "session_preload_libraries = 'auto_explain'",
    "auto_explain.log_min_duration = 0",
    "auto_explain.log_format = 'json'",
    # With how many rows each node came upon, but not how long it took, which costs more.
    "auto_explain.log_analyze = on",
    "auto_explain.log_timing = off",
)
# To read a table of so few rows as a whole is the best there is.
FEW_ROWS = 100


@dataclass(frozen=True)
class Executed:
    """A statement that was run, and the nodes of its plan, each before those below it."""

    statement: str
    nodes: tuple[dict[str, Any], ...]

    @property
    def shape(self) -> str:
        """The plan in words, for who must find out why it is another."""
        return "\n".join(
            " ".join(
                str(node[key])
                for key in ("Node Type", "Relation Name", "Index Name", "Index Cond", "Filter")
                if key in node
            )
            for node in self.nodes
        )

    def indexes_of(self, table: str) -> set[str]:
        """Return by which indexes a table was read, and `all of it` if that is how it was read."""
        found: set[str] = set()
        for node in self.nodes:
            index = node.get("Index Name")
            if node["Node Type"] == "Bitmap Index Scan":
                # It tells the index alone, whose name tells the table.
                if f"_{table}_" in f"_{index}_":
                    found.add(str(index))
            elif index and node.get("Relation Name") == table:
                found.add(index)
        return found | ({"all of it"} if table in self.read_as_a_whole else set())

    @property
    def read_as_a_whole(self) -> set[str]:
        """The tables that were read from end to end, but for those that have next to no rows."""
        return {
            node["Relation Name"]
            for node in self.nodes
            if "Seq Scan" in node["Node Type"] and _rows_read(node) > FEW_ROWS
        }

    @property
    def sorts(self) -> bool:
        """Whether rows were put in order, rather than read in it."""
        return any("Sort" in node["Node Type"] for node in self.nodes)


class PlanLog:
    """What a server logs of the databases that it was told to explain."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._file = postgres.folder / "log"

    def watch(self, url: str) -> None:
        """Log the plans of all connections to a database that are made from now on."""
        name = make_url(url).database
        with psycopg.connect(self._postgres.conninfo("postgres"), autocommit=True) as connection:
            for setting in SETTINGS:
                connection.execute(f'ALTER DATABASE "{name}" SET {setting}'.encode())

    def mark(self) -> int:
        """Return a place in the log: its end."""
        return self._file.stat().st_size

    def since(self, mark: int) -> list[Executed]:
        """Return what was run since, in the order of its ends."""
        with self._file.open("rb") as file:
            file.seek(mark)
            text = file.read()
        return [_executed(entry[1]) for entry in ENTRY.finditer(text)]


def _rows_read(node: dict[str, Any]) -> float:
    removed: float = node.get("Rows Removed by Filter", 0)
    given: float = node["Actual Rows"]
    return (given + removed) * int(node["Actual Loops"])


def _executed(entry: bytes) -> Executed:
    explained = json.loads(entry.replace(b"\n\t", b"\n"))
    return Executed(explained["Query Text"], tuple(_nodes(explained["Plan"])))


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)
