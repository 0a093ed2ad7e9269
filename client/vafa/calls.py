"""What both clients add to a call before it is sent."""

import uuid
from collections.abc import Iterable
from typing import Any

from vafa.policy import CALL_DEFAULTS

Metadata = tuple[tuple[str, str | bytes], ...]


def timeout_seconds(method: str, given: float | None) -> float | None:
    """Return the caller's own timeout, or else the deadline of the method's policy."""
    return CALL_DEFAULTS[method].deadline_seconds if given is None else given


def with_request_id(method: str, request: Any) -> Any:
    """Return the request with a request_id, on a copy if it had none and the method takes one."""
    if not CALL_DEFAULTS[method].takes_request_id or request.request_id:
        return request
    copy = type(request)()
    copy.CopyFrom(request)
    copy.request_id = str(uuid.uuid4())
    return copy


def lacks_token(method: str, metadata: Iterable[tuple[str, str | bytes]]) -> bool:
    """Whether the method needs a token, and the caller has put in none of their own."""
    given = any(key == "authorization" for key, _ in metadata)
    return CALL_DEFAULTS[method].takes_token and not given


def naming(service: str) -> tuple[str, str]:
    """Return the metadata by which one address of all services tells whose method is meant."""
    return ("vafa-service", service)


def bearer(token: str) -> tuple[str, str]:
    """Return the metadata of a token."""
    return ("authorization", f"Bearer {token}")
