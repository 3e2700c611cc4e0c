"""What a trace tells of events that were taken."""

import httpx
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import CollectorRegistry

from reprise.log import LogUnavailableError
from reprise.producer.app import create_app
from reprise.producer.metrics import ProducerMetrics
from reprise.producer.settings import ProducerSettings
from support.fake_log import FakeLogProducer
from support.traces import SAMPLED, TRACE_ID, KeptSpans, attributes

EVENT = {
    "event_id": "e-secret",
    "user_id": "u-secret",
    "product_id": "p-secret",
    "event_type": "view",
    "timestamp": "2026-01-01T00:00:00Z",
}


async def post(log: FakeLogProducer, spans: KeptSpans) -> int:
    settings = ProducerSettings(ack_timeout_seconds=0.1)
    metrics = ProducerMetrics(CollectorRegistry(), log.buffered, spans.tracing)
    app = create_app(settings, log, metrics, spans.tracing)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://producer"
    ) as client:
        answer = await client.post("/events", json=[EVENT, EVENT], headers={"traceparent": SAMPLED})
    return answer.status_code


async def test_events_are_a_span_with_their_append() -> None:
    spans = KeptSpans()
    assert await post(FakeLogProducer(), spans) == 202
    whole = spans.request()
    assert (whole.name, attributes(whole)["http.response.status_code"]) == ("POST /events", 202)
    [append] = spans.stages()
    assert (append.name, append.kind) == ("append", SpanKind.PRODUCER)
    assert attributes(append) == {
        "messaging.operation.type": "send",
        "messaging.destination.name": "ecommerce-events",
    }
    assert append.context is not None
    assert f"{append.context.trace_id:032x}" == TRACE_ID
    assert not [span for span in spans.all() if "secret" in span.to_json()]


async def test_a_log_that_refuses_is_an_event_of_the_span() -> None:
    spans = KeptSpans()
    log = FakeLogProducer()
    log.failure = lambda _: LogUnavailableError("kafka:9092")
    assert await post(log, spans) == 503
    whole = spans.request()
    assert whole.status.status_code is StatusCode.ERROR
    assert [dict(event.attributes or {}) for event in whole.events] == [
        {"reprise.dependency": "event_log", "error.type": "LogUnavailableError", "reprise.times": 2}
    ]
