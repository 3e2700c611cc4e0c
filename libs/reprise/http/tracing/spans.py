"""A span for each request and each of its stages, by OpenTelemetry's SDK."""

import asyncio
import threading
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import NamedTuple

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reprise.http.metrics import Observe
from reprise.http.operations import OPERATIONS_PATHS
from reprise.http.tracing.trace_context import StageKind, route_of
from reprise.runtime.logs import get_logger

_log = get_logger(__name__)
_propagator = TraceContextTextMapPropagator()
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"))
_MAX_STAGES = 128
_CLOSE_SECONDS = 5.0


class _Stage(NamedTuple):
    name: str
    kind: SpanKind
    attributes: Mapping[str, str] | None
    start: int
    end: int


class _Request:
    """What is observed of a request until its response is sent; then its span gets it."""

    __slots__ = ("_clock_offset_ns", "failures", "left_out", "stages")

    def __init__(self) -> None:
        self.stages: list[_Stage] = []
        self.left_out = 0  # Number of stages beyond the maximum
        # The time of the first failure and the number of them, by dependency and class of the error
        self.failures: dict[tuple[str, str], tuple[int, int]] = {}
        self._clock_offset_ns = time.time_ns() - time.perf_counter_ns()

    def now_ns(self) -> int:
        """Return nanoseconds since 1970-01-01 UTC, which never go back within a request."""
        return self._clock_offset_ns + time.perf_counter_ns()


_current: ContextVar[_Request | None] = ContextVar("reprise_traced_request", default=None)


class SpanTracing:
    """Implements ``Tracing``; ``close`` shuts the provider down."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("reprise")

    def staged(
        self,
        name: str,
        observe: Observe,
        kind: StageKind = "internal",
        attributes: Mapping[str, str] | None = None,
    ) -> Observe:
        """See ``Tracing``."""
        span_kind = SpanKind[kind.upper()]

        def traced(seconds: float) -> None:
            observe(seconds)
            if (request := _current.get()) is None:
                return
            if len(request.stages) < _MAX_STAGES:
                end = request.now_ns()
                request.stages.append(_Stage(name, span_kind, attributes, end - round(seconds * 1e9), end))
            else:
                request.left_out += 1

        return traced

    def failed(self, dependency: str, error: BaseException) -> None:
        """See ``Tracing``."""
        if (request := _current.get()) is not None:
            kind = dependency, type(error).__name__
            first, times = request.failures.get(kind) or (request.now_ns(), 0)
            request.failures[kind] = first, times + 1

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """See ``Tracing``."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["path"] not in OPERATIONS_PATHS:
                span = self._start_span(scope)
                if span.is_recording():
                    await self._record(app, scope, receive, send, span)
                    return
            await app(scope, receive, send)

        return traced

    async def close(self) -> None:
        """See ``Tracing``."""
        # The SDK waits 30 s for a collector that does not answer; this thread ends with the process.
        closing = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, _CLOSE_SECONDS)
        if closing.is_alive():
            _log.warning("spans_left_behind", seconds=_CLOSE_SECONDS)

    def _start_span(self, scope: Scope) -> Span:
        carrier: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            if name in {b"traceparent", b"tracestate"}:
                carrier.setdefault(name.decode(), []).append(value.decode("latin-1"))
        parent = _propagator.extract(carrier, Context())
        # url.path is omitted: it may contain the id of a user.
        attributes = {
            "http.request.method": scope["method"] if scope["method"] in _METHODS else "_OTHER",
            "url.scheme": scope["scheme"],
            "network.protocol.version": scope["http_version"],
        }
        span = self._tracer.start_span(_method(scope), parent, SpanKind.SERVER, attributes)
        if not parent and span.is_recording():
            # Logs and the response then name this new trace as they name one from the request.
            own: dict[str, str] = {}
            _propagator.inject(own, set_span_in_context(span, parent))
            scope["headers"] = [*scope["headers"], (b"traceparent", own["traceparent"].encode())]
        return span

    async def _record(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, span: Span) -> None:
        status = 0
        failure: str | None = None
        request = _Request()

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        token = _current.set(request)
        try:
            await app(scope, receive, send_and_note)
        except BaseException as error:
            failure = type(error).__name__
            raise
        finally:
            _current.reset(token)
            ended = request.now_ns()
            _set_outcome(span, scope, status, failure)
            self._add_observations(span, request)
            span.end(ended)

    def _add_observations(self, span: Span, request: _Request) -> None:
        for (dependency, error), (first, times) in request.failures.items():
            about: dict[str, str | int] = {
                "reprise.dependency": dependency,
                "error.type": error,
                "reprise.times": times,
            }
            span.add_event("dependency_failed", about, first)
        if request.left_out:
            span.set_attribute("reprise.stages_left_out", request.left_out)
        parent = set_span_in_context(span, Context())
        for stage in request.stages:
            child = self._tracer.start_span(
                stage.name, parent, stage.kind, stage.attributes, start_time=stage.start
            )
            child.end(stage.end)


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in _METHODS else "HTTP"


def _set_outcome(span: Span, scope: Scope, status: int, failure: str | None) -> None:
    route = route_of(scope)
    if route is not None:
        span.update_name(f"{_method(scope)} {route}")
        span.set_attribute("http.route", route)
    if status:
        span.set_attribute("http.response.status_code", status)
    if failure is not None or status >= 500:
        span.set_attribute("error.type", failure or str(status))
        span.set_status(Status(StatusCode.ERROR))
