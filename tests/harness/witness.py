"""A process of gRPC that serves no method of ours: it notes what reaches it, and then answers,
falls silent or breaks the connection, as the test says.
"""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2

HEALTH = "/grpc.health.v1.Health/Check"
REFUSALS = {
    "unavailable": (grpc.StatusCode.UNAVAILABLE, "away"),
    "late": (grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed"),
    "defective": (grpc.StatusCode.INTERNAL, "a defect"),
}


@dataclass(frozen=True)
class Seen:
    """A call as it came."""

    path: str
    headers: tuple[tuple[str, str], ...]


class Witness(grpc.GenericRpcHandler):
    """Healthy, and for the rest as `answer` says: `empty`, an empty message; the refusals
    `unavailable`, `late` and `defective`; `silent`, nothing until the caller gives up. Use it as
    a context.
    """

    def __init__(self, answer: str = "empty") -> None:
        self.answer = answer
        self.seen: list[Seen] = []
        self._over = threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(8), [self])
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a call."""
        if details.method == HEALTH:
            serving = health_pb2.HealthCheckResponse(
                status=health_pb2.HealthCheckResponse.SERVING
            ).SerializeToString()
            return grpc.unary_unary_rpc_method_handler(lambda _request, _context: serving)
        headers: Sequence[Any] = details.invocation_metadata or ()
        self.seen.append(Seen(details.method, tuple((k, str(v)) for k, v in headers)))
        return grpc.unary_unary_rpc_method_handler(self._serve)

    def _serve(self, _request: bytes, context: grpc.ServicerContext) -> bytes:
        if self.answer in REFUSALS:
            context.abort(*REFUSALS[self.answer])
        if self.answer == "silent":
            while context.is_active() and not self._over.is_set():
                time.sleep(0.05)
        return b""

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._server.stop(None).wait()
