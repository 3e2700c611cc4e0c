import gzip
import hashlib
import json
import math
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from reprise.events.user_ids import user_id_hash
from reprise.store.exceptions import StoreUnavailableError
from support.fake_log import FakeLogProducer
from support.predictor import ASK, NOW_US, USER, RunningPredictor, published, running_predictor
from support.served_bundles import DAY_US, bundle_files
from support.waiting import wait_until

FEATURES = {
    "total_spend": 90.0,
    "avg_transaction_amount": 30.0,
    "days_since_last_purchase": 2.0,
    "repeat_purchase_count": 1.0,
}
"""The features of the user of this module."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # The logit is 0.01 × total_spend + pair_purchases − 1: 0.9 + 2 − 1 = 1.9 for the user of this module.
    path = tmp_path_factory.mktemp("models")
    published(path, bundle_files(weights={"total_spend": 0.01, "pair_purchases": 1.0}, bias=-1.0))
    return path


def refused(response: httpx.Response, kind: str, status: int) -> dict[str, Any]:
    """Assert that a response is a problem of this kind, and return it."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["type"] == f"urn:reprise:problem:{kind}"
    if status == 503:
        assert response.headers["retry-after"] == "1"
    return problem


def counted(predictor: RunningPredictor, endpoint: str, outcome: str) -> float:
    return predictor.metric("reprise_predictor_requests_total", endpoint=endpoint, outcome=outcome)


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def post(predictor: RunningPredictor, path: str, body: Any) -> Any:
    response = predictor.client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def test_answer_to_a_known_pair_is_exactly_this(predictor: RunningPredictor) -> None:
    answer = post(predictor, "/predict", ASK)
    probability = answer["probability"]
    assert probability == pytest.approx(sigmoid(1.9), abs=1e-6)
    assert answer == {
        "prediction": 1,
        "probability": probability,
        "confidence": probability,
        "threshold": 0.5,
        "user_id": "u-1",
        "product_id": "p-1",
        "features_used": FEATURES,
        "model_version": predictor.context.configured_model.current.digest,
        "arm": "baseline",
        "timestamp": "2026-01-31T12:00:00Z",
        "known": {"user": True, "product": True, "pair": True},
    }
    assert list(answer) == [
        *("prediction", "probability", "confidence", "threshold", "user_id", "product_id", "features_used"),
        *("model_version", "arm", "timestamp", "known"),
    ]
    assert predictor.reader.round_trips == 1


def test_unknown_pair_is_scored_from_the_empty_state_and_reported_as_unknown(
    predictor: RunningPredictor,
) -> None:
    answer = post(predictor, "/predict", {"user_id": "new", "product_id": "p-1"})
    assert answer["known"] == {"user": False, "product": True, "pair": False}
    assert answer["features_used"] == {
        "total_spend": 0.0,
        "avg_transaction_amount": None,
        "days_since_last_purchase": None,
        "repeat_purchase_count": 0.0,
    }
    assert answer["probability"] == pytest.approx(sigmoid(-1), abs=1e-6)
    assert answer["prediction"] == 0
    assert answer["confidence"] == pytest.approx(1 - answer["probability"])
    assert predictor.metric("reprise_predictor_unknown_entities_total", entity="user") == 1
    assert predictor.metric("reprise_predictor_unknown_entities_total", entity="product") == 0


def test_explain_shows_every_input_and_what_the_request_lacks_is_missing(predictor: RunningPredictor) -> None:
    features = post(predictor, "/predict?explain=all", ASK)["features_used"]
    assert features == {
        **FEATURES,
        "product_views": 7.0,
        "pair_purchases": 2.0,
        "request_amount": 20.0,
        "request_is_purchase": 1.0,
    }
    idle = post(predictor, "/predict?explain=all", {"user_id": "u-1", "product_id": "p-1"})["features_used"]
    assert idle == {**features, "request_amount": None, "request_is_purchase": None}


def test_features_are_computed_at_the_request_time(predictor: RunningPredictor) -> None:
    answer = post(predictor, "/predict", {**ASK, "timestamp": "2026-01-31T13:03:00+01:00"})
    assert answer["timestamp"] == "2026-01-31T12:03:00Z"
    assert answer["features_used"]["days_since_last_purchase"] == pytest.approx(2 + 3 / 1440)


