"""``?horizon=``: the probability of a further horizon of the bundle."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.bundle import BundleStore
from reprise.bundle.scorer import Scorer, horizon_scorers
from reprise.routing import RoutingDocument, Share, allocate
from support.fake_log import FakeLogProducer
from support.predictor import ASK, USER, RunningPredictor, published, running_predictor
from support.served_bundles import bundle_files, logistic_graph, small_plan
from support.waiting import wait_until

WEEK, MONTH, QUARTER = 7 * 86_400, 30 * 86_400, 90 * 86_400
NAMES = small_plan().input_names
GRAPHS = {
    WEEK: logistic_graph({"total_spend": 0.02, "pair_purchases": 0.5}, -2.0, NAMES),
    QUARTER: logistic_graph({"total_spend": -0.03}, 1.0, NAMES),
}


def files(**changes: Any) -> Any:
    return bundle_files(
        weights={"total_spend": 0.01, "pair_purchases": 1.0},
        bias=-1.0,
        **{"horizons": GRAPHS, "users": None, **changes},
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models")
    published(path, files())
    return path


def answer(predictor: RunningPredictor, path: str, body: Any) -> Any:
    response = predictor.client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


@settings(max_examples=40, deadline=None)
@given(
    amount=st.none() | st.floats(0, 1e6),
    known=st.booleans(),
    seconds=st.sampled_from((WEEK, MONTH, QUARTER)),
)
def test_answer_is_the_offline_score_of_the_horizons_graph(
    shared: RunningPredictor, store: Path, amount: float | None, known: bool, seconds: int
) -> None:
    bundle = BundleStore(str(store)).fetch(shared.context.configured_model.current.digest)
    ask = {**ASK, "amount": amount, "user_id": "u-1" if known else "u-2"}
    path = f"?horizon={seconds}s&explain=all"
    found = answer(shared, f"/predict{path}", ask)
    (item,) = answer(shared, f"/predict/batch{path}", {"requests": [ask]})["results"]
    scorer = horizon_scorers(bundle.manifest, Scorer.of(bundle), bundle.horizons)[seconds]
    (expected,) = scorer.score_features([found["features_used"]])
    assert found["probability"] == pytest.approx(expected, abs=1e-6)
    assert item["probability"] == pytest.approx(expected, abs=1e-6)
    assert found["horizon_seconds"] == item["horizon_seconds"] == seconds
    assert found["prediction"] == int(found["probability"] >= found["threshold"])
    assert found["threshold"] == (0.5 if seconds == MONTH else 0.25)


def test_longer_horizon_never_has_the_lower_probability(predictor: RunningPredictor) -> None:
    answers = [answer(predictor, f"/predict?explain=all&horizon={days}d", ASK) for days in (7, 30, 90)]
    week, month, quarter = (each["probability"] for each in answers)
    assert week <= month <= quarter
    inputs = answers[1]["features_used"]
    week_alone, quarter_alone = (
        Scorer(graph, "inputs", "probability", NAMES).score_features([inputs])[0] for graph in GRAPHS.values()
    )
    assert week_alone > month or quarter_alone < month  # One of them is bounded


def test_default_answer_is_the_same_as_of_a_bundle_with_one_horizon(
    predictor: RunningPredictor, tmp_path: Path
) -> None:
    published(tmp_path, files(horizons={}))
    with running_predictor(tmp_path, redis_ping_seconds=3600) as alone:
        alone.know("u-1", "p-1", user=USER, product=(7,), pair=(2,))
        plain, default = answer(alone, "/predict", ASK), answer(predictor, "/predict", ASK)
        digest = alone.context.configured_model.current.digest
    assert default | {"model_version": digest} == plain
    assert "horizon_seconds" not in default


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/predict", ASK),
        ("POST", "/predict/batch", {"requests": [ASK]}),
        ("POST", "/rank", {"user_id": "u-1", "product_ids": ["p-1"]}),
        ("GET", "/users/u-1/buy-again", None),
    ],
)
@pytest.mark.parametrize(
    ("horizon", "message"),
    [
        ("14d", "Expected a horizon of the model: 7d, 30d, 90d"),
        ("7d500ms", "7d, 30d, 90d"),
        ("x", "duration"),
    ],
)
def test_horizon_that_the_model_lacks_is_refused_with_those_it_has(
    predictor: RunningPredictor, method: str, path: str, body: Any, horizon: str, message: str
) -> None:
    response = predictor.client.request(method, f"{path}?horizon={horizon}", json=body)
    assert response.status_code == 422
    (problem,) = response.json()["errors"]
    assert problem["field"] == "horizon"
    assert problem["value"] == horizon
    assert message in problem["message"]


def test_ranking_is_by_the_horizon(predictor: RunningPredictor) -> None:
    predictor.know("u-1", "p-2", user=USER, product=(7,), pair=(0,))
    body = {"user_id": "u-1", "product_ids": ["p-2", "p-1"]}
    found = answer(predictor, "/rank?horizon=7d", body)["results"]
    expected = [
        answer(predictor, "/predict?horizon=7d", {"user_id": "u-1", "product_id": name})["probability"]
        for name in ("p-1", "p-2")
    ]
    assert [each["product_id"] for each in found] == ["p-1", "p-2"]
    assert [each["probability"] for each in found] == pytest.approx(expected, abs=1e-6)
    assert {each["horizon_seconds"] for each in found} == {WEEK}


def test_model_info_lists_the_further_horizons(predictor: RunningPredictor) -> None:
    info = predictor.client.get("/model/info").json()
    assert info["horizon_seconds"] == MONTH
    assert [(each["seconds"], each["threshold"]) for each in info["horizons"]] == [
        (WEEK, 0.25),
        (QUARTER, 0.25),
    ]


def test_log_records_a_further_horizon_and_null_for_the_models_own(store: Path) -> None:
    log = FakeLogProducer()
    with running_predictor(store, log, prediction_log=True) as running:
        for query in ("", "?horizon=30d", "?horizon=7d"):
            answer(running, f"/predict{query}", ASK)
        wait_until("three predictions in the log", lambda: len(log.appended) == 3, 10)
    assert [orjson.loads(value)["horizon_seconds"] for _, _, value in log.appended] == [None, None, WEEK]


def test_baseline_answers_for_an_arm_without_the_horizon_and_its_scores_are_not_compared(
    store: Path, tmp_path: Path
) -> None:
    path = tmp_path / "models"
    baseline, candidate = published(path, files()), published(path, files(horizons={}, seed=8))
    arms = allocate(baseline, [Share("candidate", candidate, 9_999)], {})
    with running_predictor(path, redis_ping_seconds=3600) as running:
        running.route(RoutingDocument(generation=1, rollout="a/b", salt="s", arms=arms))
        running.reset()
        assert answer(running, "/predict", ASK)["arm"] == "candidate"
        found = answer(running, "/predict?horizon=7d", ASK)
        assert (found["arm"], found["model_version"]) == ("baseline", baseline)
        labels = {"arm": "baseline", "digest": baseline}
        assert running.metric("reprise_predictor_arm_answers_total", outcome="answered", **labels) == 1
        assert running.metric("reprise_predictor_arm_score_count", **labels) == 0
