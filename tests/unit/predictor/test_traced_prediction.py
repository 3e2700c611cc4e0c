"""What a trace tells of a prediction."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from reprise.store.exceptions import StoreUnavailableError
from support.fake_log import FakeLogProducer
from support.predictor import RunningPredictor, published, running_predictor
from support.served_bundles import bundle_files
from support.traces import SAMPLED, TRACE_ID, KeptSpans, attributes
from support.waiting import wait_until

ASK = {"user_id": "u-secret", "product_id": "p-secret"}
TRACED = {"traceparent": SAMPLED}
STAGES = ["validate", "read", "finish", "infer", "encode"]


@pytest.fixture
def spans() -> KeptSpans:
    return KeptSpans()


@pytest.fixture
def log() -> FakeLogProducer:
    return FakeLogProducer()


@pytest.fixture
def predictor(tmp_path: Path, spans: KeptSpans, log: FakeLogProducer) -> Iterator[RunningPredictor]:
    published(tmp_path, bundle_files())
    with running_predictor(tmp_path, log=log, trace=spans.opened, prediction_log=True) as running:
        yield running


@pytest.mark.parametrize(
    ("path", "body"), [("/predict", ASK), ("/predict/batch", {"requests": [ASK, {**ASK, "user_id": "u-2"}]})]
)
def test_a_prediction_is_a_span_with_its_stages(
    predictor: RunningPredictor, spans: KeptSpans, path: str, body: object
) -> None:
    predictor.client.post(path, json=body, headers=TRACED).raise_for_status()
    whole = spans.request()
    assert whole.name == f"POST {path}"
    assert [span.name for span in spans.stages()] == STAGES
    read = spans.stages()[1]
    assert (read.kind, attributes(read)) == (SpanKind.CLIENT, {"db.system.name": "redis"})
    assert whole.context is not None
    assert {span.parent.span_id for span in spans.stages() if span.parent} == {whole.context.span_id}
    assert {f"{span.context.trace_id:032x}" for span in spans.all() if span.context} == {TRACE_ID}
    for stage in STAGES:
        assert predictor.metric("reprise_predictor_stage_seconds_count", stage=stage) == 1


def test_no_span_holds_an_id(predictor: RunningPredictor, spans: KeptSpans) -> None:
    predictor.client.post("/predict?explain=all", json=ASK, headers=TRACED)
    predictor.client.get("/features/u-secret?product_id=p-secret", headers=TRACED).raise_for_status()
    predictor.client.post("/predict", json={**ASK, "amount": "p-secret"}, headers=TRACED)
    names = {span.name for span in spans.all()}
    assert {"POST /predict", "GET /features/{user_id:opaque}"} <= names
    assert not [span for span in spans.all() if "secret" in span.to_json()]


def test_unavailable_store_fails_the_span(predictor: RunningPredictor, spans: KeptSpans) -> None:
    predictor.reader.failure = StoreUnavailableError("read u-secret", "no answer")
    assert predictor.client.post("/predict", json=ASK, headers=TRACED).status_code == 503
    whole = spans.request()
    assert whole.status.status_code is StatusCode.ERROR
    [event] = whole.events
    assert (event.attributes or {})["error.type"] == "StoreUnavailableError"
    assert [span.name for span in spans.stages()] == ["validate"]
    assert "secret" not in whole.to_json()


def test_the_prediction_log_names_the_trace_that_was_begun(
    predictor: RunningPredictor, spans: KeptSpans, log: FakeLogProducer
) -> None:
    predictor.client.post("/predict", json=ASK).raise_for_status()
    wait_until("it is logged", lambda: len(log.appended) == 1, 5, every=0.005)
    context = spans.request().context
    assert context is not None
    assert f'"{context.trace_id:032x}"'.encode() in log.appended[0][2]
