"""The line of each call in the log."""

import json
import logging
import time
from datetime import UTC, datetime

import grpc
import orjson

from services.chassis.lines import Lines
from services.chassis.policy import Method

# A defect of the service, and not of the call.
DEFECTS = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})
FORM = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z


class Outcome:
    """What is known of a call for its line, as far as it got.

    `peer` is taken at the beginning: asked of a call that is over, gRPC crashes the process.
    Times are monotonic. No field can hold personal data.
    """

    __slots__ = (
        "_log",
        "code",
        "ended_at",
        "peer",
        "principal",
        "reason",
        "replayed",
        "request_id",
        "seconds",
        "started_at",
    )

    def __init__(self, log: "MethodLog", peer: str) -> None:
        self._log = log
        self.peer = peer
        self.started_at = time.monotonic()
        self.principal = ""
        self.request_id = ""
        self.reason = ""
        self.replayed = False

    def end(self, code: grpc.StatusCode) -> None:
        """Note how and when it ended, and write its line."""
        self.code = code
        self.seconds = time.monotonic() - self.started_at
        self.ended_at = time.time()
        self._log.write(self)

    def render(self) -> bytes:
        """Return its line, with the fields that every line has which `configure_logs` writes."""
        fields = {
            **self._log.fields,
            "code": self.code.name,
            "reason": self.reason,
            "duration_ms": round(self.seconds * 1000, 3),
            "peer": self.peer,
            "principal": self.principal,
            "request_id": self.request_id,
            "replayed": self.replayed,
            "level": "error" if self.code in DEFECTS else "info",
            "ts": datetime.fromtimestamp(self.ended_at, UTC),
        }
        line = orjson.dumps(fields, option=FORM)
        return line if line.isascii() else json.dumps(orjson.loads(line)).encode() + b"\n"


class MethodLog:
    """Writes the lines of the calls of one method; `fields` are those that all of them have."""

    def __init__(self, lines: Lines, process: str, level: str, method: Method) -> None:
        self._lines = lines
        self._tells_all = logging.getLevelNamesMapping()[level] <= logging.INFO
        self.fields = {
            "event": "rpc",
            "process": process,
            "service": method.service,
            "method": method.name,
        }

    def write(self, outcome: Outcome) -> None:
        """Write the line of a call that has ended, if the level of the log wants it."""
        if self._tells_all or outcome.code in DEFECTS:
            self._lines.gather(outcome)


class CallLog:
    """Writes one line a call.

    They pass structlog by: there, a line costs more than all else that the chain does.
    """

    def __init__(self, lines: Lines, process: str, level: str) -> None:
        self._lines = lines
        self._level = level
        self._process = process

    def of(self, method: Method) -> MethodLog:
        """Return the log of a method."""
        return MethodLog(self._lines, self._process, self._level, method)
