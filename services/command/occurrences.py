"""How often each of very many keys came."""

import sqlite3
from contextlib import closing
from typing import Self


class Occurrences:
    """Counts keys, as a context manager. In a temporary file: not all may fit in memory."""

    def __enter__(self) -> Self:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("CREATE TABLE counts (key TEXT PRIMARY KEY, n INT) WITHOUT ROWID")
        self._database.execute("BEGIN")
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def add(self, key: str) -> int:
        """Count the key and return how often it came until now."""
        statement = (
            "INSERT INTO counts VALUES (?, 1) ON CONFLICT DO UPDATE SET n = n + 1 RETURNING n"
        )
        with closing(self._database.execute(statement, (key,))) as cursor:
            return int(cursor.fetchone()[0])
