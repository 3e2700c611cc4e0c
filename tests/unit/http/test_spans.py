"""Spans of requests, by OpenTelemetry's own exporter in memory."""

import asyncio
import io
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

import orjson
import pytest
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import CollectorRegistry
from starlette.types import Scope

from reprise.http.app import create_http_app
from reprise.http.metrics import DependencyMetrics, LoopHistogram
from reprise.http.middleware.access_log import AccessLog
from reprise.http.middleware.fast_path import add_fast_route
from reprise.http.problems import NOT_READY, ProblemError
from support.traces import NOT_SAMPLED, PARENT_ID, SAMPLED, TRACE_ID, KeptSpans, attributes


@contextmanager
def service(spans: KeptSpans | None, log: io.StringIO | None = None) -> Iterator[TestClient]:
    registry = CollectorRegistry()
    tracing = None if spans is None else spans.tracing
    histogram = LoopHistogram("stage_seconds", "Of stages.", ("stage",), (0.1, 1.0), registry)
    first, fetch, use = (histogram.of(name) for name in ("first", "fetch", "use"))
    if tracing is not None:
        first, use = tracing.staged("first", first), tracing.staged("use", use)
        fetch = tracing.staged("fetch", fetch, "client", {"of": "it"})
    store = DependencyMetrics(registry, None if tracing is None else tracing.failed).of("store")
    app = create_http_app(
        title="t",
        description="d",
        registry=registry,
        readiness=list,
        access_log=None if log is None else AccessLog(ids=False, json=True),
        tracing=tracing,
    )

    async def work(scope: Scope, body: bytes) -> bytes:
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        first(time.perf_counter() - began)
        for stage in (fetch, use):
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            stage(time.perf_counter() - began)
        return body

    async def many(scope: Scope, body: bytes) -> bytes:
        for _ in range(int(body)):
            first(0.0)
        return body

    async def unavailable(scope: Scope, body: bytes) -> bytes:
        with pytest.raises(ConnectionError), store.timed():
            raise ConnectionError("u-1 is not to be read")
        raise ProblemError(NOT_READY, "The store is away.")

    for path, handler in (("/work", work), ("/many", many), ("/unavailable", unavailable)):
        add_fast_route(app, "POST", path, handler, summary=path)

    @app.get("/of/{user_id}")
    async def of(user_id: str) -> str:
        if user_id == "broken":
            raise RuntimeError(user_id)
        return user_id

    with redirect_stderr(log or sys.stderr), TestClient(app, raise_server_exceptions=False) as client:
        yield client


def ids(span: ReadableSpan) -> tuple[str, str]:
    """The ids of a span's trace and of its parent."""
    assert span.context is not None
    return f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}" if span.parent else ""


@pytest.fixture
def spans() -> KeptSpans:
    return KeptSpans()


def test_a_request_is_a_span_of_the_trace_that_it_brings(spans: KeptSpans) -> None:
    with service(spans) as client:
        answer = client.post("/work", content=b"1", headers={"traceparent": SAMPLED, "tracestate": "shop=7"})
    span = spans.request()
    assert answer.headers["traceparent"] == SAMPLED
    assert (ids(span), span.kind) == ((TRACE_ID, PARENT_ID), SpanKind.SERVER)
    assert span.context is not None
    assert span.context.trace_state.to_header() == "shop=7"


@pytest.mark.parametrize(
    ("method", "path", "name", "status"),
    [
        ("POST", "/work", "POST /work", 200),
        ("GET", "/of/u-secret?q=u-secret", "GET /of/{user_id}", 200),
        ("BREW", "/nothing/u-secret", "HTTP", 404),
        ("POST", "/work", "POST /work", 415),
        ("GET", "/of/broken", "GET /of/{user_id}", 500),
        ("POST", "/unavailable", "POST /unavailable", 503),
    ],
    ids=["fast route", "id in the address", "no route", "client's fault", "broken handler", "unavailable"],
)
def test_span_has_route_status_and_a_fault_of_the_service_but_no_id(
    spans: KeptSpans, method: str, path: str, name: str, status: int
) -> None:
    headers = {"content-type": "text/csv"} if status == 415 else {}
    with service(spans) as client:
        assert client.request(method, path, headers=headers).status_code == status
    span, route = spans.request(), name.partition(" ")[2]
    expected: dict[str, str | int] = {"network.protocol.version": "1.1", "url.scheme": "http"}
    expected |= {"http.request.method": method if route else "_OTHER", "http.response.status_code": status}
    expected |= ({"http.route": route} if route else {}) | (
        {"error.type": str(status)} if status >= 500 else {}
    )
    assert (span.name, attributes(span)) == (name, expected)
    assert span.status.status_code is (StatusCode.ERROR if status >= 500 else StatusCode.UNSET)
    assert "u-secret" not in span.to_json()


