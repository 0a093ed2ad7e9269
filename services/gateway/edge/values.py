"""The values file: what an operator tunes at the edge, each number with its unit."""

import re
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NonNegativeInt
from pydantic import PositiveFloat as Positive
from pydantic import PositiveInt as Count


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Callers(_Section):
    """How often one caller may call, for each replica of the edge."""

    requests_per_second: Count
    requests_per_second_per_address: Count
    requests_per_second_answered_here: Count
    remembered: Count
    trusted_proxies: NonNegativeInt


def _expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is not a regular expression: {error}") from error
    return text


class Browsers(_Section):
    """From which pages a browser may call."""

    allowed_origins: tuple[Annotated[str, AfterValidator(_expression)], ...]
    preflight_max_age_seconds: Count


class Connections(_Section):
    """What connections to the edge may take."""

    max_connections: Count
    max_concurrent_streams: Count
    stream_window_bytes: Annotated[int, Field(ge=65_535)]
    connection_window_bytes: Annotated[int, Field(ge=65_535)]
    buffer_bytes: Count
    idle_timeout_seconds: Positive
    stream_idle_timeout_seconds: Positive
    first_bytes_timeout_seconds: Positive
    premature_resets_max: Count


class Requests(_Section):
    """What one request may take."""

    headers_timeout_seconds: Positive
    body_timeout_seconds: Positive
    max_headers_kibibytes: Annotated[int, Field(ge=1, le=8192)]
    max_headers_count: Count
    max_json_request_bytes: Count
    max_public_request_bytes: Count
    max_json_response_bytes: Count
    grace_seconds: Positive


class Services(_Section):
    """How the edge treats the replicas of a service."""

    connect_timeout_seconds: Positive
    max_connections: Count
    max_requests: Count
    max_waiting_requests: Count
    max_retries: Count
    retries_of_a_read: Count
    health_check_interval_seconds: Positive
    health_check_timeout_seconds: Positive
    failures_until_ejected: Count
    ejected_seconds: Positive
    max_ejected_percent: Annotated[int, Field(ge=0, le=100)]
    dns_refresh_seconds: Positive


class Values(_Section):
    """The whole file; every key of it is needed, and no other is known."""

    callers: Callers
    browsers: Browsers
    connections: Connections
    requests: Requests
    services: Services


def read_values(path: Path) -> Values:
    """Read a values file; OSError, or ValueError naming each key that cannot be."""
    return Values.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
