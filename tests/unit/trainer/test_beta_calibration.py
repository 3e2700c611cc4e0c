import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.trainer.model.beta_calibration import BetaCalibration, fit_beta_calibration


def test_fit_recovers_the_map_that_made_the_labels() -> None:
    random = np.random.default_rng(1)
    scores = random.uniform(0.02, 0.98, 200_000)
    truth = BetaCalibration(a=1.3, b=0.6, c=-2.0)
    fitted = fit_beta_calibration(scores, random.random(len(scores)) < truth.apply(scores))
    assert fitted.apply(scores) == pytest.approx(truth.apply(scores), abs=0.01)


def test_balanced_votes_are_brought_back_to_the_real_rate() -> None:
    random = np.random.default_rng(2)
    probability = random.beta(1, 12, 100_000)
    labels = random.random(len(probability)) < probability
    odds = probability / (1 - probability) * (1 - labels.mean()) / labels.mean()
    fitted = fit_beta_calibration(odds / (1 + odds), labels)
    assert fitted.apply(odds / (1 + odds)).mean() == pytest.approx(labels.mean(), abs=0.001)


@given(
    a=st.floats(0, 5), b=st.floats(0, 5), c=st.floats(-5, 5),
    scores=st.lists(st.floats(0, 1), min_size=2, max_size=20),
)  # fmt: skip
def test_calibration_never_swaps_two_rows(a: float, b: float, c: float, scores: list[float]) -> None:
    ordered = np.sort(np.array(scores))
    calibrated = BetaCalibration(a, b, c).apply(ordered)
    assert (np.diff(calibrated) >= -1e-15).all()
    assert ((calibrated >= 0) & (calibrated <= 1)).all()


def test_score_that_points_the_wrong_way_is_ignored() -> None:
    random = np.random.default_rng(3)
    scores = random.uniform(0.01, 0.99, 20_000)
    labels = random.random(len(scores)) > scores
    fitted = fit_beta_calibration(scores, labels)
    assert fitted.a == fitted.b == 0.0
    assert fitted.apply(np.array([0.1, 0.9])) == pytest.approx(np.full(2, labels.mean()))


def test_certain_votes_stay_finite() -> None:
    fitted = fit_beta_calibration(
        np.array([0.0, 0.0, 1.0, 1.0] * 20), np.array([False, False, True, True] * 20)
    )
    assert np.isfinite([fitted.a, fitted.b, fitted.c]).all()
    assert np.isfinite(fitted.apply(np.array([0.0, 1.0]))).all()


def test_newer_rows_weigh_more() -> None:
    """The rate of labels rises from 0.2 to 0.6 halfway; an old row weighs a hundredth of a new one."""
    random = np.random.default_rng(0)
    new = np.arange(20_000) >= 10_000
    labels = random.random(20_000) < np.where(new, 0.6, 0.2)
    fitted = fit_beta_calibration(random.random(20_000), labels, np.where(new, 1.0, 0.01))
    assert fitted.apply(np.array([0.5])) == pytest.approx(0.6, abs=0.02)