def test_event_from_after_the_request_counts_as_now(predictor: RunningPredictor) -> None:
    predictor.know("u-2", "p-1", user=(1, 5.0, 0.0, NOW_US, 1, 0.0), product=None, pair=None)
    before = {"user_id": "u-2", "product_id": "p-1", "timestamp": "2026-01-31T11:58:00Z"}
    answer = post(predictor, "/predict", before)
    assert answer["features_used"]["days_since_last_purchase"] == 0.0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"product_id": "p"}, "user_id"),
        ({**ASK, "event_type": "view"}, "amount"),
        ({**ASK, "timestamp": "2026-01-31T12:00:00"}, "timestamp"),
        ({**ASK, "timestamp": "2026-01-31T11:54:59Z"}, "timestamp"),
        ({**ASK, "timestamp": "2026-01-31T12:05:01Z"}, "timestamp"),
        ({**ASK, "timestamp": "0001-01-01T00:00:00+23:59"}, "timestamp"),
        ({**ASK, "timestamp": "0001-01-01T00:00:00Z"}, "timestamp"),
        ({**ASK, "timestamp": "9999-12-31T23:59:59.999999Z"}, "timestamp"),
        ({**ASK, "timestamp": "9999-12-31T23:59:59.999999-23:59"}, "timestamp"),
        ({**ASK, "colour": "red"}, "colour"),
    ],
)
def test_field_that_breaks_the_contract_is_named(predictor: RunningPredictor, body: Any, field: str) -> None:
    problem = refused(predictor.client.post("/predict", json=body), "invalid-request", 422)
    assert [error["field"] for error in problem["errors"]] == [field]
    assert predictor.reader.round_trips == 0
    assert counted(predictor, "/predict", "invalid-request") == 1


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"user_id": "u"', "invalid-json", 400),
        (b"[" * 5000, "invalid-json", 400),
        (b"null", "invalid-request", 422),
        (b'{"user_id": "' + b"x" * 3_000_000 + b'"}', "body-too-large", 413),
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_body_that_is_no_request_is_a_problem(
    predictor: RunningPredictor, path: str, content: bytes, kind: str, status: int
) -> None:
    refused(predictor.client.post(path, content=content), kind, status)


@pytest.mark.parametrize("query", ["explain=yes", "explain", "explian=all", "explain=all&x=1"])
def test_unknown_query_is_refused(predictor: RunningPredictor, query: str) -> None:
    response = predictor.client.post(f"/predict?{query}", json=ASK)
    assert response.status_code == 422
    assert response.json()["errors"]


def test_batch_answers_in_order_what_single_requests_answer(predictor: RunningPredictor) -> None:
    predictor.know("u-2", "p-2", user=(1, 5.0, 0.0, NOW_US - DAY_US, 1, 0.0), product=(1,), pair=None)
    requests = [
        ASK,
        {"user_id": "u-2", "product_id": "p-2"},
        {"user_id": "u-1", "product_id": "p-2", "event_type": "view"},
        {"user_id": "nobody", "product_id": "nothing", "timestamp": "2026-01-31T12:01:00Z"},
    ]
    single = [post(predictor, "/predict?explain=all", request) for request in requests]
    predictor.reader.round_trips = 0
    batch = post(predictor, "/predict/batch?explain=all", {"requests": requests})
    assert batch["failed"] == 0
    assert predictor.reader.round_trips == 1
    for alone, together in zip(single, batch["results"], strict=True):
        for number in ("probability", "confidence"):
            assert together.pop(number) == pytest.approx(alone.pop(number), abs=1e-6)
        assert together == alone


