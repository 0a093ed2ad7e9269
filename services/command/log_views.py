"""The ways to show the lines of all processes as one log."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from services.command.supervisor import OWN_NAME

COLOURS = {
    "contacts": "cyan",
    "loyalty": "green",
    "feedback": "yellow",
    "gateway": "magenta",
    "edge": "bright_blue",
    OWN_NAME: "blue",
}
LEVEL_STYLES = {"warning": "yellow", "error": "bold red", "critical": "bold red"}
# What a line shows in a place of its own, or what its colour says already.
PLACED = frozenset({"ts", "level", "event", "process", "exception"})


class JsonLog:
    """The log as the services write it; words that are not JSON are made an event of it.

    What a person is to read goes to `console`, and so to standard error.
    """

    def __init__(self) -> None:
        self.console = Console(highlight=False, stderr=True)

    def __call__(self, name: str, line: str) -> None:
        """Write one line of a process."""
        if _fields(line) is None:
            now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
            words = {"process": name, "event": line, "level": "info", "ts": now}
            line = json.dumps(words, ensure_ascii=False)
        print(line, flush=True)


class ReadableLog:
    """The log for a person: one line an event, each service in its colour.

    The calls that succeeded are left out unless it is verbose.
    """

    def __init__(self, *, verbose: bool, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._verbose = verbose

    def __call__(self, name: str, line: str) -> None:
        """Show one line of a process."""
        fields = _fields(line)
        if fields is None:
            self._show(name, _local_time(None), Text(_visible(line)))
            return
        if _is_success(fields) and not self._verbose:
            return
        time = _local_time(fields.get("ts"))
        self._show(name, time, _described(fields))
        for part in str(fields.get("exception", "")).splitlines():
            self._show(name, time, Text(_visible(part), style="dim"))

    def _show(self, name: str, time: str, words: Text) -> None:
        start = Text.assemble((time, "dim"), " ", (f"{name:<9}", COLOURS.get(name, "")))
        self.console.print(start + words, soft_wrap=True)


def _fields(line: str) -> dict[str, Any] | None:
    """Return the fields of a line that is a JSON object, else None."""
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


def _is_success(fields: Mapping[str, Any]) -> bool:
    """Whether a line tells of a call that succeeded; the edge has pages too, with no code."""
    good = fields.get("code") == "OK" or (not fields.get("code") and fields.get("status") == 200)
    return fields.get("event") == "rpc" and good


def _described(fields: Mapping[str, Any]) -> Text:
    level = str(fields.get("level", "info"))
    style = LEVEL_STYLES.get(level, "")
    words = Text(_visible(str(fields.get("event", ""))), style=f"{style} bold".strip())
    if level in LEVEL_STYLES:
        words = Text.assemble((f"{level} ", style), words)
    for key, value in fields.items():
        if key not in PLACED and value not in ("", None):
            words += Text.assemble((f" {_visible(key)}=", "dim"), _shown(value))
    return words


def _shown(value: object) -> str:
    """Return a value so that one can tell where it ends."""
    if isinstance(value, str) and value.isprintable() and not set(value) & {" ", '"', "="}:
        return value
    return _visible(json.dumps(value, ensure_ascii=False))


def _visible(text: str) -> str:
    """Return text without what could steer the terminal."""
    return "".join(one if one.isprintable() or one == "\t" else "\ufffd" for one in text)


def _local_time(stamp: object) -> str:
    """Return the time of day of a time stamp, or of now if it is none, to the millisecond."""
    try:
        moment = datetime.fromisoformat(str(stamp))
    except ValueError:
        moment = datetime.now(UTC)
    return moment.astimezone().isoformat(timespec="milliseconds")[11:23]
