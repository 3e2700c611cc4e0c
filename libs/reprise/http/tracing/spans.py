"""A span for each request, and one for each of its stages, made of the times that are measured anyway."""

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

from reprise.http.histogram import Observe
from reprise.http.tracing.stages import Stage
from reprise.http.tracing.trace_context import parse_traceparent
from reprise.runtime.logs import get_logger

_log = get_logger(__name__)
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"))
_OF_OPERATION = frozenset(("/health", "/ready", "/metrics"))
_KINDS = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT, "producer": SpanKind.PRODUCER}
_MOST_STAGES = 128
_CLOSE_SECONDS = 5.0


class _Note(NamedTuple):
    """A stage of a request; ``at`` is when it was noted, by ``time.perf_counter``."""

    stage: Stage
    seconds: float
    at: float


@dataclass(slots=True)
class _Failure:
    """How often a dependency failed in one way, and when first, by ``time.perf_counter``."""

    at: float
    times: int = 0


class _Notes:
    """What is noted of one request that is traced, until its span is made."""

    __slots__ = ("began", "began_ns", "failures", "left_out", "stages")

    def __init__(self) -> None:
        self.began_ns = time.time_ns()
        self.began = time.perf_counter()
        self.stages: list[_Note] = []
        self.failures: dict[tuple[str, str], _Failure] = {}
        self.left_out = 0

    def nanoseconds(self, at: float) -> int:
        """Return an instant of ``time.perf_counter`` in nanoseconds since 1970-01-01 UTC."""
        return self.began_ns + round((at - self.began) * 1e9)


_notes: ContextVar[_Notes | None] = ContextVar("reprise_notes", default=None)


class SpanTracing:
    """Makes spans by OpenTelemetry's SDK; see ``Tracing``.

    Args:
        provider: Samples the requests, and takes the spans; it is shut down at the end.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("reprise")

    def staged(self, stage: Stage, observe: Observe) -> Observe:
        """Return the function that passes on what it is given, and notes it in the trace of the request."""

        def noting(seconds: float) -> None:
            observe(seconds)
            notes = _notes.get()
            if notes is None:
                return
            if len(notes.stages) < _MOST_STAGES:
                notes.stages.append(_Note(stage, seconds, time.perf_counter()))
            else:
                notes.left_out += 1

        return noting

    def failed(self, dependency: str, error: BaseException) -> None:
        """Note in the trace of the request that a service it depends on has failed."""
        notes = _notes.get()
        if notes is not None:
            key = dependency, type(error).__name__
            notes.failures.setdefault(key, _Failure(time.perf_counter())).times += 1

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """Return what stands before an application and makes a span of each request."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["path"] in _OF_OPERATION:
                await app(scope, receive, send)
                return
            notes = _Notes()
            span = self._begin(scope, notes.began_ns)
            if span.is_recording():
                await self._pass_on(app, scope, receive, send, span, notes)
            else:
                await app(scope, receive, send)

        return traced

    async def close(self) -> None:
        """Export what is left, for a few seconds at most."""
        # The SDK waits half a minute for a collector that does not answer; a thread of its own ends with the process.
        closing = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, _CLOSE_SECONDS)
        if closing.is_alive():
            _log.warning("spans_left_behind", seconds=_CLOSE_SECONDS)

    def _begin(self, scope: Scope, began_ns: int) -> Span:
        context, known = _context_of(scope["headers"])
        method = _method(scope)
        span = self._tracer.start_span(
            method or "HTTP",
            context,
            SpanKind.SERVER,
            # url.path is left out: it may hold the id of a user.
            {
                "http.request.method": method or "_OTHER",
                "url.scheme": scope["scheme"],
                "network.protocol.version": scope["http_version"],
            },
            start_time=began_ns,
        )
        if not known and span.is_recording():
            # Logs and the answer name the trace that was begun here as they name one that was brought.
            made = span.get_span_context()
            header = f"00-{made.trace_id:032x}-{made.span_id:016x}-{made.trace_flags:02x}"
            scope["headers"] = [*scope["headers"], (b"traceparent", header.encode())]
        return span

    async def _pass_on(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, span: Span, notes: _Notes
    ) -> None:
        status = 0
        failure: str | None = None

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        token = _notes.set(notes)
        try:
            await app(scope, receive, noting)
        except BaseException as error:
            failure = type(error).__name__
            raise
        finally:
            _notes.reset(token)
            ended = time.perf_counter()
            _describe(span, scope, status, failure)
            self._add_stages(span, notes)
            span.end(notes.nanoseconds(ended))

    def _add_stages(self, span: Span, notes: _Notes) -> None:
        for (dependency, kind), failure in notes.failures.items():
            span.add_event(
                "dependency_failed",
                {"reprise.dependency": dependency, "error.type": kind, "reprise.times": failure.times},
                notes.nanoseconds(failure.at),
            )
        if notes.left_out:
            span.set_attribute("reprise.stages_left_out", notes.left_out)
        parent = set_span_in_context(span, Context())
        for note, (start, end) in zip(notes.stages, _times(notes), strict=True):
            stage = note.stage
            child = self._tracer.start_span(
                stage.name,
                parent,
                _KINDS[stage.kind],
                stage.attributes,
                start_time=notes.nanoseconds(start),
            )
            child.end(notes.nanoseconds(end))


def _context_of(headers: Sequence[tuple[bytes, bytes]]) -> tuple[Context, bool]:
    """Return the context that a request brings, and whether it brings any; the same one that its log line names."""
    brought: SpanContext | None = None
    states = []
    for name, value in headers:
        if name == b"traceparent" and (trace := parse_traceparent(value)) is not None:
            # The flags are at the same place in every version.
            flags = TraceFlags(int(value[53:55], 16))
            brought = SpanContext(int(trace.trace_id, 16), int(trace.parent_id, 16), True, flags)
        elif name == b"tracestate":
            states.append(value.decode("latin-1"))
    if brought is None:
        return Context(), False
    if states:
        state = TraceState.from_header(states)
        brought = SpanContext(brought.trace_id, brought.span_id, True, brought.trace_flags, state)
    return set_span_in_context(NonRecordingSpan(brought), Context()), True


def _method(scope: Scope) -> str | None:
    """Return the method of a request, ``None`` where HTTP knows none of that name."""
    method: str = scope["method"]
    return method if method in _METHODS else None


def _describe(span: Span, scope: Scope, status: int, failure: str | None) -> None:
    """Say what became of a request: its route, its status, and whether the service failed."""
    # The path itself may hold an id, its route does not.
    route = scope["path"] if "reprise.fast_path" in scope else getattr(scope.get("route"), "path", None)
    if route is not None:
        span.update_name(f"{_method(scope) or 'HTTP'} {route}")
        span.set_attribute("http.route", route)
    if status:
        span.set_attribute("http.response.status_code", status)
    if failure is not None or status >= 500:
        span.set_attribute("error.type", failure or str(status))
        span.set_status(Status(StatusCode.ERROR))


def _times(notes: _Notes) -> list[tuple[float, float]]:
    """Return when each stage began and ended, by ``time.perf_counter``."""
    found: list[tuple[float, float]] = []
    after: tuple[str, float] | None = None
    for stage, seconds, at in reversed(notes.stages):
        end = at if after is None or stage.before != after[0] else min(at, after[1])
        start = max(notes.began, end - seconds)
        found.append((start, end))
        after = stage.name, start
    return found[::-1]