def test_invalid_requests_of_a_batch_do_not_fail_the_others(predictor: RunningPredictor) -> None:
    requests = [
        ASK,
        {**ASK, "amount": -1},
        {**ASK, "timestamp": "2020-01-01T00:00:00Z"},
        {"user_id": "u-1", "product_id": "p-1"},
        "no object",
    ]
    batch = post(predictor, "/predict/batch", {"requests": requests})
    assert batch["failed"] == 3
    good, amount, timestamp, also_good, no_object = batch["results"]
    assert good["probability"] == also_good["probability"] == pytest.approx(sigmoid(1.9), abs=1e-6)
    assert (amount["index"], amount["status"]) == (1, 422)
    assert [error["field"] for error in amount["errors"]] == ["amount"]
    assert (timestamp["index"], timestamp["errors"][0]["field"]) == (2, "timestamp")
    assert (no_object["index"], no_object["status"]) == (4, 422)
    assert predictor.reader.round_trips == 1
    assert post(predictor, "/predict/batch", {"requests": [{}, {}]})["failed"] == 2
    assert predictor.reader.round_trips == 1, "nothing is read for invalid requests only"


@pytest.mark.parametrize(
    "body",
    [{"requests": []}, {"requests": [ASK] * 1001}, {}, {"requests": [ASK], "more": 1}, {"requests": None}],
)
def test_invalid_batch_is_refused_as_a_whole(predictor: RunningPredictor, body: Any) -> None:
    response = predictor.client.post("/predict/batch", json=body)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] in {"requests", "more"}


def test_batch_of_the_limit_is_answered(predictor: RunningPredictor) -> None:
    assert len(post(predictor, "/predict/batch", {"requests": [ASK] * 1000})["results"]) == 1000


@pytest.mark.parametrize(("path", "body"), [("/predict", ASK), ("/predict/batch", {"requests": [ASK]})])
def test_request_may_be_gzip(predictor: RunningPredictor, path: str, body: Any) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    content = gzip.compress(json.dumps(body).encode())
    response = predictor.client.post(path, content=content, headers=headers)
    assert response.status_code == 200
    assert response.json() == post(predictor, path, body)


@pytest.mark.parametrize(
    "user",
    [
        None,
        (None, 90.0, 0.0, None, None, 1.0),
        (3, math.inf, 12.5, NOW_US - 2 * DAY_US, 4, 1.0),
        (3, -math.inf, 12.5, NOW_US - 2 * DAY_US, 4, 1.0),
    ],
    ids=["corrupt", "of another plan", "infinite", "less than all"],
)
def test_unreadable_row_is_a_problem_of_its_own_request_only(predictor: RunningPredictor, user: Any) -> None:
    if user is None:
        predictor.reader.corrupt.add(predictor.context.configured_model.current.user.codec.key("u-bad"))
    predictor.know("u-bad", "p-1", user=user, product=None, pair=None)
    broken = {**ASK, "user_id": "u-bad"}
    batch = post(predictor, "/predict/batch", {"requests": [ASK, broken, ASK]})
    assert [result.get("status") for result in batch["results"]] == [None, 500, None]
    assert batch["results"][1]["type"] == "urn:reprise:problem:unreadable-state"
    refused(predictor.client.post("/predict", json=broken), "unreadable-state", 500)


def test_unavailable_store_is_503_with_retry_after_without_its_address(predictor: RunningPredictor) -> None:
    predictor.reader.failure = StoreUnavailableError("read rows at redis://secret-host:6379/0", "no answer")
    for path, body in (("/predict", ASK), ("/predict/batch", {"requests": [ASK]})):
        response = predictor.client.post(path, json=body)
        refused(response, "store-unavailable", 503)
        assert "secret-host" not in response.text
    refused(predictor.client.get("/features/u-1"), "store-unavailable", 503)
    assert predictor.client.get("/health").status_code == 200
    assert predictor.client.get("/ready").status_code == 200, "three failures are no outage"
    for _ in range(2):
        predictor.client.post("/predict", json=ASK)
    ready = predictor.client.get("/ready")
    assert ready.status_code == 503
    assert ready.json()["detail"] == "the online store does not answer"
    assert predictor.metric("reprise_predictor_store_up") == 0


def test_open_circuit_stops_reads_of_a_failing_store(store: Path) -> None:
    with running_predictor(store, circuit_seconds=60) as predictor:
        predictor.reader.failure = StoreUnavailableError("read rows", "no answer")
        for _ in range(20):
            refused(predictor.client.post("/predict", json=ASK), "store-unavailable", 503)
        assert predictor.reader.round_trips == 5
        failures = {"dependency": "online_store", "kind": "StoreUnavailableError"}
        assert predictor.metric("reprise_dependency_errors_total", **failures) == 5


