"""The log of calls, one JSON object a line, in the words of the services' own log. It holds no
path, no query, no body and no token: these may hold personal data or secrets.
"""

from services.gateway.edge.envoy import Config, extension
from services.gateway.edge.filters import TOKEN
from services.gateway.edge.issuers import CLAIMS

LINE = {
    "ts": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "level": "info",
    "event": "rpc",
    "process": "edge",
    # The name of the route: that of the method, or of what the edge answers by itself.
    "method": "%ROUTE_NAME%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "code": "%GRPC_STATUS(SNAKE_STRING)%",
    # Which part of Envoy answered, and how; `via_upstream` is a service.
    "details": "%RESPONSE_CODE_DETAILS%",
    "duration_ms": "%DURATION%",
    "principal": f"%DYNAMIC_METADATA({TOKEN}:{CLAIMS}:sub)%",
    "issuer": f"%DYNAMIC_METADATA({TOKEN}:{CLAIMS}:iss)%",
    # That of the service's own line, in a trailer or, if there was no message, in a header.
    "request_id": '%COALESCE({"operators": [{"command": "TRAILER", "param": "request-id"},'
    ' {"command": "RESP", "param": "request-id"}]})%',
    # That which the caller sees as x-request-id.
    "edge_request_id": "%REQ(X-REQUEST-ID)%",
    # No longer than it may be: it is the caller's.
    "traceparent": "%REQ(TRACEPARENT):55%",
    "peer": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "replica": "%UPSTREAM_HOST%",
    "received_bytes": "%BYTES_RECEIVED%",
    "sent_bytes": "%BYTES_SENT%",
}


# The last word of a call by gRPC-Web is in its body, where Envoy does not look for it.
LINE_OF_WEB = {name: value for name, value in LINE.items() if name != "code"}


def access_log() -> list[Config]:
    """Return where and how calls are logged; questions for the health of the edge are not."""
    is_web = {"name": "x-grpc-web", "present_match": True}
    return [
        _logger(LINE, {**is_web, "invert_match": True}),
        _logger(LINE_OF_WEB, is_web),
    ]


def _logger(line: dict[str, str], header: Config) -> Config:
    logger = extension(
        "envoy.access_loggers.stdout",
        "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        log_format={"json_format": line},
    )
    filters = [{"not_health_check_filter": {}}, {"header_filter": {"header": header}}]
    return logger | {"filter": {"and_filter": {"filters": filters}}}
