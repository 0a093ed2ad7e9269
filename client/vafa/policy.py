"""How each method is called unless the caller says otherwise, as the contract states it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor

from vafa.api.v1 import policy_pb2
from vafa.contacts.v1 import contacts_pb2, interactions_pb2
from vafa.events.v1 import events_pb2
from vafa.feedback.v1 import responses_pb2, surveys_pb2
from vafa.gateway.v1 import access_pb2, customers_pb2
from vafa.loyalty.v1 import ledger_pb2, members_pb2, orders_pb2, programs_pb2

_FILES: tuple[FileDescriptor, ...] = (
    contacts_pb2.DESCRIPTOR,
    interactions_pb2.DESCRIPTOR,
    events_pb2.DESCRIPTOR,
    responses_pb2.DESCRIPTOR,
    surveys_pb2.DESCRIPTOR,
    access_pb2.DESCRIPTOR,
    customers_pb2.DESCRIPTOR,
    ledger_pb2.DESCRIPTOR,
    members_pb2.DESCRIPTOR,
    orders_pb2.DESCRIPTOR,
    programs_pb2.DESCRIPTOR,
)
_OPERATIONS = operations_pb2.DESCRIPTOR.services_by_name["Operations"]
_OPERATIONS_WRITES = {"CancelOperation", "DeleteOperation"}
_OPERATIONS_DEADLINE_SECONDS = 10.0

# The largest message either way. Also the largest request that gRPC keeps for a repeat: its own
# bound of 256 KiB would leave large batches without one.
_MESSAGE_MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CallDefaults:
    """How a method is called unless the caller says otherwise."""

    deadline_seconds: float | None
    """The deadline of a call without one; None for a stream, which lasts until it is left."""
    takes_request_id: bool
    """Whether an empty request_id is filled."""
    retried: bool
    """Whether a call is repeated that failed with UNAVAILABLE, or that the server cancelled."""


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
    )


def _all_defaults() -> Iterator[tuple[str, CallDefaults]]:
    for file in _FILES:
        for service in file.services_by_name.values():
            for method in service.methods:
                yield f"/{service.full_name}/{method.name}", _defaults_of(method)
    # google.longrunning belongs to everybody and so states no policy of ours.
    for method in _OPERATIONS.methods:
        yield (
            f"/{_OPERATIONS.full_name}/{method.name}",
            CallDefaults(
                deadline_seconds=_OPERATIONS_DEADLINE_SECONDS,
                takes_request_id=False,
                retried=method.name not in _OPERATIONS_WRITES,
            ),
        )


CALL_DEFAULTS: Mapping[str, CallDefaults] = dict(_all_defaults())
"""The defaults of every method by its path, `/<package>.<Service>/<Method>`."""


def service_config() -> dict[str, Any]:
    """Return the gRPC service config: all methods, and for those that may be repeated, how."""

    def names(*, retried: bool) -> list[dict[str, str]]:
        paths = (path for path, call in CALL_DEFAULTS.items() if call.retried == retried)
        return [
            dict(zip(("service", "method"), path[1:].split("/"), strict=True)) for path in paths
        ]

    return {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": names(retried=True),
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    # A server that stops cancels the calls that it has not yet taken up.
                    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
                },
            },
            {"name": names(retried=False)},
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
