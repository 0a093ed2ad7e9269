"""Logs: one JSON object a line on standard output, without personal data."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import structlog
from google.protobuf.message import Message

from services.chassis.lines import Lines


def redacted(message: Message) -> Message:
    """Return a copy of a message without the fields that the contract marks debug_redact."""
    copy = type(message)()
    copy.CopyFrom(message)
    _redact(copy)
    return copy


def _redact(message: Message) -> None:
    for field, value in message.ListFields():
        if field.GetOptions().debug_redact:
            message.ClearField(field.name)
        elif field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        elif field.is_repeated:
            for item in value:
                _redact(item)
        else:
            _redact(value)


def _redact_messages(
    _logger: object, _name: str, fields: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for key, value in fields.items():
        if isinstance(value, Message):
            fields[key] = str(redacted(value))
    return fields


def _tells_no_header(record: logging.LogRecord) -> bool:
    """Whether a record is another than that by which gRPC tells a header that is no UTF-8: with
    its value, be it a token, and again at every look.
    """
    return not str(record.msg).startswith("Invalid encoding on ")


def configure_logs(service: str, level: str) -> Lines:
    """Write the logs of this process as JSON lines, those of libraries among them.

    Returns where they go, to be flushed at the end.
    """
    lines = Lines(sys.stdout.buffer)

    def add_process(
        _logger: object, _name: str, fields: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        # No context variable: threads begin without those.
        fields["process"] = service
        return fields

    shared: list[Any] = [
        add_process,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        _redact_messages,
        structlog.processors.format_exc_info,
    ]
    # ASCII, since some readers see the end of a line in U+2028 and its like.
    render = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, lines)),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(lines)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    handler.addFilter(_tells_no_header)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    return lines
