"""Answers in the embedded log, from the command to a consumer."""

import json
import time
from pathlib import Path

import pytest

from reprise.log import PREDICTIONS, EventLogSettings, open_consumer
from support.predictor import published
from support.redis import RedisServer
from support.served_bundles import bundle_files
from support.serving import serving

pytestmark = pytest.mark.redis


def test_shutdown_flushes_every_prediction_to_the_log(redis_server: RedisServer, tmp_path: Path) -> None:
    digest = published(tmp_path / "models", bundle_files())
    variables = {
        "REDIS_HOST": redis_server.host,
        "REDIS_PORT": str(redis_server.port),
        "MODEL_STORE": str(tmp_path / "models"),
        "PREDICTOR_PREDICTION_LOG": "true",
        "REPRISE_LOG_DIR": str(tmp_path / "log"),
    }
    users = [f"u-{number}" for number in range(50)]
    with serving(tmp_path, **variables) as predictor:
        predictor.wait_until_ready()
        for user in users[:10]:
            assert (
                predictor.http.post("/predict", json={"user_id": user, "product_id": "p"}).status_code == 200
            )
        batch = [{"user_id": user, "product_id": "p"} for user in users[10:]]
        assert predictor.http.post("/predict/batch", json={"requests": batch}).status_code == 200
        assert predictor.terminate() == 0
    consumer = open_consumer(EventLogSettings(log_dir=tmp_path / "log"), PREDICTIONS, "test")
    records = []
    give_up = time.monotonic() + 120
    while len(records) < len(users) and time.monotonic() < give_up:
        for found in consumer.poll(1000, 0.5).values():
            records += found
    consumer.close()
    answers = [json.loads(record.value) for record in records]
    assert sorted(answer["user_id"] for answer in answers) == sorted(users)
    assert {answer["model_version"] for answer in answers} == {digest}
    assert all(
        record.key == answer["user_id"].encode() for record, answer in zip(records, answers, strict=True)
    )
