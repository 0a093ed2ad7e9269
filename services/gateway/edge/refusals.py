"""What the edge itself refuses, told as the services tell their refusals: google.rpc.Status with
the reasons of vafa.api.v1, as JSON, or as the status and the details of gRPC.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field, replace

from google.protobuf import duration_pb2
from google.protobuf.json_format import MessageToDict
from google.rpc import code_pb2, error_details_pb2, status_pb2

from services.gateway.edge.envoy import Config, inline, typed
from vafa.api.v1.error_reason_pb2 import ErrorReason

DOMAIN = "vafa.api.v1"
RETRY_AFTER_SECONDS = 1
# What Envoy says of the reason; for JSON that cannot be read, where it goes wrong.
ENVOYS_WORDS = "%LOCAL_REPLY_BODY%"


@dataclass(frozen=True)
class Refusal:
    """How a refusal of Envoy's is told.

    Envoy's own is known by `status`, and where that is not enough by one of `flags` of the
    response or by an expression over the request. With `words`, JSON has these for a message.
    """

    status: int
    code: int
    reason: ErrorReason.ValueType
    message: str
    shown_status: int
    flags: tuple[str, ...] = ()
    expression: str = ""
    words: str = ""
    retry: bool = False
    headers: dict[str, str] = field(default_factory=dict)

    def to_status(self) -> status_pb2.Status:
        """Return it in the shape of a service's refusal."""
        status = status_pb2.Status(code=self.code, message=self.message)
        info = error_details_pb2.ErrorInfo(reason=ErrorReason.Name(self.reason), domain=DOMAIN)
        status.details.add().Pack(info)
        if self.retry:
            delay = duration_pb2.Duration(seconds=RETRY_AFTER_SECONDS)
            status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        return status


def _refusal(
    status: int, code: int, reason: ErrorReason.ValueType, message: str, shown_status: int = 0
) -> Refusal:
    return Refusal(status, code, reason, message, shown_status or status)


MALFORMED = _refusal(
    400, code_pb2.INVALID_ARGUMENT, ErrorReason.MALFORMED_MESSAGE, "the request cannot be read"
)
NOT_THE_MESSAGE = replace(
    MALFORMED,
    expression="response.code_details.contains('grpc_json_transcode_failure')",
    words=ENVOYS_WORDS,
)
# Envoy does not implement every transfer coding that a caller may name.
UNKNOWN_CODING = replace(MALFORMED, status=501)
OLD_PROTOCOL = replace(MALFORMED, status=426, message="HTTP/1.1 or HTTP/2 is needed")
UPGRADE = replace(
    MALFORMED,
    status=403,
    expression="response.code_details == 'upgrade_failed'",
    message="the connection cannot be upgraded",
)
UNAUTHENTICATED = _refusal(
    401, code_pb2.UNAUTHENTICATED, ErrorReason.UNAUTHENTICATED, "a valid token is needed"
)
# Envoy calls a token for another audience forbidden; the services do not tell it apart.
WRONG_AUDIENCE = replace(UNAUTHENTICATED, status=403)
METHOD_UNKNOWN = _refusal(
    404, code_pb2.UNIMPLEMENTED, ErrorReason.METHOD_UNKNOWN, "there is no such method"
)
METHOD_NOT_ALLOWED = _refusal(
    405,
    code_pb2.UNIMPLEMENTED,
    ErrorReason.METHOD_UNKNOWN,
    "this path has other HTTP methods; the header allow names them",
)
TOO_SLOW = _refusal(
    408, code_pb2.DEADLINE_EXCEEDED, ErrorReason.DEADLINE_EXCEEDED, "the request did not end"
)
BODY_TOO_LARGE = _refusal(
    413, code_pb2.INVALID_ARGUMENT, ErrorReason.MALFORMED_MESSAGE, "the body is too large"
)
SERVICE_UNNAMED = _refusal(
    421,
    code_pb2.INVALID_ARGUMENT,
    ErrorReason.INVALID_FIELD,
    "every service has this method: name the service in the header vafa-service",
    shown_status=400,
)
TOO_MANY_CALLS = replace(
    _refusal(
        429, code_pb2.RESOURCE_EXHAUSTED, ErrorReason.OVERLOADED, "too many calls of one caller"
    ),
    retry=True,
)
HEADERS_TOO_LARGE = _refusal(
    431, code_pb2.INVALID_ARGUMENT, ErrorReason.MALFORMED_MESSAGE, "the headers are too large"
)
UNAVAILABLE = _refusal(
    503,
    code_pb2.UNAVAILABLE,
    ErrorReason.UNAVAILABLE,
    "the service cannot be reached; a write may be repeated with the same request_id",
)
BROKEN_ANSWER = replace(UNAVAILABLE, status=502)
OVERLOADED = replace(
    TOO_MANY_CALLS, status=503, flags=("UO", "OM"), message="more calls wait than may"
)
TOO_LATE = _refusal(
    504,
    code_pb2.DEADLINE_EXCEEDED,
    ErrorReason.DEADLINE_EXCEEDED,
    "the deadline passed; a write may be repeated with the same request_id",
)
DEFECT = _refusal(500, code_pb2.INTERNAL, ErrorReason.INTERNAL, "a defect of the edge")

