import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from redis import Redis

from reprise.bundle import BundleStore
from reprise.log import PREDICTIONS, EventLogSettings, open_consumer
from reprise.routing import (
    DocumentKeys,
    RoutingDocument,
    RoutingReport,
    Share,
    allocate,
    document_key,
    evidence_key,
    signature_key,
)
from reprise.store.feast.codec import ViewCodec
from support.key_files import key_files
from support.log_contract import drain
from support.predictor import published
from support.redis import RedisServer, free_port, running_redis
from support.served_bundles import DAY_US, bundle_files, numbers_of, small_plan
from support.serving import Serving, serving
from support.waiting import wait_until

pytestmark = pytest.mark.redis

REPOSITORY = Path(__file__).parents[3]
PLAN = small_plan()
CODECS = {entity.name: ViewCodec("reprise", numbers_of(entity.view)) for entity in PLAN.entities}
ASK = {"user_id": "u-1", "product_id": "p-1"}


def put(client: Redis, entity: str, ids: Sequence[str], state: Sequence[Any]) -> None:
    codec = CODECS[entity]
    row = codec.encode(state, b"\x01" + bytes(16), 0)
    client.hset(codec.key(*ids), items=row)


def purchases(count: int, spend: float, days_ago: float, again: float) -> tuple[Any, ...]:
    last = time.time_ns() // 1000 - round(days_ago * DAY_US)
    return (count, spend, 0.0, last, count, again)


def environment(redis: RedisServer, store: Path, **more: str) -> dict[str, str]:
    return {
        "REDIS_HOST": redis.host,
        "REDIS_PORT": str(redis.port),
        "MODEL_STORE": str(store),
        "MODEL_RELOAD_SECONDS": "0.05",
        "PREDICTOR_REDIS_PING_SECONDS": "0.05",
        "PREDICTOR_REHEARSAL_SECONDS": "0",
        **more,
    }


