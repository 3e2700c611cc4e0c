"""A span for each request and each of its stages, by OpenTelemetry's SDK."""

import asyncio
import threading
import time
from contextvars import ContextVar

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reprise.http.health import OPERATIONS_PATHS
from reprise.http.histogram import Observe
from reprise.http.tracing.stages import Stage
from reprise.http.tracing.trace_context import route_of
from reprise.runtime.logs import get_logger

_log = get_logger(__name__)
_propagator = TraceContextTextMapPropagator()
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"))
_KINDS = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT, "producer": SpanKind.PRODUCER}
_MAX_STAGES = 128
_CLOSE_SECONDS = 5.0


class _Request:
    """What is observed of a request until its response is sent; then its span gets it.

    Attributes:
        stages: Each stage with its start and its end, nanoseconds since 1970-01-01 UTC.
        failures: The time of the first failure and the number of them, by dependency and class of the error.
        left_out: Number of stages beyond the maximum.
    """

    __slots__ = ("_clock_offset_ns", "failures", "left_out", "stages")

    def __init__(self) -> None:
        self.stages: list[tuple[Stage, int, int]] = []
        self.failures: dict[tuple[str, str], tuple[int, int]] = {}
        self.left_out = 0
        self._clock_offset_ns = time.time_ns() - time.perf_counter_ns()

    def now_ns(self) -> int:
        """Return nanoseconds since 1970-01-01 UTC, which never go back within a request."""
        return self._clock_offset_ns + time.perf_counter_ns()

    def add(self, stage: Stage, seconds: float) -> None:
        """Add a stage that ends now."""
        if len(self.stages) < _MAX_STAGES:
            end = self.now_ns()
            self.stages.append((stage, end - round(seconds * 1e9), end))
        else:
            self.left_out += 1

    def add_failure(self, dependency: str, error: BaseException) -> None:
        """Add a failure of a dependency, now."""
        kind = dependency, type(error).__name__
        first, times = self.failures.get(kind) or (self.now_ns(), 0)
        self.failures[kind] = first, times + 1


_current: ContextVar[_Request | None] = ContextVar("reprise_traced_request", default=None)


class SpanTracing:
    """Makes spans by OpenTelemetry's SDK; see ``Tracing``.

    Args:
        provider: Samples requests and takes spans; ``close`` shuts it down.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("reprise")

    def staged(self, stage: Stage, observe: Observe) -> Observe:
        """Return an observer that passes seconds on to ``observe`` and adds a stage that ends now."""

        def traced(seconds: float) -> None:
            observe(seconds)
            if (request := _current.get()) is not None:
                request.add(stage, seconds)

        return traced

    def failed(self, dependency: str, error: BaseException) -> None:
        """Add the failure of a dependency to the request's span."""
        if (request := _current.get()) is not None:
            request.add_failure(dependency, error)

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """Wrap an application, and make a span of each request."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["path"] in OPERATIONS_PATHS:
                await app(scope, receive, send)
                return
            span = self._start_span(scope)
            if span.is_recording():
                await self._record(app, scope, receive, send, span)
            else:
                await app(scope, receive, send)

        return traced

    async def close(self) -> None:
        """Export the remaining spans, within a few seconds."""
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
        method = _method(scope)
        # url.path is omitted: it may contain the id of a user.
        attributes = {
            "http.request.method": method or "_OTHER",
            "url.scheme": scope["scheme"],
            "network.protocol.version": scope["http_version"],
        }
        span = self._tracer.start_span(method or "HTTP", parent, SpanKind.SERVER, attributes)
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
        for stage, start, end in request.stages:
            kind = _KINDS[stage.kind]
            self._tracer.start_span(stage.name, parent, kind, stage.attributes, start_time=start).end(end)


def _method(scope: Scope) -> str | None:
    """Return the method of a request, ``None`` if it is not a standard one."""
    method: str = scope["method"]
    return method if method in _METHODS else None


def _set_outcome(span: Span, scope: Scope, status: int, failure: str | None) -> None:
    """Set a request's route and status, and whether the service failed."""
    route = route_of(scope)
    if route is not None:
        span.update_name(f"{_method(scope) or 'HTTP'} {route}")
        span.set_attribute("http.route", route)
    if status:
        span.set_attribute("http.response.status_code", status)
    if failure is not None or status >= 500:
        span.set_attribute("error.type", failure or str(status))
        span.set_status(Status(StatusCode.ERROR))
