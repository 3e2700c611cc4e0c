import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from reprise.bundle import BundleStore
from reprise.predictor.handlers.request_decoder import RequestDecoder
from reprise.routing import RoutingDocument, Share, allocate
from support.fake_log import FakeLogProducer
from support.predictor import RunningPredictor, published, running_predictor
from support.served_bundles import HUGE, bundle_files, small_plan
from support.waiting import wait_until

ASK = {"user_id": "u", "product_id": "p"}


@pytest.fixture
def log() -> FakeLogProducer:
    return FakeLogProducer()


@pytest.fixture
def predictor(tmp_path: Path, log: FakeLogProducer) -> Iterator[RunningPredictor]:
    published(tmp_path, bundle_files())
    with running_predictor(tmp_path, log, prediction_log=True) as running:
        yield running


def shadowed(predictor: RunningPredictor, candidate: str) -> None:
    baseline = predictor.context.configured_model.current.digest
    arms = allocate(baseline, [Share("quiet", candidate, 0, shadow=True)], {})
    predictor.route(RoutingDocument(generation=1, rollout="reprise/test", salt="s", arms=arms))


def scored(predictor: RunningPredictor, digest: str, outcome: str = "answered") -> float:
    return predictor.metric(
        "reprise_predictor_arm_answers_total", arm="quiet", digest=digest, outcome=outcome
    )


def test_shadow_scores_what_the_baseline_answers_and_is_logged_as_a_shadow(
    predictor: RunningPredictor, tmp_path: Path, log: FakeLogProducer
) -> None:
    candidate = BundleStore(str(tmp_path)).publish(bundle_files(bias=2.0))
    shadowed(predictor, candidate)
    trips = predictor.reader.round_trips
    answer = predictor.client.post("/predict", json={**ASK, "event_type": "purchase", "amount": 2.0}).json()
    batch = predictor.client.post("/predict/batch", json={"requests": [ASK] * 150}).json()
    assert {result["arm"] for result in [answer, *batch["results"]]} == {"baseline"}
    wait_until("every answer and every score is logged", lambda: len(log.appended) == 302, 5, every=0.005)
    assert predictor.reader.round_trips == trips + 2
    records = [json.loads(value) for _, _, value in log.appended]
    shadows = [record for record in records if record["shadow"]]
    assert len(shadows) == 151
    assert {(record["arm"], record["model_version"]) for record in shadows} == {("quiet", candidate)}
    assert {round(record["probability"], 4) for record in shadows} == {0.8808}
    assert {record["arm"] for record in records if not record["shadow"]} == {"baseline"}
    assert shadows[0]["amount"] == 2.0
    assert shadows[0]["features"]["request_amount"] == 2.0
    assert scored(predictor, candidate) == 151
    assert predictor.metric("reprise_predictor_arm_score_count", arm="quiet", digest=candidate) == 151


def test_failing_shadow_harms_no_answer(predictor: RunningPredictor, tmp_path: Path) -> None:
    candidate = BundleStore(str(tmp_path)).publish(bundle_files(bias=2.0, fails_on_huge_inputs=True))
    shadowed(predictor, candidate)
    broken = {**ASK, "event_type": "purchase", "amount": HUGE}
    assert predictor.client.post("/predict", json=broken).status_code == 200
    assert predictor.client.post("/predict/batch", json={"requests": [broken, ASK]}).status_code == 200
    wait_until(
        "the failures are counted", lambda: scored(predictor, candidate, "failed") == 3, 5, every=0.005
    )
    assert predictor.client.post("/predict", json=ASK).status_code == 200
    wait_until("it goes on scoring", lambda: scored(predictor, candidate) == 1, 5, every=0.005)


def test_shadow_of_another_plan_reads_its_own_rows(predictor: RunningPredictor, tmp_path: Path) -> None:
    plan = small_plan().to_dict()
    plan["entities"]["product"]["state"] = [{"kind": "count", "frame": "purchases"}]
    plan["entities"]["product"]["inputs"][0]["finish"] = {"kind": "value", "field": "purchases_count"}
    other = bundle_files(type(small_plan()).from_dict(plan), weights={"product_views": 1.0})
    candidate = BundleStore(str(tmp_path)).publish(other)
    shadowed(predictor, candidate)
    trips = predictor.reader.round_trips
    predictor.client.post("/predict", json=ASK)
    predictor.client.post("/predict/batch", json={"requests": [ASK, ASK]})
    wait_until("it scores", lambda: scored(predictor, candidate) == 3, 5, every=0.005)
    assert predictor.reader.round_trips == trips + 4


def test_response_does_not_wait_for_the_shadow_and_scores_beyond_the_capacity_are_dropped(
    tmp_path: Path,
) -> None:
    published(tmp_path, bundle_files())
    candidate = BundleStore(str(tmp_path)).publish(bundle_files(bias=2.0))
    with running_predictor(tmp_path, shadow_capacity=64) as predictor:
        shadowed(predictor, candidate)
        context = predictor.context
        request = RequestDecoder(("view",), 1).decode(json.dumps(ASK).encode())

        async def ask() -> tuple[float, float]:
            for _ in range(70):
                await context.service.predict(context.router.table, request)
            return scored(predictor, candidate), predictor.metric("reprise_predictor_shadow_waiting")

        assert predictor.call(ask) == (0, 64)
        assert predictor.metric("reprise_predictor_shadow_dropped_total") == 6
        wait_until("it scores afterwards", lambda: scored(predictor, candidate) == 64, 5, every=0.005)
        predictor.client.post("/predict/batch", json={"requests": [ASK] * 100})
        wait_until("a chunk is scored", lambda: scored(predictor, candidate) == 128, 5, every=0.005)
        assert predictor.metric("reprise_predictor_shadow_dropped_total") == 6 + 36
