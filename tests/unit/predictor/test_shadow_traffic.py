import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from reprise.bundle import BundleStore
from reprise.predictor.handlers.request_decoder import RequestDecoder
from reprise.predictor.metrics import ArmMetrics
from reprise.predictor.models.loaded_model import LoadedArm
from reprise.predictor.services.bundle_loader import load_bundle
from reprise.predictor.services.scorer import score_batch
from reprise.predictor.services.shadow_traffic import ShadowTraffic
from reprise.routing import RoutingDocument, Share, allocate
from support.fake_log import FakeLogProducer
from support.fake_reader import FakeReader
from support.predictor import NOW_US, RunningPredictor, published, running_predictor
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
    answer = predictor.client.post("/predict", json={**ASK, "amount": 2.0}).json()
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
    broken = {**ASK, "amount": HUGE}
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


def test_response_does_not_wait_for_the_shadow(predictor: RunningPredictor, tmp_path: Path) -> None:
    candidate = BundleStore(str(tmp_path)).publish(bundle_files(bias=2.0))
    shadowed(predictor, candidate)
    context = predictor.context
    request = RequestDecoder(("view",), 1).decode(json.dumps(ASK).encode())

    async def ask() -> tuple[float, float]:
        await context.service.predict(context.router.table, request)
        return scored(predictor, candidate), predictor.metric("reprise_predictor_shadow_waiting")

    assert predictor.call(ask) == (0, 1)
    wait_until("it scores afterwards", lambda: scored(predictor, candidate) == 1, 5, every=0.005)


def loaded_arm(tmp_path: Path, name: str, registry: CollectorRegistry) -> LoadedArm:
    store = BundleStore(str(tmp_path))
    model = load_bundle(store.fetch(store.publish(bundle_files())), "reprise")
    return LoadedArm(name, model, ArmMetrics(registry).meter(name, model.digest))


async def test_scores_beyond_the_capacity_are_dropped_and_counted(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    arm = loaded_arm(tmp_path, "quiet", registry)
    shadows = ShadowTraffic(FakeReader(), 10, registry)
    requests = (
        RequestDecoder(("view",), 100).decode_batch(json.dumps({"requests": [ASK] * 8}).encode()).requests
    )
    rows = await FakeReader().read(
        [(s.codec, b"") for s in (arm.model.user, arm.model.product, arm.model.pair)]
    )
    for _ in range(3):
        shadows.submit([arm], arm, requests[0], NOW_US, rows, None)
    blocks = await FakeReader().read_blocks(
        [
            (s.codec, [["?"] * 8] * len(s.codec.view.join_keys))
            for s in (arm.model.user, arm.model.product, arm.model.pair)
        ]
    )
    answered = score_batch(arm, range(8), requests, [NOW_US] * 8, blocks)
    shadows.submit_batch([arm], answered, blocks, None)

    def value(name: str) -> Any:
        return registry.get_sample_value(name)

    assert value("reprise_predictor_shadow_dropped_total") == 8
    assert value("reprise_predictor_shadow_waiting") == 3
    task = asyncio.create_task(shadows.run())
    while value("reprise_predictor_shadow_waiting"):
        await asyncio.sleep(0)
    shadows.submit_batch([arm], answered, blocks, None)
    assert value("reprise_predictor_shadow_dropped_total") == 8
    task.cancel()
