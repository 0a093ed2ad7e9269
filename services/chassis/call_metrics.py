"""What is counted of calls; the metrics bear the names of go-grpc-middleware."""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate

import grpc
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from services.chassis.policy import Method

LABELS = ("grpc_type", "grpc_service", "grpc_method")
UNKNOWN_METHOD = ("unary", "unknown", "unknown")
GO_SPELLING = {"OK": "OK", "CANCELLED": "Canceled"}
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


def _go_name(code: grpc.StatusCode) -> str:
    words = (word.capitalize() for word in code.name.split("_"))
    return GO_SPELLING.get(code.name) or "".join(words)


OK = grpc.StatusCode.OK
CODES = {code: _go_name(code) for code in grpc.StatusCode}


class MethodCalls:
    """What is counted of the calls of one method; for the event loop alone, so that no lock is
    needed: those begun, the requests let in, the messages of answers.
    """

    def __init__(self, method: Method) -> None:
        kind = "server_stream" if method.descriptor.server_streaming else "unary"
        self.labels = (kind, method.service, method.name)
        self.started = 0
        self.received = 0
        self.sent = 0
        self.succeeded = 0
        self.failed: Counter[grpc.StatusCode] = Counter()
        self.in_bucket = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0

    def end(self, code: grpc.StatusCode, seconds: float) -> None:
        """Count a call that ended after so many seconds."""
        if code is OK:
            self.succeeded += 1
        else:
            self.failed[code] += 1
        self.in_bucket[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds


class CallMetrics(Collector):
    """The metrics of all methods, for a registry."""

    def __init__(self) -> None:
        self._methods: list[MethodCalls] = []
        self._began_at = time.time()
        self._unknown = 0

    def of(self, method: Method) -> MethodCalls:
        """Return what counts the calls of a method.

        Each of its series begins at zero, so that the first failure is a change.
        """
        calls = MethodCalls(method)
        self._methods.append(calls)
        return calls

    def unknown_method(self) -> None:
        """Count a call to a method that is not there, in one series whatever its path."""
        self._unknown += 1

    def collect(self) -> Iterator[Metric]:
        """Return the metrics as they are now."""
        started = self._counter("grpc_server_started", "Calls begun")
        handled = self._counter("grpc_server_handled", "Calls ended", "grpc_code")
        received = self._counter("grpc_server_msg_received", "Messages received")
        sent = self._counter("grpc_server_msg_sent", "Messages sent")
        seconds = HistogramMetricFamily(
            "grpc_server_handling_seconds",
            "Time from the beginning of a call to its end",
            labels=LABELS,
        )
        for calls in self._methods:
            started.add_metric(calls.labels, calls.started, self._began_at)
            received.add_metric(calls.labels, calls.received, self._began_at)
            sent.add_metric(calls.labels, calls.sent, self._began_at)
            for code, name in CODES.items():
                ended = calls.succeeded if code is OK else calls.failed[code]
                handled.add_metric((*calls.labels, name), ended, self._began_at)
            bounds = [*map(floatToGoString, BUCKETS), "+Inf"]
            buckets = list(zip(bounds, accumulate(calls.in_bucket), strict=True))
            seconds.add_metric(calls.labels, buckets, calls.seconds)
            labels = dict(zip(LABELS, calls.labels, strict=True))
            seconds.add_sample(f"{seconds.name}_created", labels, self._began_at)
        if self._unknown:
            started.add_metric(UNKNOWN_METHOD, self._unknown, self._began_at)
            handled.add_metric((*UNKNOWN_METHOD, "Unimplemented"), self._unknown, self._began_at)
        return iter((started, handled, seconds, received, sent))

    @staticmethod
    def _counter(name: str, text: str, *more_labels: str) -> CounterMetricFamily:
        return CounterMetricFamily(name, text, labels=(*LABELS, *more_labels))
