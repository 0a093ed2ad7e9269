"""How each method is called unless the caller says otherwise, as the contract states it."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf.descriptor import MethodDescriptor

from vafa.api.v1 import policy_pb2
from vafa.descriptors import served_files

_OPERATIONS = operations_pb2.DESCRIPTOR.services_by_name["Operations"]
_OPERATIONS_WRITES = {"CancelOperation", "DeleteOperation"}
_OPERATIONS_DEADLINES_SECONDS = {
    "GetOperation": 5.0,
    "ListOperations": 10.0,
    "WaitOperation": 60.0,
    "CancelOperation": 5.0,
    "DeleteOperation": 5.0,
}

# The largest message either way. Also the largest request that gRPC keeps for a repeat: its own
# bound of 256 KiB would leave large batches without one.
_MESSAGE_MAX_BYTES = 4 * 1024 * 1024


RETRY_POLICY: Mapping[str, Any] = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    # A server that stops cancels the calls that it has not yet taken up.
    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
}
"""How a call that may be repeated is repeated, as a gRPC service config states it."""


@dataclass(frozen=True, slots=True)
class CallDefaults:
    """How a method is called unless the caller says otherwise."""

    deadline_seconds: float | None
    """The deadline of a call without one; None for a stream, which lasts until it is left."""
    takes_request_id: bool
    """Whether an empty request_id is filled."""
    retried: bool
    """Whether a call is repeated that failed with UNAVAILABLE, or that the server cancelled."""
    takes_token: bool
    """Whether the call carries the token; False for what anybody may call."""


def _defaults_of(method: MethodDescriptor) -> CallDefaults:
    """Read the policy that the contract states for one of our methods."""
    policy = method.GetOptions().Extensions[policy_pb2.policy]
    reads = policy.effect == policy_pb2.EFFECT_READ
    takes_request_id = not reads and "request_id" in method.input_type.fields_by_name
    deadline = policy.deadline.ToTimedelta().total_seconds()
    return CallDefaults(
        deadline_seconds=None if method.server_streaming else deadline,
        takes_request_id=takes_request_id,
        retried=reads or takes_request_id,
        takes_token=not policy.public,
    )


def _all_defaults() -> Iterator[tuple[str, CallDefaults]]:
    for file in served_files():
        for service in file.services_by_name.values():
            for method in service.methods:
                yield f"/{service.full_name}/{method.name}", _defaults_of(method)
    # google.longrunning belongs to everybody and so states no policy of ours.
    for method in _OPERATIONS.methods:
        yield (
            f"/{_OPERATIONS.full_name}/{method.name}",
            CallDefaults(
                deadline_seconds=_OPERATIONS_DEADLINES_SECONDS[method.name],
                takes_request_id=False,
                retried=method.name not in _OPERATIONS_WRITES,
                takes_token=True,
            ),
        )


CALL_DEFAULTS: Mapping[str, CallDefaults] = dict(_all_defaults())
"""The defaults of every method by its path, `/<package>.<Service>/<Method>`."""


def service_config(*, with_timeouts: bool = False) -> dict[str, Any]:
    """Return the gRPC service config: all methods, and for those that may be repeated, how.

    With timeouts it states the deadlines too, for callers who do not set them by other means.
    """
    names: dict[tuple[float | None, bool], list[dict[str, str]]] = defaultdict(list)
    for path, call in CALL_DEFAULTS.items():
        service, method = path[1:].split("/")
        deadline_seconds = call.deadline_seconds if with_timeouts else None
        names[deadline_seconds, call.retried].append({"service": service, "method": method})
    return {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": of_group,
                **({"timeout": f"{deadline_seconds:g}s"} if deadline_seconds else {}),
                **({"retryPolicy": RETRY_POLICY} if retried else {}),
            }
            for (deadline_seconds, retried), of_group in names.items()
        ],
        "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
    }


CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.service_config", json.dumps(service_config())),
    ("grpc.enable_retries", 1),
    ("grpc.per_rpc_retry_buffer_size", _MESSAGE_MAX_BYTES),
    ("grpc.max_send_message_length", _MESSAGE_MAX_BYTES),
    ("grpc.max_receive_message_length", _MESSAGE_MAX_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A stream without news is kept alive too.
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.dns_min_time_between_resolutions_ms", 10_000),
)
"""The options of every channel of either client."""
