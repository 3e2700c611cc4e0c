import numpy as np
import pytest

from reprise.evaluation.classification_metrics import RankedPredictions
from reprise.trainer.evaluation.held_out import score, share_of_achievable


def test_measures_of_a_small_example() -> None:
    labels = np.array([True, False, True, False])
    scores = score(labels, np.array([0.9, 0.8, 0.4, 0.1]), 0.5)
    assert (scores.precision, scores.recall) == (0.5, 0.5)
    assert scores.brier == pytest.approx((0.01 + 0.64 + 0.36 + 0.01) / 4)
    assert scores.log_loss == pytest.approx(-np.log([0.9, 0.2, 0.4, 0.9]).mean())
    assert scores.roc_auc == 0.75
    assert scores.calibration_error == pytest.approx((0.1 + 0.8 + 0.6 + 0.1) / 4)


def test_measures_that_are_undefined_are_none() -> None:
    scores = score(np.array([False, False]), np.array([0.1, 0.2]), 0.5)
    assert {scores.roc_auc, scores.average_precision, scores.precision, scores.recall} == {None}


def test_certain_mistake_has_a_finite_log_loss() -> None:
    assert np.isfinite(score(np.array([True, False]), np.array([0.0, 1.0]), 0.5).log_loss)


def test_perfect_order_is_not_better_than_one() -> None:
    # nine positives of eleven: scikit-learn's sum of precisions is 1 + 2e-16
    scores = score(np.arange(11) >= 2, np.arange(11) / 11, 0.5)
    assert (scores.roc_auc, scores.average_precision) == (1.0, 1.0)


def test_reliability_counts_every_row_once() -> None:
    said = np.array([0.0] * 70 + [0.5] * 20 + [1.0] * 10)
    labels = np.array([False] * 70 + [True] * 10 + [False] * 10 + [True] * 10)
    curve = RankedPredictions.of(labels, said).calibration_curve()
    assert sum(point.rows for point in curve) == 100
    assert {(p.mean_probability, p.positive_share) for p in curve} == {(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)}


def test_share_of_the_achievable_is_measured_from_recency_to_oracle() -> None:
    def scored(auc: float) -> object:
        labels = np.array([True, False])
        return score(labels, np.array([0.6, 0.4]), 0.5).model_copy(update={"roc_auc": auc})

    assert share_of_achievable(scored(0.8), scored(0.7), scored(0.9)) == pytest.approx(0.5)  # type: ignore[arg-type]
    assert share_of_achievable(scored(0.8), scored(0.899), scored(0.9)) is None  # type: ignore[arg-type]