def test_stages_are_spans_below_it_one_after_the_other(spans: KeptSpans) -> None:
    with service(spans) as client:
        client.post("/work", content=b"1", headers={"traceparent": SAMPLED})
    whole = spans.request()
    stages = {span.name: span for span in spans.stages()}
    assert list(stages) == ["first", "fetch", "use"]
    assert whole.context is not None
    times = [whole.start_time or 0]
    for stage in stages.values():
        assert ids(stage) == (TRACE_ID, f"{whole.context.span_id:016x}")
        times += [stage.start_time or 0, stage.end_time or 0]
    assert times == sorted(times)
    assert times[-1] <= (whole.end_time or 0)
    assert (stages["fetch"].kind, attributes(stages["fetch"])) == (SpanKind.CLIENT, {"of": "it"})


def test_a_request_that_its_caller_does_not_sample_makes_no_span(spans: KeptSpans) -> None:
    with service(spans) as client:
        answer = client.post("/work", content=b"1", headers={"traceparent": NOT_SAMPLED})
    assert answer.headers["traceparent"] == NOT_SAMPLED
    assert spans.all() == ()


def test_a_request_without_a_trace_begins_one_that_its_answer_and_its_log_line_name(spans: KeptSpans) -> None:
    log = io.StringIO()
    with service(spans, log) as client:
        answer = client.post("/work", content=b"1", headers={"traceparent": "00-zz"})
    span = spans.request()
    assert span.parent is None
    assert span.context is not None
    assert span.context.trace_flags.sampled
    trace_id, span_id = ids(span)[0], f"{span.context.span_id:016x}"
    assert answer.headers["traceparent"] == f"00-{trace_id}-{span_id}-{span.context.trace_flags:02x}"
    [line] = [orjson.loads(line) for line in log.getvalue().splitlines() if '"request"' in line]
    assert (line["trace_id"], line["parent_id"]) == (trace_id, span_id)


def test_a_request_that_is_not_sampled_begins_no_trace() -> None:
    spans = KeptSpans(ALWAYS_OFF)
    with service(spans) as client:
        assert "traceparent" not in client.post("/work", content=b"1").headers
        client.post("/work", content=b"1", headers={"traceparent": SAMPLED})
    assert len(spans.stages()) == 3


def test_what_an_application_raises_through_is_an_error_and_is_raised(spans: KeptSpans) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("u-secret")

    app = spans.tracing.middleware(broken)
    with pytest.raises(RuntimeError, match="u-secret"):
        TestClient(app).get("/")
    span = spans.request()
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)["error.type"] == "RuntimeError"
    assert "u-secret" not in span.to_json()


def test_a_dependency_that_fails_is_an_event_without_its_message(spans: KeptSpans) -> None:
    with service(spans) as client:
        client.post("/unavailable", content=b"1")
    span = spans.request()
    [event] = span.events
    assert event.name == "dependency_failed"
    assert dict(event.attributes or {}) == {
        "reprise.dependency": "store",
        "error.type": "ConnectionError",
        "reprise.times": 1,
    }
    assert "u-1" not in span.to_json()


def test_probes_and_scrapes_are_not_traced(spans: KeptSpans) -> None:
    with service(spans) as client:
        for path in ("/health", "/ready", "/metrics"):
            assert client.get(path, headers={"traceparent": SAMPLED}).status_code == 200
    assert spans.all() == ()


def test_stages_beyond_the_most_are_counted_on_the_span(spans: KeptSpans) -> None:
    with service(spans) as client:
        client.post("/many", content=b"130")
    assert len(spans.stages()) == 128
    assert attributes(spans.request())["reprise.stages_left_out"] == 2


def test_stages_of_requests_do_not_mix(spans: KeptSpans) -> None:
    with service(spans) as client:
        client.post("/many", content=b"2")
        client.post("/work", content=b"1", headers={"traceparent": NOT_SAMPLED})
        client.post("/many", content=b"1")
    parents = [span.parent.span_id for span in spans.stages() if span.parent]
    assert sorted(map(parents.count, set(parents))) == [1, 2]


def test_where_traces_are_off_nothing_stands_before_the_base_middleware() -> None:
    parts: dict[str, Any] = {"title": "t", "description": "d", "readiness": list}
    off = create_http_app(registry=CollectorRegistry(), **parts)
    on = create_http_app(registry=CollectorRegistry(), tracing=KeptSpans().tracing, **parts)
    assert len(on.user_middleware) == len(off.user_middleware) + 1
