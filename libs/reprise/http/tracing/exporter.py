"""Export of spans by OTLP: a bounded queue, a thread that sends batches, and counts of lost spans.

The SDK reads the variables that ``TraceSettings`` documents and validates.
"""

import os
import socket
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import (
    OTEL_EXPORTER_OTLP_PROTOCOL,
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL,
)
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry, Counter

from reprise.http.metrics import installed_version
from reprise.http.tracing.spans import SpanTracing
from reprise.runtime.exceptions import InvalidSettingsError

_BATCH = 512
_PROTOCOL = "http/protobuf"


def build_span_tracing(distribution: str, queue: int, registry: CollectorRegistry) -> SpanTracing:
    """Return the tracing that sends spans to the collector of OpenTelemetry's variables.

    Args:
        distribution: Name of the component, such as ``reprise-predictor``.
        queue: Maximum number of queued spans.
        registry: Where spans are counted.

    Raises:
        InvalidSettingsError: A variable of OpenTelemetry's is unsupported or invalid.
    """
    for name in (OTEL_EXPORTER_OTLP_TRACES_PROTOCOL, OTEL_EXPORTER_OTLP_PROTOCOL):
        if os.environ.get(name, _PROTOCOL) != _PROTOCOL:
            raise InvalidSettingsError([f"{name}: only {_PROTOCOL} is supported, got {os.environ[name]!r}"])
    ours = {
        "service.name": distribution,
        "service.version": installed_version(),
        # In Kubernetes the host name is the pod's name.
        "service.instance.id": socket.gethostname(),
    }
    # The variables take precedence over our attributes.
    resource = Resource.create(ours).merge(OTELResourceDetector().detect())
    try:
        processor = CountingProcessor(OTLPSpanExporter(), queue, registry)
    except ValueError as error:
        raise InvalidSettingsError([f"OTEL_*: {error}"]) from error
    # The application shuts it down, and does not wait as long.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return SpanTracing(provider)


class CountingProcessor(BatchSpanProcessor):
    """A batch processor of at most ``capacity`` queued spans that counts the dropped ones; the SDK's only logs them."""

    def __init__(self, exporter: SpanExporter, capacity: int, registry: CollectorRegistry) -> None:
        spans = Counter(
            "reprise_trace_spans",
            "Spans of sampled requests by outcome: exported, failed (refused by the collector), dropped (queue full);"
            " only with traces on.",
            ("outcome",),
            registry=registry,
        )
        self._dropped = spans.labels("dropped")
        self._capacity = capacity
        self._queued = 0
        self._counted = _CountedExporter(exporter, spans.labels("exported"), spans.labels("failed"))
        super().__init__(self._counted, max_queue_size=capacity, max_export_batch_size=min(_BATCH, capacity))

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span that has ended, on the event loop."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        if self._queued - self._counted.taken >= self._capacity:
            self._dropped.inc()
            return
        # The event loop writes this and the exporting thread writes ``taken``, so neither needs a lock.
        self._queued += 1
        super().on_end(span)


class _CountedExporter(SpanExporter):
    def __init__(self, exporter: SpanExporter, exported: Counter, failed: Counter) -> None:
        self._exporter = exporter
        self._exported = exported
        self._failed = failed
        self.taken = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            outcome = self._exported if result is SpanExportResult.SUCCESS else self._failed
            outcome.inc(len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()