def test_state_after_the_deadline_is_503(store: Path) -> None:
    with running_predictor(store, deadline_seconds=0.01, batch_deadline_seconds=0.01) as predictor:
        predictor.reader.delay = 0.05
        for path, body in (("/predict", ASK), ("/predict/batch", {"requests": [ASK]})):
            refused(predictor.client.post(path, json=body), "deadline-exceeded", 503)
            assert counted(predictor, path, "deadline-exceeded") == 1


def test_recovered_store_makes_the_process_ready(predictor: RunningPredictor) -> None:
    predictor.reader.failure = StoreUnavailableError("ping", "gone")
    predictor.call(predictor.context.reader.check)
    assert predictor.client.get("/ready").status_code == 503
    predictor.reader.failure = None
    predictor.call(predictor.context.reader.check)
    assert predictor.client.get("/ready").json() == {"status": "ready"}


def test_features_of_a_user_are_the_users_alone(predictor: RunningPredictor) -> None:
    answer = predictor.client.get("/features/u-1").json()
    assert answer == {
        "user_id": "u-1",
        "product_id": None,
        "features": FEATURES,
        "known": {"user": True},
        "model_version": predictor.context.configured_model.current.digest,
        "timestamp": "2026-01-31T12:00:00Z",
    }


def test_features_with_a_product_are_those_of_all_three(predictor: RunningPredictor) -> None:
    answer = predictor.client.get("/features/u-1", params={"product_id": "p-1"}).json()
    assert answer["features"]["product_views"] == 7.0
    assert answer["features"]["pair_purchases"] == 2.0
    assert "request_amount" not in answer["features"]
    assert answer["known"] == {"user": True, "product": True, "pair": True}


@pytest.mark.parametrize("user_id", ["a/b", "ü ser?", "/", "a\nb", "\n", "a\u2028/"])
def test_any_opaque_id_is_accepted(predictor: RunningPredictor, user_id: str) -> None:
    predictor.know(user_id, "p-1", user=USER, product=None, pair=None)
    answer = predictor.client.get("/features/" + quote(user_id, safe="")).json()
    assert answer["user_id"] == user_id
    assert answer["known"] == {"user": True}


@pytest.mark.parametrize("path", ["/features/", "/features/u?product_id=", "/features/" + "x" * 257])
def test_invalid_id_is_refused(predictor: RunningPredictor, path: str) -> None:
    assert predictor.client.get(path).status_code == 422


def test_model_info_returns_the_manifest(predictor: RunningPredictor) -> None:
    info = predictor.client.get("/model/info").json()
    model = predictor.context.configured_model.current
    assert info["digest"] == model.digest
    assert info["threshold"] == 0.5
    assert info["horizon_seconds"] == 2_592_000
    assert info["training"] == {"trained_at": "2026-11-01T00:00:00Z"}
    assert info["refused"] is None
    assert [feature["name"] for feature in info["features"]] == list(model.plan.input_names)
    assert info["features"][0] == {
        "name": "total_spend",
        "entity": "user",
        "source": "source of total_spend",
        "unit": "currency",
        "description": "what total_spend says",
        "impurity_importance": 1.0,
        "permutation_importance": 0.2,
    }
    assert info["evaluation"]["overall"]["model"]["roc_auc"] == 0.8


def test_requests_for_features_and_the_model_are_counted_by_outcome(predictor: RunningPredictor) -> None:
    predictor.client.get("/model/info")
    predictor.client.get("/features/u-1")
    predictor.client.get("/features/u-1", params={"product_id": ""})
    predictor.reader.failure = StoreUnavailableError("read", "away")
    predictor.client.get("/features/u-1")
    assert counted(predictor, "/model/info", "ok") == 1
    assert counted(predictor, "/features", "ok") == 1
    assert counted(predictor, "/features", "invalid-request") == 1
    assert counted(predictor, "/features", "store-unavailable") == 1
    assert predictor.metric("reprise_predictor_request_seconds_count", endpoint="/features") == 3


