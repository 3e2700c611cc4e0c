"""A span for each request and each of its stages, made from the times that the metrics measure."""

import asyncio
import threading
import time
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reprise.http.health import OPERATIONS_PATHS
from reprise.http.histogram import Observe
from reprise.http.tracing.stages import Stage
from reprise.http.tracing.trace_context import parse_traceparent, route_of
from reprise.runtime.logs import get_logger

_log = get_logger(__name__)
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"))
_KINDS = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT, "producer": SpanKind.PRODUCER}
_MAX_STAGES = 128
_CLOSE_SECONDS = 5.0


class _Observation(NamedTuple):
    """The duration of a stage, observed ``at`` a time of ``time.perf_counter``."""

    stage: Stage
    seconds: float
    at: float


@dataclass(slots=True)
class _Failure:
    """Number of failures of one kind, and the time of the first by ``time.perf_counter``."""

    at: float
    times: int = 0


class _RequestTrace:
    """What was observed of one request, until its span is made."""

    __slots__ = ("dropped", "failures", "observations", "started", "started_ns")

    def __init__(self) -> None:
        self.started_ns = time.time_ns()
        self.started = time.perf_counter()
        self.observations: list[_Observation] = []
        self.failures: dict[tuple[str, str], _Failure] = {}
        self.dropped = 0

    def nanoseconds(self, at: float) -> int:
        """Return a time of ``time.perf_counter`` in nanoseconds since 1970-01-01 UTC."""
        return self.started_ns + round((at - self.started) * 1e9)

    def times(self) -> list[tuple[float, float]]:
        """Return start and end of each observation, by ``time.perf_counter``."""
        found: list[tuple[float, float]] = []
        after: tuple[str, float] | None = None
        for stage, seconds, at in reversed(self.observations):
            end = at if after is None or stage.before != after[0] else min(at, after[1])
            start = max(self.started, end - seconds)
            found.append((start, end))
            after = stage.name, start
        return found[::-1]


_request_trace: ContextVar[_RequestTrace | None] = ContextVar("reprise_request_trace", default=None)


class SpanTracing:
    """Makes spans by OpenTelemetry's SDK; see ``Tracing``.

    Args:
        provider: Samples requests and takes spans; ``close`` shuts it down.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("reprise")

    def staged(self, stage: Stage, observe: Observe) -> Observe:
        """Return an observer that passes seconds on to ``observe`` and adds them to the request's trace."""

        def traced(seconds: float) -> None:
            observe(seconds)
            trace = _request_trace.get()
            if trace is None:
                return
            if len(trace.observations) < _MAX_STAGES:
                trace.observations.append(_Observation(stage, seconds, time.perf_counter()))
            else:
                trace.dropped += 1

        return traced

    def failed(self, dependency: str, error: BaseException) -> None:
        """Add the failure of a dependency to the request's trace."""
        trace = _request_trace.get()
        if trace is not None:
            key = dependency, type(error).__name__
            trace.failures.setdefault(key, _Failure(time.perf_counter())).times += 1

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """Wrap an application, and make a span of each request."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["path"] in OPERATIONS_PATHS:
                await app(scope, receive, send)
                return
            trace = _RequestTrace()
            span = self._start_span(scope, trace.started_ns)
            if span.is_recording():
                await self._record(app, scope, receive, send, span, trace)
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

    def _start_span(self, scope: Scope, started_ns: int) -> Span:
        context, has_parent = _parent_context(scope["headers"])
        method = _method(scope)
        span = self._tracer.start_span(
            method or "HTTP",
            context,
            SpanKind.SERVER,
            # url.path is omitted: it may contain the id of a user.
            {
                "http.request.method": method or "_OTHER",
                "url.scheme": scope["scheme"],
                "network.protocol.version": scope["http_version"],
            },
            start_time=started_ns,
        )
        if not has_parent and span.is_recording():
            # Logs and the response then name this new trace as they name one from the request.
            own = span.get_span_context()
            header = f"00-{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags:02x}"
            scope["headers"] = [*scope["headers"], (b"traceparent", header.encode())]
        return span

    async def _record(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, span: Span, trace: _RequestTrace
    ) -> None:
        status = 0
        failure: str | None = None

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        token = _request_trace.set(trace)
        try:
            await app(scope, receive, send_and_note)
        except BaseException as error:
            failure = type(error).__name__
            raise
        finally:
            _request_trace.reset(token)
            ended = time.perf_counter()
            _set_outcome(span, scope, status, failure)
            self._add_stages(span, trace)
            span.end(trace.nanoseconds(ended))

    def _add_stages(self, span: Span, trace: _RequestTrace) -> None:
        for (dependency, kind), failure in trace.failures.items():
            span.add_event(
                "dependency_failed",
                {"reprise.dependency": dependency, "error.type": kind, "reprise.times": failure.times},
                trace.nanoseconds(failure.at),
            )
        if trace.dropped:
            span.set_attribute("reprise.stages_left_out", trace.dropped)
        parent = set_span_in_context(span, Context())
        for (stage, _, _), (start, end) in zip(trace.observations, trace.times(), strict=True):
            child = self._tracer.start_span(
                stage.name,
                parent,
                _KINDS[stage.kind],
                stage.attributes,
                start_time=trace.nanoseconds(start),
            )
            child.end(trace.nanoseconds(end))


def _parent_context(headers: Sequence[tuple[bytes, bytes]]) -> tuple[Context, bool]:
    """Return the context of a request's ``traceparent``, which its log line names too, and whether there is one."""
    parent: SpanContext | None = None
    states = []
    for name, value in headers:
        if name == b"traceparent" and (trace := parse_traceparent(value)) is not None:
            # The flags are at the same place in every version.
            flags = TraceFlags(int(value[53:55], 16))
            parent = SpanContext(int(trace.trace_id, 16), int(trace.parent_id, 16), True, flags)
        elif name == b"tracestate":
            states.append(value.decode("latin-1"))
    if parent is None:
        return Context(), False
    if states:
        state = TraceState.from_header(states)
        parent = SpanContext(parent.trace_id, parent.span_id, True, parent.trace_flags, state)
    return set_span_in_context(NonRecordingSpan(parent), Context()), True


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
