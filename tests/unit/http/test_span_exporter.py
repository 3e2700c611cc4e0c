"""The queue before the collector, and what is counted of it."""

import sys
import threading
from collections.abc import Sequence

import pytest
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry
from starlette.responses import Response

from reprise.http.tracing.exporter import CountingProcessor
from reprise.http.tracing.factory import open_tracing
from reprise.runtime.exceptions import InvalidSettingsError
from reprise.runtime.settings import TraceSettings
from support.traces import SAMPLED, collector


class BlockedExporter(SpanExporter):
    """An exporter that waits until it is let go; then it gives ``result``, or raises it."""

    def __init__(self, result: SpanExportResult | Exception = SpanExportResult.SUCCESS) -> None:
        self.result = result
        self.entered = threading.Event()
        self.let_go = threading.Event()
        self.names: list[str] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.entered.set()
        assert self.let_go.wait(30)
        self.names += [span.name for span in spans]
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def shutdown(self) -> None:
        self.let_go.set()


def counted(registry: CollectorRegistry) -> dict[str, float]:
    return {
        outcome: registry.get_sample_value("reprise_trace_spans_total", {"outcome": outcome}) or 0.0
        for outcome in ("exported", "failed", "dropped")
    }


def processed(exporter: SpanExporter) -> tuple[TracerProvider, CollectorRegistry]:
    registry, provider = CollectorRegistry(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(CountingProcessor(exporter, 4, registry))
    return provider, registry


def test_spans_that_find_the_queue_full_are_dropped_and_counted_and_nobody_waits() -> None:
    exporter = BlockedExporter()
    provider, registry = processed(exporter)
    tracer = provider.get_tracer("t")
    for number in range(4):
        tracer.start_span(f"a{number}").end()
    assert exporter.entered.wait(30)
    for number in range(10):
        tracer.start_span(f"b{number}").end()
    assert counted(registry) == {"exported": 0, "failed": 0, "dropped": 6}
    exporter.let_go.set()
    provider.shutdown()
    assert sorted(exporter.names) == ["a0", "a1", "a2", "a3", "b0", "b1", "b2", "b3"]
    assert counted(registry) == {"exported": 8, "failed": 0, "dropped": 6}


@pytest.mark.parametrize("result", [SpanExportResult.FAILURE, RuntimeError("away")])
def test_spans_that_the_collector_does_not_take_are_counted(result: SpanExportResult | Exception) -> None:
    exporter = BlockedExporter(result)
    exporter.let_go.set()
    provider, registry = processed(exporter)
    provider.get_tracer("t").start_span("a").end()
    provider.shutdown()
    assert counted(registry) == {"exported": 0, "failed": 1, "dropped": 0}


def test_nothing_is_opened_where_traces_are_off() -> None:
    registry = CollectorRegistry()
    assert open_tracing(TraceSettings.load(), "reprise-http", registry) is None
    assert list(registry.collect()) == []


@pytest.mark.parametrize(("configured", "name"), [(None, "reprise-http"), ("shop", "shop")])
async def test_a_span_that_waits_is_exported_at_the_end_with_the_name_of_the_service(
    monkeypatch: pytest.MonkeyPatch, configured: str | None, name: str
) -> None:
    if configured is not None:
        monkeypatch.setenv("OTEL_SERVICE_NAME", configured)
    with collector() as taken:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", taken.url + "/")
        tracing = open_tracing(TraceSettings.load(traces=True), "reprise-http", CollectorRegistry())
        assert tracing is not None
        TestClient(tracing.middleware(Response())).get("/", headers={"traceparent": SAMPLED})
        await tracing.close()
        [received] = taken.wait_for(1)
        assert received.resource["service.name"] == name
        assert received.resource["service.version"]
        assert received.resource["service.instance.id"]


@pytest.mark.parametrize(
    ("sampler", "argument", "expected"),
    [
        ("always_off", 1.0, "AlwaysOffSampler"),
        ("parentbased_traceidratio", 0.5, "ParentBased{root:TraceIdRatioBased{0.5},"),
        (None, 1.0, "ParentBased{root:AlwaysOnSampler,"),
    ],
)
async def test_samplers_have_opentelemetrys_names(
    monkeypatch: pytest.MonkeyPatch, sampler: str | None, argument: float, expected: str
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", str(argument))
    if sampler is not None:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    tracing = open_tracing(TraceSettings.load(traces=True), "reprise-http", CollectorRegistry())
    assert tracing is not None
    provider = tracing._provider  # type: ignore[attr-defined]
    assert provider.sampler.get_description().startswith(expected)
    await tracing.close()


def test_traces_without_the_sdk_are_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "reprise.http.tracing.exporter")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(InvalidSettingsError) as caught:
        open_tracing(TraceSettings.load(traces=True), "reprise-http", CollectorRegistry())
    assert "REPRISE_TRACES: opentelemetry.sdk.resources is not installed" in str(caught.value)
    assert "install reprise[otel], or use an image built with OTEL=1" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("OTEL_TRACES_SAMPLER", "sometimes", "OTEL_TRACES_SAMPLER"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL: only http/protobuf is"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1", r"OTEL_\*: schedule_delay_millis must be positive"),
    ],
)
def test_a_variable_that_cannot_be_followed_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettingsError, match=told):
        open_tracing(TraceSettings.load(traces=True), "reprise-http", CollectorRegistry())
