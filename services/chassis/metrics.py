"""Metrics for Prometheus."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from services.chassis.call_metrics import BUCKETS, CallMetrics


class Metrics:
    """The metrics of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.calls = CallMetrics()
        registry.register(self.calls)

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

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
        self.group_commands = Histogram(
            "db_group_commands",
            "Hot commands that were written together",
            ("command",),
            buckets=(1, 2, 4, 8, 16, 32, 64),
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
