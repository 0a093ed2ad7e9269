"""What both clients add to a call before it is sent."""

import uuid
from collections.abc import Callable, Iterable
from typing import Any

from vafa.policy import CALL_DEFAULTS


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


def with_token(
    metadata: Iterable[tuple[str, str | bytes]] | None, token: Callable[[], str] | None
) -> tuple[tuple[str, str | bytes], ...]:
    """Return the metadata with the token, unless the caller has put in one of their own."""
    given = tuple(metadata or ())
    if token is None or any(key == "authorization" for key, _ in given):
        return given
    return (*given, ("authorization", f"Bearer {token()}"))