def test_rows_of_the_codec_are_answered_with_their_features_and_every_answer_is_in_the_log(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    digest = published(tmp_path / "models", bundle_files(weights={"pair_purchases": 1.0}))
    with redis_server.client() as client:
        put(client, "user", ["u-1"], purchases(3, 90.0, 2.0, 1.0))
        put(client, "product", ["p-1"], [7])
        put(client, "pair", ["u-1", "p-1"], [2])
        put(client, "user", ["ü/2%2F"], purchases(1, 5.0, 0.5, 0.0))
    log = {"PREDICTOR_PREDICTION_LOG": "true", "REPRISE_LOG_DIR": str(tmp_path / "log")}
    with serving(tmp_path, **environment(redis_server, tmp_path / "models", **log)) as predictor:
        predictor.wait_until_ready()
        answer = predictor.http.post(
            "/predict?explain=all", json={**ASK, "event_type": "purchase", "amount": 5}
        ).json()
        assert answer["probability"] == pytest.approx(0.880797, abs=1e-6)
        assert answer["known"] == {"user": True, "product": True, "pair": True}
        assert answer["model_version"] == digest
        features = answer["features_used"]
        assert features.pop("days_since_last_purchase") == pytest.approx(2.0, abs=0.01)
        assert features == {
            "total_spend": 90.0,
            "avg_transaction_amount": 30.0,
            "repeat_purchase_count": 1.0,
            "product_views": 7.0,
            "pair_purchases": 2.0,
            "request_amount": 5.0,
            "request_is_purchase": 1.0,
        }
        other = predictor.http.get("/features/" + quote("ü/2%2F", safe="")).json()
        assert (other["user_id"], other["known"]) == ("ü/2%2F", {"user": True})
        assert other["features"]["total_spend"] == 5.0
        stranger = {"user_id": "nobody", "product_id": "nothing"}
        batch = predictor.http.post("/predict/batch", json={"requests": [ASK, stranger]}).json()
        assert [result["known"]["user"] for result in batch["results"]] == [True, False]
        assert batch["results"][0]["probability"] == pytest.approx(0.880797, abs=1e-6)
        assert predictor.terminate() == 0
    consumer = open_consumer(EventLogSettings(log_dir=tmp_path / "log"), PREDICTIONS, "test")
    records = [record for found in drain(consumer, 3).values() for record in found]
    consumer.close()
    assert sorted(record.key for record in records) == [b"nobody", b"u-1", b"u-1"]
    assert {json.loads(record.value)["model_version"] for record in records} == {digest}


def test_process_is_503_until_its_redis_is_there_and_takes_the_password(tmp_path: Path) -> None:
    published(tmp_path / "models", bundle_files())
    with running_redis("--requirepass", "right") as redis:
        variables = environment(redis, tmp_path / "models", REDIS_PASSWORD="hunter2")
        with serving(tmp_path, **variables) as predictor:
            # What Redis refuses is logged once: it has to be the first failure
            wait_until(
                "the password is refused", lambda: "WRONGPASS" in predictor.log.read_text(), 20, every=0.05
            )
            for change in (lambda: None, redis.stop, redis.start):
                change()
                predictor.wait_for("/ready", 503)
                response = predictor.http.post("/predict", json=ASK)
                assert response.status_code == 503
                assert response.json()["type"] == "urn:reprise:problem:store-unavailable"
                assert predictor.http.get("/health").status_code == 200
                assert "hunter2" not in predictor.log.read_text() + response.text
            with redis.client() as client:
                client.execute_command("AUTH", "right")
                client.config_set("requirepass", "hunter2")
            predictor.wait_until_ready()
            assert predictor.http.post("/predict", json=ASK).status_code == 200


def test_another_model_takes_over_without_a_failed_request(redis_server: RedisServer, tmp_path: Path) -> None:
    store = tmp_path / "models"
    first = published(store, bundle_files(bias=-1.0))
    rehearsing = environment(redis_server, store, PREDICTOR_REHEARSAL_SECONDS="60")
    with serving(tmp_path, **rehearsing) as predictor:
        predictor.wait_until_ready()
        answers: list[tuple[int, str, float]] = []
        done = threading.Event()

        def ask() -> None:
            while not done.wait(0.005):
                response = predictor.http.post("/predict", json=ASK)
                answer = response.json()
                answers.append((response.status_code, answer.get("model_version"), answer.get("probability")))

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            second = published(store, bundle_files(bias=1.0))
            taken_over = lambda: model_info(predictor)["digest"] == second  # noqa: E731
            wait_until("the model takes over", taken_over, 120, every=0.02)
            refused = published(store, bundle_files(bias=2.0, plan_hash="0" * 64))
            wait_until("it is refused", lambda: model_info(predictor)["refused"], 120, every=0.02)
        finally:
            done.set()
            thread.join()
        info = model_info(predictor)
        assert (info["digest"], info["refused"]["digest"]) == (second, refused)
    assert {status for status, _, _ in answers} == {200}
    versions = [version for _, version, _ in answers]
    assert versions == sorted(versions, key=[first, second].index)
    for _, version, probability in answers:
        assert (probability > 0.5) == (version == second)


def model_info(predictor: Serving) -> Any:
    return predictor.http.get("/model/info").json()


def routing(generation: int, baseline: str, *shares: Share) -> RoutingDocument:
    arms = allocate(baseline, shares, {})
    return RoutingDocument(generation=generation, rollout="reprise/test", salt="s", arms=arms)


def test_rollout_walks_through_its_shares_under_load_without_a_failed_request(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    store = BundleStore(str(tmp_path / "models"))
    baseline = published(tmp_path / "models", bundle_files())
    candidate = store.publish(bundle_files(bias=2.0))
    broken = "sha256:" + "ab" * 32
    steps = [
        routing(1, baseline, Share("next", candidate, 100)),
        routing(2, baseline, Share("next", candidate, 5000)),
        routing(3, baseline, Share("next", candidate, 0, shadow=True), Share("broken", broken, 5000)),
        routing(4, baseline, Share("next", candidate, 10_000)),
        routing(5, candidate),
    ]
    statuses: list[int] = []
    stop = threading.Event()

    def ask(client: httpx.Client) -> None:
        number = 0
        while not stop.wait(0.005):
            number += 1
            asked = {"user_id": f"u-{number % 50}", "product_id": "p"}
            statuses.append(client.post("/predict", json=asked).status_code)

    with (
        serving(tmp_path, **environment(redis_server, tmp_path / "models")) as predictor,
        redis_server.client() as client,
    ):
        predictor.wait_until_ready()
        asking = threading.Thread(target=ask, args=(predictor.http,))
        asking.start()
        took = []
        with httpx.Client(base_url=predictor.http.base_url) as operator:
            for document in steps:
                published_at = time.monotonic()
                client.set(document_key("reprise"), document.to_bytes())
                while (report := operator.get("/routing").json())["fingerprint"] != document.fingerprint:
                    assert time.monotonic() < published_at + 10, report
                    time.sleep(0.02)
                took.append(time.monotonic() - published_at)
            answer = operator.post("/predict", json=ASK).json()
        stop.set()
        asking.join()
    assert set(statuses) == {200}
    assert len(statuses) > 100
    assert max(took) < 5.0
    assert (answer["arm"], answer["model_version"]) == ("baseline", candidate)


LEAST_RIGHTS = (
    "on", ">s3cret", "resetkeys", "%R~*reprise", "%R~routing:reprise:document*", "resetchannels", "-@all", "+ping",
    "+hmget", "+get",
)  # fmt: skip
"""As docs/api.md tells: may read rows of the Feast project and the routing document with its signature, and ping."""


def test_redis_user_with_least_privileges_suffices(tmp_path: Path) -> None:
    digest = published(tmp_path / "models", bundle_files(weights={"pair_purchases": 1.0}))
    document, keys, key = routing(1, digest), key_files(tmp_path, "operator"), document_key("reprise")
    signature = DocumentKeys.read(signing=keys.private).sign(key, document.to_bytes())
    assert " ".join(LEAST_RIGHTS[2:]) in (REPOSITORY / "docs" / "api.md").read_text()
    with running_redis() as redis:
        with redis.client() as client:
            put(client, "pair", ["u-1", "p-1"], [2])
            client.set(key, document.to_bytes())
            client.set(signature_key(key), signature)
            client.execute_command("ACL", "SETUSER", "predictor", *LEAST_RIGHTS)
            client.execute_command("ACL", "SETUSER", "default", "off")
        variables = environment(
            redis,
            tmp_path / "models",
            REDIS_USERNAME="predictor",
            REDIS_PASSWORD="s3cret",
            REPRISE_ROUTING_TRUSTED_KEYS_FILE=str(keys.public),
        )
        with serving(tmp_path, **variables) as predictor:
            predictor.wait_until_ready()
            answer = predictor.http.post("/predict", json=ASK)
            assert answer.status_code == 200
            assert answer.json()["known"]["pair"] is True
            report = RoutingReport.from_bytes(predictor.http.get("/routing").content)
            assert report.fingerprint == document.fingerprint


def test_redis_user_with_least_privileges_can_do_nothing_else(redis_server: RedisServer) -> None:
    row, other = CODECS["user"].key("u-1"), b"another-project"
    refused: list[tuple[bytes | str, ...]] = [
        ("HSET", row, "f", "1"), ("HDEL", row, "f"), ("DEL", row), ("EXPIRE", row, "1"), ("HGETALL", row),
        ("SET", document_key("reprise"), "{}"), ("GET", evidence_key("reprise")),
        ("HMGET", other, "f"), ("GET", other), ("KEYS", "*"), ("SCAN", "0"), ("FLUSHALL",), ("CONFIG", "GET", "*"),
        ("EVAL", "return 1", "0"), ("SUBSCRIBE", "c"), ("ACL", "LIST"), ("SELECT", "1"),
    ]  # fmt: skip
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "least", *LEAST_RIGHTS)
        try:
            assert client.execute_command("ACL", "DRYRUN", "least", "HMGET", row, "f") == b"OK"
            key = document_key("reprise")
            assert client.execute_command("ACL", "DRYRUN", "least", "GET", key) == b"OK"
            for command in refused:
                answer = client.execute_command("ACL", "DRYRUN", "least", *command)
                assert answer != b"OK", command
        finally:
            client.execute_command("ACL", "DELUSER", "least")


def test_keys_and_metrics_port_are_taken_from_the_environment(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    published(tmp_path / "models", bundle_files())
    keys = tmp_path / "keys"
    keys.write_text(f"shop {hashlib.sha256(b'old').hexdigest()}\n")
    port = free_port()
    variables = environment(
        redis_server, tmp_path / "models", PREDICTOR_API_KEYS_FILE=str(keys), PREDICTOR_METRICS_PORT=str(port)
    )
    with serving(tmp_path, **variables) as predictor:
        predictor.wait_until_ready()
        assert predictor.http.post("/predict", json=ASK).status_code == 401
        old, new = {"Authorization": "Bearer old"}, {"Authorization": "Bearer new"}
        assert predictor.http.post("/predict", json=ASK, headers=old).status_code == 200
        assert predictor.http.get("/metrics", headers=old).status_code == 404
        operators = f"http://127.0.0.1:{port}"
        assert "reprise_predictor_in_flight" in httpx.get(f"{operators}/metrics").text
        # Whoever operates it asks without a key, and is not counted among the callers.
        assert httpx.get(f"{operators}/ready").json() == {"status": "ready"}
        assert httpx.get(f"{operators}/model/info").json()["digest"].startswith("sha256:")
        assert 'requests_total{endpoint="/model/info"' not in httpx.get(f"{operators}/metrics").text
        keys.write_text(f"shop {hashlib.sha256(b'new').hexdigest()}\n")
        admitted = lambda: predictor.http.post("/predict", json=ASK, headers=new).status_code == 200  # noqa: E731
        wait_until("the file is read again", admitted, 120, every=0.1)
        assert predictor.http.post("/predict", json=ASK, headers=old).status_code == 401
        assert predictor.terminate() == 0
        text = predictor.log.read_text()
    answered = [line for line in text.splitlines() if '"event":"request"' in line and '"status":200' in line]
    assert answered
    assert all('"key":"shop"' in line and "u-1" not in line for line in answered)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "MODEL_STORE: Field required"),
        (["--model-store", "s4://nowhere"], "s4"),
        (["--model-store", "models", "--model-digest", "newest"], "MODEL_DIGEST"),
    ],
)
def test_invalid_configuration_ends_the_command_with_the_reason(
    arguments: list[str], message: str, tmp_path: Path, without_variables: Callable[[], dict[str, str]]
) -> None:
    program = "from reprise.predictor.main import command; command()"
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=tmp_path,
        env=without_variables(),
        check=False,
    )
    assert ended.returncode == 1
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.fixture
def without_variables() -> Callable[[], dict[str, str]]:
    return lambda: {
        name: value for name, value in os.environ.items() if not name.startswith(("MODEL_", "API_"))
    }
