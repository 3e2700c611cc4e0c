import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from reprise.log import LogUnavailableError
from reprise.predictor.storage.prediction_log import PredictionRecord
from support.fake_log import FakeLogProducer
from support.predictor import NOW_US, RunningPredictor, published, running_predictor
from support.served_bundles import DAY_US, bundle_files
from support.waiting import wait_until

ASK = {"user_id": "ü-1", "product_id": "p-1", "event_type": "purchase", "amount": 20.0, "event_id": "é-7"}
TRACE = "0af7651916cd43dd8448eb211c80319c"
SCHEMA = Path(__file__).parents[3] / "docs" / "schemas" / "prediction-record-v1.json"


class StuckLog(FakeLogProducer):
    """Takes a record and never returns, as a broken client might."""

    def __init__(self) -> None:
        super().__init__()
        self.free = False
        self.asked = 0

    def append(self, topic: str, key: bytes, value: bytes) -> Any:
        self.asked += 1
        while not self.free:
            time.sleep(0.005)
        return super().append(topic, key, value)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    published(tmp_path, bundle_files(weights={"total_spend": 0.01}))
    return tmp_path


@pytest.fixture
def log() -> FakeLogProducer:
    return FakeLogProducer()


@pytest.fixture
def predictor(store: Path, log: FakeLogProducer) -> Iterator[RunningPredictor]:
    with running_predictor(store, log, prediction_log=True) as running:
        running.know("ü-1", "p-1", user=(3, 90.0, 12.5, NOW_US - DAY_US, 4, 1.0), product=(7,), pair=(2,))
        yield running


def logged(predictor: RunningPredictor, outcome: str) -> float:
    return predictor.metric("reprise_predictor_logged_total", outcome=outcome)


def wait_for_written(predictor: RunningPredictor, count: int) -> None:
    wait_until("answers are written", lambda: logged(predictor, "written") == count, 5, every=0.005)


def test_prediction_is_logged_with_every_input_of_the_model_and_a_refused_request_is_not(
    predictor: RunningPredictor, log: FakeLogProducer
) -> None:
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    predictor.client.post("/predict", json={**ASK, "amount": -1})
    answer = predictor.client.post("/predict?explain=all", json=ASK, headers=headers).json()
    wait_for_written(predictor, 1)
    ((topic, key, value),) = log.appended
    assert (topic, key) == ("ecommerce-predictions", "ü-1".encode())
    assert json.loads(value) == {
        "schema_version": 1,
        "answered_at": "2026-01-31T12:00:00Z",
        "timestamp": "2026-01-31T12:00:00Z",
        "user_id": "ü-1",
        "product_id": "p-1",
        "event_type": "purchase",
        "amount": 20.0,
        "event_id": "é-7",
        "probability": answer["probability"],
        "prediction": answer["prediction"],
        "threshold": 0.5,
        "model_version": answer["model_version"],
        "arm": "baseline",
        "shadow": False,
        "horizon_seconds": None,
        "known": {"user": True, "product": True, "pair": True},
        "features": answer["features_used"],
        "trace_id": TRACE,
    }


def test_predictions_of_a_batch_are_logged_and_its_problems_are_not(
    predictor: RunningPredictor, log: FakeLogProducer
) -> None:
    requests = [ASK, {**ASK, "amount": -1}, {"user_id": "u-2", "product_id": "p-2"}, "nothing"]
    predictor.client.post("/predict/batch", json={"requests": requests})
    wait_for_written(predictor, 2)
    records = [PredictionRecord.model_validate_json(value) for _, _, value in log.appended]
    assert [(record.user_id, record.amount, record.event_id, record.known["user"]) for record in records] == [
        ("ü-1", 20.0, "é-7", True),
        ("u-2", None, None, False),
    ]


def test_blocked_log_delays_no_response_and_dropped_predictions_are_counted(store: Path) -> None:
    log = StuckLog()
    with running_predictor(
        store, log, prediction_log=True, prediction_log_capacity=10, prediction_log_flush_seconds=2
    ) as predictor:
        predictor.client.post("/predict", json=ASK)
        wait_until("the log is asked", lambda: log.asked == 1, 5, every=0.005)
        start = time.monotonic()
        for _ in range(30):
            assert predictor.client.post("/predict", json=ASK).status_code == 200
        assert time.monotonic() - start < 3
        assert logged(predictor, "dropped") == 20
        assert predictor.metric("reprise_predictor_log_waiting") == 10
        log.free = True
        wait_for_written(predictor, 11)


def test_full_or_failing_log_is_counted_and_warned_about_once(store: Path) -> None:
    log = FakeLogProducer()
    log.capacity, log.hold = 2, True
    with capture_logs() as lines, running_predictor(store, log, prediction_log=True) as predictor:
        for _ in range(5):
            predictor.client.post("/predict", json=ASK)
        wait_until("three are dropped", lambda: logged(predictor, "dropped") == 3, 5, every=0.005)
        log.failure = lambda _: LogUnavailableError("no leader")
        log.acknowledge()
        assert logged(predictor, "failed") == 2
    assert [line["event"] for line in lines if line["event"].startswith("prediction_log")] == [
        "prediction_log_full"
    ]


def test_log_unavailable_at_start_is_opened_later(store: Path) -> None:
    log = FakeLogProducer()
    tries: list[int] = []

    def opened() -> FakeLogProducer:
        tries.append(1)
        if len(tries) == 1:
            raise LogUnavailableError("no broker")
        return log

    with running_predictor(store, opened, prediction_log=True) as predictor:
        assert predictor.client.post("/predict", json=ASK).status_code == 200
        assert predictor.client.get("/ready").status_code == 200
        wait_for_written(predictor, 1)


def test_shutdown_flushes_the_queue_within_the_timeout(store: Path) -> None:
    log = FakeLogProducer()
    with running_predictor(store, log, prediction_log=True) as predictor:
        predictor.client.post("/predict/batch", json={"requests": [ASK] * 200})
    assert len(log.appended) == 200
    stuck = StuckLog()
    with running_predictor(store, stuck, prediction_log=True, prediction_log_flush_seconds=0.2) as predictor:
        predictor.client.post("/predict/batch", json={"requests": [ASK] * 5})
        wait_until("the log is asked", lambda: stuck.asked == 1, 5, every=0.005)
        start = time.monotonic()
    assert time.monotonic() - start < 2
    assert logged(predictor, "dropped") == 4
    stuck.free = True


def test_log_is_off_without_kafka_unless_configured(store: Path) -> None:
    with running_predictor(store) as predictor:
        assert predictor.context.prediction_log is None
    with running_predictor(store, FakeLogProducer(), kafka_servers="broker:9092") as predictor:
        assert predictor.context.prediction_log is not None


def test_published_schema_is_that_of_the_records() -> None:
    schema = PredictionRecord.model_json_schema() | {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:reprise:schema:prediction-record:1",
    }
    assert json.loads(SCHEMA.read_text()) == schema, (
        "docs/schemas/prediction-record-v1.json is not what the code writes; a change that readers would "
        "notice needs a new schema_version"
    )
