from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier

from reprise.bundle.onnx_model import OPERATORS
from reprise.bundle.scorer import Scorer
from reprise.features.request_kinds import KINDS, ONE_KIND, KindColumns
from reprise.trainer.exceptions import GraphMismatchError
from reprise.trainer.model.beta_calibration import BetaCalibration, KindCalibration
from reprise.trainer.model.forest import ForestParameters, SplitForest, grow_forest, score_forest
from reprise.trainer.model.onnx_graph import (
    INPUT,
    OUTPUT,
    TOLERANCE,
    build_graph,
    check_parity,
    floor_to_float32,
    score_rows,
)

CALIBRATION = BetaCalibration(a=1.2, b=0.7, c=-1.5)
Matrix = npt.NDArray[np.float32]


def make_rows(rows: int = 4_000, *, seed: int = 0) -> tuple[Matrix, npt.NDArray[np.bool_]]:
    """Rows with ties, huge and tiny numbers, one column that is never missing and one that mostly is."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(rows, 6))
    inputs[:, 1] = np.round(inputs[:, 1] * 3)
    inputs[:, 2] = np.exp(inputs[:, 2] * 12)
    inputs[:, 3] *= 1e-6
    labels = random.random(rows) < 1 / (1 + np.exp(-(inputs[:, 0] + inputs[:, 1] / 3 - 1.5)))
    inputs[random.random(rows) < 0.8, 4] = np.nan
    inputs[random.random(rows) < 0.1, 0] = np.nan
    return inputs.astype(np.float32), labels


@pytest.fixture(scope="module")
def forest() -> RandomForestClassifier:
    inputs, labels = make_rows()
    return grow_forest(inputs, labels, ForestParameters(trees=40, leaf_rows=8), seed=5, jobs=1)


def of_one_kind(calibration: BetaCalibration) -> KindCalibration:
    return KindCalibration(ONE_KIND, (calibration,) * len(KINDS))


def graph_of(forest: RandomForestClassifier, calibration: BetaCalibration = CALIBRATION) -> bytes:
    return build_graph(SplitForest(forest), of_one_kind(calibration))


def scorer_of(forest: RandomForestClassifier, calibration: BetaCalibration) -> Scorer:
    return Scorer(graph_of(forest, calibration), INPUT, OUTPUT, [""] * 6)


def largest_difference(forest: RandomForestClassifier, rows: Matrix) -> float:
    scorer = scorer_of(forest, CALIBRATION)
    return float(np.abs(score_rows(scorer, rows) - CALIBRATION.apply(forest.predict_proba(rows)[:, 1])).max())


def test_graph_answers_as_scikit_learn_on_unseen_rows(forest: RandomForestClassifier) -> None:
    assert largest_difference(forest, make_rows(5_000, seed=9)[0]) < 2e-6


def test_graph_has_the_operators_that_a_scorer_allows(forest: RandomForestClassifier) -> None:
    model = onnx.load_from_string(graph_of(forest))
    assert {node.op_type for node in model.graph.node} == OPERATORS


def test_graph_takes_the_same_branch_on_either_side_of_every_threshold(
    forest: RandomForestClassifier,
) -> None:
    inputs, _ = make_rows(1)
    rows = []
    for estimator in forest.estimators_[:10]:
        tree = estimator.tree_
        for feature, threshold in zip(tree.feature, tree.threshold, strict=True):
            # an infinite threshold parts the missing values from all others
            if feature < 0 or np.isinf(threshold):
                continue
            nearest = np.float32(threshold)
            for value in (
                np.nextafter(nearest, np.float32(-np.inf)),
                nearest,
                np.nextafter(nearest, np.float32(np.inf)),
            ):
                row = inputs[0].copy()
                row[feature] = value
                rows.append(row)
    assert len(rows) > 1_000
    assert largest_difference(forest, np.array(rows)) < 2e-6


def test_graph_sends_missing_values_where_scikit_learn_does(forest: RandomForestClassifier) -> None:
    rows, _ = make_rows(2_000, seed=11)
    rows[np.random.default_rng(0).random(rows.shape) < 0.5] = np.nan
    rows[0] = np.nan
    assert np.isnan(rows[:, 5]).any(), "a column without missing values in training is missing here"
    assert largest_difference(forest, rows) < 2e-6


def test_one_row_is_answered_as_in_a_batch(forest: RandomForestClassifier) -> None:
    rows, _ = make_rows(200, seed=12)
    scorer = scorer_of(forest, CALIBRATION)
    alone = np.concatenate([scorer.score(rows[at : at + 1]) for at in range(len(rows))])
    assert alone == pytest.approx(scorer.score(rows), abs=1e-6)


def test_graph_is_the_same_whatever_the_number_of_threads() -> None:
    inputs, labels = make_rows()
    parameters = ForestParameters(trees=12)
    graphs = {graph_of(grow_forest(inputs, labels, parameters, seed=3, jobs=jobs)) for jobs in (1, 2, 4)}
    assert len(graphs) == 1
    other = grow_forest(inputs, labels, parameters, seed=4, jobs=1)
    assert graph_of(other) not in graphs


def test_scores_are_the_same_to_the_last_bit_whatever_the_number_of_threads(
    forest: RandomForestClassifier,
) -> None:
    rows, _ = make_rows(40_000, seed=13)
    assert (score_forest(forest, rows, jobs=1) == score_forest(forest, rows, jobs=4)).all()


def test_graph_is_plain_onnx_with_one_input_and_one_output(forest: RandomForestClassifier) -> None:
    model = onnx.load_from_string(graph_of(forest))
    (given_input,), (output,) = model.graph.input, model.graph.output
    assert given_input.name == "inputs"
    assert given_input.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert [d.dim_value or d.dim_param for d in given_input.type.tensor_type.shape.dim] == ["rows", 6]
    assert output.name == "probability"
    assert [d.dim_param for d in output.type.tensor_type.shape.dim] == ["rows"]
    assert {node.domain for node in model.graph.node} == {"", "ai.onnx.ml"}


def test_graph_of_another_calibration_is_caught(forest: RandomForestClassifier) -> None:
    rows, _ = make_rows(500, seed=14)
    scorer = scorer_of(forest, BetaCalibration(a=1.2, b=0.7, c=-1.499))
    with pytest.raises(GraphMismatchError, match="the bundle was not published") as caught:
        check_parity(scorer, SplitForest(forest), of_one_kind(CALIBRATION), rows, jobs=1)
    assert caught.value.max_abs_diff > 1e-5
    scorer = scorer_of(forest, CALIBRATION)
    assert check_parity(scorer, SplitForest(forest), of_one_kind(CALIBRATION), rows, jobs=2) < 1e-5


@pytest.fixture(scope="module")
def almost_sure() -> tuple[RandomForestClassifier, Any, Any]:
    """A forest, its rows and its votes, of which some are 1 and others almost."""
    inputs = np.random.default_rng(3).normal(size=(4_000, 1)).astype(np.float32)
    labels = inputs[:, 0] > 0
    labels[inputs[:, 0].argmax()] = False
    forest = grow_forest(inputs, labels, ForestParameters(trees=200, leaf_rows=20), seed=0, jobs=1)
    votes = score_forest(forest, inputs, jobs=1)
    assert (votes == 1.0).any()
    assert ((votes > 0.99) & (votes < 1.0)).any()
    return forest, inputs, votes


def test_a_vote_of_all_trees_is_calibrated_as_exactly_as_any(almost_sure: tuple[Any, Any, Any]) -> None:
    forest, inputs, votes = almost_sure
    calibration = BetaCalibration(a=0.0, b=2.0, c=-40 * np.log(2.0))  # to one half where all trees agree
    found = scorer_of(forest, calibration).score(inputs[votes == 1.0])
    assert found == pytest.approx(0.5, abs=1e-6)


def test_what_a_calibration_makes_of_rounded_votes_is_no_mismatch(almost_sure: tuple[Any, Any, Any]) -> None:
    forest, inputs, votes = almost_sure
    nearest = votes[votes < 1.0].max()
    turning_there = {"a": 0.0, "b": 500.0, "c": 500.0 * np.log(1.0 - nearest)}
    calibration = BetaCalibration(**turning_there)
    scorer = scorer_of(forest, calibration)
    assert check_parity(scorer, SplitForest(forest), of_one_kind(calibration), inputs, jobs=1) > TOLERANCE
    other = of_one_kind(BetaCalibration(**turning_there | {"b": 510.0}))
    with pytest.raises(GraphMismatchError):
        check_parity(scorer, SplitForest(forest), other, inputs, jobs=1)


def test_each_row_is_answered_by_the_forest_and_the_calibration_of_its_kind() -> None:
    inputs, labels = make_rows(6_000)
    random = np.random.default_rng(1)
    columns = KindColumns(purchases=1, is_purchase=5)
    inputs[:, 1] = np.maximum(np.round(random.normal(size=len(inputs)) * 2), 0)
    inputs[:, 5] = random.choice([0.0, 1.0, np.nan], len(inputs))
    inputs[random.random(len(inputs)) < 0.1, 1] = np.nan
    parameters = ForestParameters(trees=30, leaf_rows=8)
    repeat = inputs[:, 1] > 0
    parts = [
        grow_forest(inputs[mask], labels[mask], parameters, seed=seed, jobs=1)
        for seed, mask in enumerate((~repeat, repeat))
    ]
    forest = SplitForest(parts[0], parts[1], columns)
    by_kind = [BetaCalibration(1.0 + kind / 10, 0.7, -0.5 * kind) for kind in range(len(KINDS))]
    scorer = Scorer(build_graph(forest, KindCalibration(columns, tuple(by_kind))), INPUT, OUTPUT, [""] * 6)
    scores = score_rows(scorer, inputs)
    for kind, calibration in enumerate(by_kind):
        group, what = divmod(kind, 3)
        of_what = [inputs[:, 5] == 0, inputs[:, 5] == 1, np.isnan(inputs[:, 5])][what]
        rows = inputs[of_what & (repeat == bool(group))]
        expected = calibration.apply(parts[group].predict_proba(rows)[:, 1])
        assert len(rows) > 100
        assert scores[of_what & (repeat == bool(group))] == pytest.approx(expected, abs=2e-6), KINDS[kind]


@given(st.floats(-1e30, 1e30), st.floats(-(2.0**100), 2.0**100, width=32))
def test_rounded_threshold_decides_as_the_original(threshold: float, value: float) -> None:
    rounded = floor_to_float32(np.array([threshold]))[0]
    for x in (
        np.float32(value),
        np.float32(threshold),
        np.nextafter(np.float32(threshold), np.float32(np.inf)),
    ):
        assert (np.float64(x) <= threshold) == bool(x <= rounded)
