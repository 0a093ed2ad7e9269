"""Metrics for Prometheus; those of calls bear the names of go-grpc-middleware."""

import grpc
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from services.chassis.policy import Method

METHOD_LABELS = ("grpc_type", "grpc_service", "grpc_method")
GO_SPELLING = {"OK": "OK", "CANCELLED": "Canceled"}
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


def _go_name(code: grpc.StatusCode) -> str:
    words = (word.capitalize() for word in code.name.split("_"))
    return GO_SPELLING.get(code.name) or "".join(words)


class Metrics:
    """The metrics of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        self._started = counter("grpc_server_started", "Calls begun", METHOD_LABELS)
        self._handled = counter("grpc_server_handled", "Calls ended", (*METHOD_LABELS, "grpc_code"))
        self._seconds = Histogram(
            "grpc_server_handling_seconds",
            "Time from the beginning of a call to its end",
            METHOD_LABELS,
            buckets=BUCKETS,
            registry=registry,
        )
        self._received = counter("grpc_server_msg_received", "Messages received", METHOD_LABELS)
        self._sent = counter("grpc_server_msg_sent", "Messages sent", METHOD_LABELS)
        self._lane_size = gauge("db_pool_size", "Connections of a lane", ("lane",))
        self._lane_in_use = gauge("db_pool_in_use", "Busy connections of a lane", ("lane",))
        self._lane_waiting = gauge("db_pool_waiting", "Work that waits for a lane", ("lane",))
        self._lane_wait = Histogram(
            "db_pool_wait_seconds",
            "Time that work waited for a lane",
            ("lane",),
            buckets=BUCKETS,
            registry=registry,
        )
        self.idempotency_hits = counter(
            "idempotency_hits", "Calls answered by the stored answer of an earlier one"
        )
        self.outbox_pending = gauge("outbox_pending", "Committed events without a position")
        self.outbox_published = counter("outbox_published", "Events that got their position")
        self.feed_head = gauge("feed_head_position", "The position of the last event")
        self.consumer_lag = gauge(
            "consumer_lag_events", "Events of a feed that are not applied yet", ("source",)
        )
        self.consumer_applied = counter(
            "consumer_applied", "Events of a feed that were passed", ("source", "event_type")
        )
        self.consumer_parked = gauge(
            "consumer_parked_events", "Events of a feed that are parked", ("source",)
        )
        self.loop_lag = gauge("event_loop_lag_seconds", "How late the event loop is")

    def lane(self, name: str) -> tuple[Gauge, Gauge, Gauge, Histogram]:
        """Return size, busy, waiting and wait of a lane of the database."""
        return (
            self._lane_size.labels(name),
            self._lane_in_use.labels(name),
            self._lane_waiting.labels(name),
            self._lane_wait.labels(name),
        )

    @staticmethod
    def _labels(method: Method) -> tuple[str, str, str]:
        kind = "server_stream" if method.descriptor.server_streaming else "unary"
        return kind, method.service, method.name

    def declare(self, method: Method) -> None:
        """Begin every series of a method at zero, so that the first failure is a change."""
        labels = self._labels(method)
        for metric in (self._started, self._seconds, self._received, self._sent):
            metric.labels(*labels)
        for code in grpc.StatusCode:
            self._handled.labels(*labels, _go_name(code))

    def started(self, method: Method) -> None:
        """Count a call that begins."""
        self._started.labels(*self._labels(method)).inc()

    def received(self, method: Method) -> None:
        """Count a request that was let in."""
        self._received.labels(*self._labels(method)).inc()

    def sent(self, method: Method) -> None:
        """Count a message of an answer."""
        self._sent.labels(*self._labels(method)).inc()

    def handled(self, method: Method, code: grpc.StatusCode, seconds: float) -> None:
        """Count a call that ended."""
        labels = self._labels(method)
        self._handled.labels(*labels, _go_name(code)).inc()
        self._seconds.labels(*labels).observe(seconds)
        if code is grpc.StatusCode.OK and labels[0] == "unary":
            self._sent.labels(*labels).inc()

    def unknown_method(self) -> None:
        """Count a call to a method that is not there, in one series whatever its path."""
        self._started.labels("unary", "unknown", "unknown").inc()
        self._handled.labels("unary", "unknown", "unknown", "Unimplemented").inc()
