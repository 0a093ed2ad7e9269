"""Traces by OpenTelemetry: off, and free, unless an endpoint is set."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

# A stop waits this long for a collector that is away.
EXPORT_SECONDS = 2
Metadata = tuple[tuple[str, str | bytes], ...]
Span = Callable[[str, Metadata], AbstractContextManager[None]]


def no_span(_path: str, _metadata: Metadata) -> AbstractContextManager[None]:
    """Trace nothing."""
    return nullcontext()


def spans_to(endpoint: str, service: str) -> Span:
    """Return what makes a span of each unary call and sends it to an OTLP endpoint over gRPC.

    The caller's `traceparent` is its parent. A collector that is away costs nothing but the
    spans: they are sent in the background from a bounded queue. Needs the extra `telemetry`.
    """
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    provider = TracerProvider(resource=Resource.create({"service.name": f"vafa-{service}"}))
    exporter = OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("vafa")
    propagator = TraceContextTextMapPropagator()

    @contextmanager
    def span(path: str, metadata: Metadata) -> Iterator[None]:
        carrier = {key: value for key, value in metadata if isinstance(value, str)}
        parent = propagator.extract(carrier)
        with tracer.start_as_current_span(
            path.lstrip("/"), context=parent, kind=trace.SpanKind.SERVER
        ):
            yield

    return span
