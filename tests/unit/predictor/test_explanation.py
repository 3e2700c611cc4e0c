from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reprise.features.request_kinds import KINDS, KindColumns
from reprise.predictor.exceptions import NoExplanationError
from reprise.predictor.models.explanation import ForestExplainer
from reprise.trainer.model.beta_calibration import BetaCalibration, KindCalibration
from reprise.trainer.model.forest import ForestParameters, SplitForest, grow_forest
from reprise.trainer.model.onnx_graph import build_graph
from support.predictor import RunningPredictor, published, running_predictor
from support.served_bundles import bundle_files, logistic_graph, small_plan

PLAN = small_plan()
COLUMNS = KindColumns.of(PLAN)
CALIBRATION = KindCalibration(
    COLUMNS, tuple(BetaCalibration(0.8 + kind / 10, 0.9, -0.5) for kind in range(len(KINDS)))
)


def make_rows(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    rows = np.abs(random.normal(size=(count, len(PLAN.inputs))))
    rows[:, COLUMNS.purchases] = random.integers(0, 3, count)
    rows[:, COLUMNS.is_purchase] = random.choice([0.0, 1.0, np.nan], count)
    rows[random.random(count) < 0.3, 1] = np.nan
    return rows.astype(np.float32)


@pytest.fixture(scope="module")
def forest() -> SplitForest:
    rows = make_rows(3_000, 1)
    labels = np.random.default_rng(2).random(3_000) < 1 / (
        1 + np.exp(1 - np.nan_to_num(rows[:, 1]) - rows[:, 0])
    )
    repeat = COLUMNS.repeat(rows)
    parameters = ForestParameters(trees=12, leaf_rows=10)
    grown = [grow_forest(rows[part], labels[part], parameters, seed=3, jobs=1) for part in (~repeat, repeat)]
    return SplitForest(*grown, COLUMNS)


def test_contributions_add_up_to_the_votes_before_calibration(forest: SplitForest) -> None:
    rows = make_rows(500, 7)
    base, added = ForestExplainer.of(build_graph(forest, CALIBRATION)).contributions(rows.astype(np.float64))
    assert np.abs(base + added.sum(axis=1) - forest.score(rows, jobs=1)).max() < 1e-6


def test_each_contribution_is_the_change_of_the_mean_vote_along_scikit_learns_paths(
    forest: SplitForest,
) -> None:
    row = make_rows(1, 8)
    row[0, COLUMNS.purchases] = 2
    expected, roots = np.zeros(row.shape[1]), []
    for first, repeat in zip(*(part.estimators_ for part in forest.parts), strict=True):
        votes = [each.tree_.value[:, 0, 1] / each.tree_.value[:, 0].sum(axis=1) for each in (first, repeat)]
        sizes = [each.tree_.weighted_n_node_samples[0] for each in (first, repeat)]
        root = np.average([votes[0][0], votes[1][0]], weights=sizes)
        roots.append(root)
        expected[COLUMNS.purchases] += votes[1][0] - root
        path = repeat.decision_path(row).indices
        for before, after in pairwise(path):
            expected[repeat.tree_.feature[before]] += votes[1][after] - votes[1][before]
    base, added = ForestExplainer.of(build_graph(forest, CALIBRATION)).contributions(row.astype(np.float64))
    assert base == pytest.approx(np.mean(roots), abs=1e-6)
    assert added[0] == pytest.approx(expected / len(roots), abs=1e-6)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory, forest: SplitForest) -> Any:
    folder = tmp_path_factory.mktemp("models")
    published(folder, bundle_files(graph=build_graph(forest, CALIBRATION)))
    with running_predictor(folder) as running:
        yield running


def explained(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the contributions of an answer after checking that they add up to its probability."""
    found: dict[str, Any] = answer["contributions"]
    total = found["base"] + sum(each["contribution"] for each in found["top"]) + found["others"]
    assert total == pytest.approx(found["votes"], abs=1e-12)
    assert CALIBRATION.by_kind[2].apply(np.array([found["votes"]]))[0] == pytest.approx(
        answer["probability"], abs=1e-6
    )
    return found


def test_answers_have_the_contributions_that_were_asked_for(predictor: RunningPredictor) -> None:
    ask = {"user_id": "u-1", "product_id": "p-1"}
    plain, asked = (
        predictor.client.post(path, json=ask).json()
        for path in ("/predict", "/predict?explain=contributions")
    )
    assert "contributions" not in plain
    found = explained(asked)
    assert len(found["top"]) == len(PLAN.inputs)
    sizes = [abs(each["contribution"]) for each in found["top"]]
    assert sizes == sorted(sizes, reverse=True)
    by_name = {each["name"]: each for each in found["top"]}
    assert by_name["total_spend"]["description"] == "what total_spend says"
    assert by_name["total_spend"]["value"] == asked["features_used"]["total_spend"]
    assert by_name["request_amount"]["value"] is None
    batch = predictor.client.post(
        "/predict/batch?explain=contributions", json={"requests": [ask, ask]}
    ).json()
    assert [explained(each)["votes"] for each in batch["results"]] == pytest.approx([found["votes"]] * 2)


def test_batch_beyond_the_maximum_is_refused(predictor: RunningPredictor) -> None:
    many = {"requests": [{"user_id": "u", "product_id": "p"}] * 101}
    answer = predictor.client.post("/predict/batch?explain=contributions", json=many)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "requests"
    assert predictor.client.post("/predict/batch", json=many).status_code == 200


def test_model_without_trees_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoExplanationError, match="no forest"):
        ForestExplainer.of(logistic_graph({}, 0.0, PLAN.input_names))
    published(tmp_path, bundle_files())
    with running_predictor(tmp_path) as running:
        answer = running.client.post(
            "/predict?explain=contributions", json={"user_id": "u", "product_id": "p"}
        )
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "explain"