# The first that fits is told: what has a mark beside its status comes before what has none.
REFUSALS = (
    NOT_THE_MESSAGE,
    MALFORMED,
    UNKNOWN_CODING,
    OLD_PROTOCOL,
    UPGRADE,
    UNAUTHENTICATED,
    WRONG_AUDIENCE,
    METHOD_UNKNOWN,
    METHOD_NOT_ALLOWED,
    TOO_SLOW,
    BODY_TOO_LARGE,
    SERVICE_UNNAMED,
    TOO_MANY_CALLS,
    HEADERS_TOO_LARGE,
    OVERLOADED,
    UNAVAILABLE,
    BROKEN_ANSWER,
    TOO_LATE,
    DEFECT,
)


def local_replies() -> Config:
    """Return how Envoy words what it answers by itself."""
    return {
        "mappers": [
            mapper for refusal in REFUSALS for mapper in (_to_grpc(refusal), _to_json(refusal))
        ]
    }


def _to_grpc(refusal: Refusal) -> Config:
    details = base64.b64encode(refusal.to_status().SerializeToString()).decode().rstrip("=")
    headers = {
        "grpc-status": str(refusal.code),
        "grpc-message": refusal.message,
        "grpc-status-details-bin": details,
    }
    is_grpc = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    # JSON that was turned into a message already.
    was_json = {"name": "x-envoy-original-method", "present_match": True}
    callers = [is_grpc, {**was_json, "invert_match": True}]
    marks = [*_marks(refusal), *({"header_filter": {"header": one}} for one in callers)]
    return {
        "filter": {"and_filter": {"filters": marks}},
        "status_code": 200,
        "headers_to_add": _headers(headers),
        # All is in the headers, so that gRPC-Web passes them on as they are.
        "body_format_override": {
            "text_format_source": inline(""),
            "content_type": "application/grpc",
        },
    }


def _to_json(refusal: Refusal) -> Config:
    body = MessageToDict(refusal.to_status())
    headers = {"retry-after": str(RETRY_AFTER_SECONDS)} if refusal.retry else {}
    marks = _marks(refusal)
    return {
        "filter": {"and_filter": {"filters": marks}} if len(marks) > 1 else marks[0],
        "status_code": refusal.shown_status,
        "headers_to_add": _headers(headers),
        "body_format_override": {"json_format": {**body, **_worded(refusal)}},
    }


def _worded(refusal: Refusal) -> Config:
    return {"message": refusal.words} if refusal.words else {}


def _marks(refusal: Refusal) -> list[Config]:
    """Return the filters that all must fit for this refusal."""
    value = {"default_value": refusal.status, "runtime_key": "vafa.edge.refused_status"}
    marks: list[Config] = [{"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}]
    if refusal.flags:
        marks.append({"response_flag_filter": {"flags": list(refusal.flags)}})
    if refusal.expression:
        expression = typed(
            "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
            expression=refusal.expression,
        )
        name = "envoy.access_loggers.extension_filters.cel"
        marks.append({"extension_filter": {"name": name, "typed_config": expression}})
    return marks


def _headers(headers: dict[str, str]) -> list[Config]:
    return [
        {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for key, value in headers.items()
    ]
