"""Spans that are kept in memory, and a collector that takes them by OTLP."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler

from reprise.http.tracing.spans import SpanTracing
from support.http_server import Answer, Request, http_server

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"
SAMPLED = f"00-{TRACE_ID}-{PARENT_ID}-01"
NOT_SAMPLED = f"00-{TRACE_ID}-{PARENT_ID}-00"


class KeptSpans:
    """Spans of a process that are looked at instead of exported."""

    def __init__(self, root: Sampler = ALWAYS_ON) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(ParentBased(root), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = SpanTracing(provider)

    def opened(self, *_: object) -> SpanTracing:
        """Stand in for ``open_tracing``."""
        return self.tracing

    def all(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    def request(self) -> ReadableSpan:
        """The span of the one request that was made."""
        [found] = [span for span in self.all() if not is_stage(span)]
        return found

    def stages(self) -> list[ReadableSpan]:
        return sorted((span for span in self.all() if is_stage(span)), key=lambda span: span.start_time or 0)


def is_stage(span: ReadableSpan) -> bool:
    return "http.request.method" not in (span.attributes or {})


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@dataclass(frozen=True)
class Received:
    """A span as a collector has it, with what its resource says."""

    span: Span
    resource: dict[str, str]

    @property
    def attributes(self) -> dict[str, Any]:
        given = {each.key: each.value for each in self.span.attributes}
        return {key: getattr(value, str(value.WhichOneof("value"))) for key, value in given.items()}


class Collector:
    """Takes ``POST /v1/traces``."""

    def __init__(self) -> None:
        self._received: list[Received] = []
        self._more = Condition()
        self.url = ""

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        with self._more:
            for group in request.resource_spans:
                resource = {each.key: each.value.string_value for each in group.resource.attributes}
                for scope in group.scope_spans:
                    self._received += [Received(span, resource) for span in scope.spans]
            self._more.notify_all()

    def wait_for(self, count: int, seconds: float = 30.0) -> list[Received]:
        """Return what was received once there are so many spans."""
        with self._more:
            enough = self._more.wait_for(lambda: len(self._received) >= count, seconds)
            assert enough, f"{len(self._received)} spans of {count} came: {self._received}"
            return list(self._received)


@contextmanager
def collector() -> Iterator[Collector]:
    taken = Collector()

    def answer(request: Request) -> Answer:
        if (request.path, request.headers["content-type"]) != ("/v1/traces", "application/x-protobuf"):
            return Answer(404)
        taken.take(request.body)
        return Answer(200, ExportTraceServiceResponse().SerializeToString(), "application/x-protobuf")

    with http_server(answer) as taken.url:
        yield taken