def test_stages_scores_and_the_model_are_measured(predictor: RunningPredictor) -> None:
    post(predictor, "/predict", ASK)
    post(predictor, "/predict/batch", {"requests": [ASK, ASK]})
    for stage in ("validate", "read", "finish", "infer", "encode"):
        assert predictor.metric("reprise_predictor_stage_seconds_count", stage=stage) == 2
    model = predictor.context.configured_model.current
    arm = {"arm": "baseline", "digest": model.digest}
    assert predictor.metric("reprise_predictor_arm_score_bucket", **arm, le="0.85") == 0
    assert predictor.metric("reprise_predictor_arm_score_bucket", **arm, le="0.9") == 3
    assert predictor.metric("reprise_predictor_arm_answers_total", **arm, outcome="answered") == 3
    assert predictor.metric("reprise_predictor_arm_seconds_count", **arm) == 2
    labels = {"digest": model.digest, "plan_hash": model.plan.hash, "schema_hash": model.plan.schema_hash}
    assert predictor.metric("reprise_predictor_model_info", **labels) == 1
    assert "reprise_build_info" in predictor.client.get("/metrics").text


def test_event_types_are_those_of_the_settings(store: Path) -> None:
    with running_predictor(store, event_types="view,purchase,cart") as predictor:
        assert predictor.client.post("/predict", json={**ASK, "event_type": "cart"}).status_code == 200
        document = predictor.client.get("/openapi.json").json()
        (choices, _) = document["components"]["schemas"]["PredictionRequest"]["properties"]["event_type"][
            "anyOf"
        ]
        assert set(choices["enum"]) == {"view", "purchase", "cart"}


def test_batch_counts_each_request_against_the_rate_limit(store: Path) -> None:
    keys = f"shop:{hashlib.sha256(b'k').hexdigest()}, {hashlib.sha256(b'other').hexdigest()}"
    key = {"X-API-Key": "k"}
    with running_predictor(store, api_key_hashes=keys, rate_limit=0.001, rate_burst=10) as predictor:
        assert predictor.client.post("/predict", json=ASK).status_code == 401
        body = {"requests": [ASK] * 10}
        assert predictor.client.post("/predict/batch", json=body, headers=key).status_code == 200
        refused = predictor.client.post("/predict", json=ASK, headers=key)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 500
        other = {"Authorization": "Bearer other"}
        assert predictor.client.post("/predict", json=ASK, headers=other).status_code == 200


def test_access_log_has_ids_only_if_configured(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for mode, told in (("off", False), ("on", False), ("ids", True)):
        with running_predictor(store, access_log=mode, log_json=True) as predictor:
            body, headers = {"user_id": "u-x1", "product_id": "p-x1"}, {"X-Request-ID": f"r-{mode}"}
            predictor.client.post("/predict", json=body, headers=headers)
        found = capsys.readouterr().err
        assert ("u-x1" in found and "p-x1" in found) == told
        assert (f'"request_id":"r-{mode}"' in found) == (mode != "off")


def test_keyed_hash_replaces_user_ids_behind_the_api_alone(store: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32 + b"\n")
    hashed = user_id_hash(key)
    assert hashed is not None
    log = FakeLogProducer()
    with running_predictor(store, log, prediction_log=True, user_id_key_file=key) as predictor:
        predictor.know(hashed("u-1"), "p-1", user=USER, product=(7,), pair=(2,))
        answers = [
            post(predictor, "/predict", ASK),
            *post(predictor, "/predict/batch", {"requests": [ASK, {**ASK, "user_id": "u-2"}]})["results"],
            predictor.client.get("/features/u-1").json(),
        ]
        wait_until("three predictions in the log", lambda: len(log.appended) == 3, 10)
    assert [answer["user_id"] for answer in answers] == ["u-1", "u-1", "u-2", "u-1"]
    assert [answer["known"]["user"] for answer in answers] == [True, True, False, True]
    assert {key for _, key, _ in log.appended} == {hashed("u-1").encode(), hashed("u-2").encode()}
    assert b'"u-1"' not in b"".join(value for _, _, value in log.appended)
