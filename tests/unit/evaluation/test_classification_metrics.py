from math import erf, sqrt

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from reprise.evaluation.classification_metrics import RankedPredictions
from reprise.evaluation.cluster_bootstrap import bootstrap, wilson_interval


def rows(seed: int, count: int = 3_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities with many ties, and whole weights."""
    rng = np.random.default_rng(seed)
    probabilities = np.round(rng.beta(0.7, 4.0, count), 2)
    return rng.random(count) < probabilities, probabilities, rng.poisson(1.0, count).astype(np.float64)


@pytest.mark.parametrize("seed", range(4))
def test_measures_with_weights_are_scikit_learns(seed: int) -> None:
    labels, probabilities, weights = rows(seed)
    found = RankedPredictions.of(labels, probabilities).metrics(weights)
    clipped = np.clip(probabilities, 1e-7, 1 - 1e-7)
    assert found.roc_auc == pytest.approx(roc_auc_score(labels, probabilities, sample_weight=weights))
    assert found.average_precision == pytest.approx(
        average_precision_score(labels, probabilities, sample_weight=weights)
    )
    assert found.brier == pytest.approx(brier_score_loss(labels, probabilities, sample_weight=weights))
    assert found.log_loss == pytest.approx(log_loss(labels, clipped, sample_weight=weights))
    assert found.base_rate == pytest.approx(np.average(labels, weights=weights))


@pytest.mark.parametrize(
    ("labels", "probabilities", "weights"),
    [
        ([1, 0], [0.5, 0.5], None),
        ([0, 1], [0.9, 0.1], None),
        ([1, 0, 0, 1, 0], [0.3] * 5, None),
        ([1, 0, 1, 0, 0, 1], [0.2, 0.2, 0.7, 0.7, 0.7, 0.9], None),
        ([1, 0, 1, 0], [0.1, 0.4, 0.4, 0.8], [0.0, 2.0, 1.0, 0.0]),
        ([0, 1, 0, 1], [0.0, 1.0, 1.0, 0.0], [3.0, 1.0, 2.0, 5.0]),
        ([1, *[0] * 999], [0.5, *np.linspace(0, 1, 999)], None),
    ],
    ids=["tie", "two rows", "all ties", "some ties", "rows without weight", "extremes", "one positive"],
)
def test_hard_cases_are_scikit_learns(
    labels: list[int], probabilities: list[float], weights: list[float] | None
) -> None:
    given = np.array(labels, dtype=np.bool_), np.array(probabilities)
    weight = None if weights is None else np.array(weights)
    found = RankedPredictions.of(*given).metrics(weight)
    assert found.roc_auc == pytest.approx(roc_auc_score(*given, sample_weight=weight), abs=1e-9)
    expected = average_precision_score(*given, sample_weight=weight)
    assert found.average_precision == pytest.approx(expected, abs=1e-9)


def test_rows_without_any_weight_have_no_metrics() -> None:
    labels, probabilities, _ = rows(3, 5)
    found = RankedPredictions.of(labels, probabilities).metrics(np.zeros(5))
    assert np.isnan([found.base_rate, found.roc_auc, found.average_precision, found.brier]).all()


@pytest.mark.parametrize(("hits", "total"), [(0, 1), (1, 1), (0, 7), (7, 7), (1, 3), (80, 1_000), (1, 10**7)])
def test_share_has_wilsons_interval(hits: int, total: int) -> None:
    found = wilson_interval(hits, total)
    expected = binomtest(hits, total).proportion_ci(erf(1.96 / sqrt(2)), method="wilson")
    assert (found.lower, found.upper) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert found.value == hits / total


def test_share_of_nobody_is_undefined() -> None:
    interval = wilson_interval(0, 0)
    assert np.isnan([interval.value, interval.lower, interval.upper]).all()


def test_weights_are_repetitions() -> None:
    labels, probabilities, weights = rows(9)
    again = np.repeat(np.arange(len(labels)), weights.astype(np.int64))
    weighted = RankedPredictions.of(labels, probabilities).metrics(weights)
    repeated = RankedPredictions.of(labels[again], probabilities[again]).metrics()
    for name in ("roc_auc", "average_precision", "lift", "brier", "log_loss", "mean_probability"):
        assert getattr(weighted, name) == pytest.approx(getattr(repeated, name)), name


def test_lift_is_the_rate_of_the_top_tenth_over_all() -> None:
    probabilities = np.linspace(0, 1, 1_000)
    labels = np.zeros(1_000, dtype=np.bool_)
    labels[-100:] = True
    labels[:100] = True
    assert RankedPredictions.of(labels, probabilities).metrics().lift == pytest.approx(5.0)


def test_one_label_alone_leaves_ranking_undefined() -> None:
    found = RankedPredictions.of(np.zeros(10, dtype=np.bool_), np.linspace(0, 1, 10)).metrics()
    assert np.isnan(found.roc_auc)
    assert np.isnan(found.lift)
    assert found.brier >= 0


def test_calibrated_probabilities_have_a_small_calibration_error() -> None:
    rng = np.random.default_rng(1)
    probabilities = rng.beta(1, 5, 100_000)
    ranked = RankedPredictions.of(rng.random(100_000) < probabilities, probabilities)
    assert ranked.metrics().calibration_error < 0.005
    assert (
        RankedPredictions.of(rng.random(100_000) < probabilities / 2, probabilities)
        .metrics()
        .calibration_error
        > 0.05
    )
    assert sum(point.rows for point in ranked.calibration_curve()) == 100_000


def test_intervals_widen_when_the_rows_of_a_user_belong_together() -> None:
    rng = np.random.default_rng(2)
    users = np.repeat(np.arange(200), 25)
    labels = (rng.random(200) < 0.3)[users]

    def rate(weights: np.ndarray | None) -> dict[str, float]:
        return {"rate": float(np.average(labels, weights=weights))}

    clustered = bootstrap(rate, users, draws=300, seed=0)["rate"]
    alone = bootstrap(rate, np.arange(len(labels)), draws=300, seed=0)["rate"]
    width = clustered.upper - clustered.lower
    assert width == pytest.approx(2 * 1.96 * np.sqrt(0.21 / 200), rel=0.2)
    assert width > 4 * (alone.upper - alone.lower)
    assert clustered == bootstrap(rate, users, draws=300, seed=0)["rate"]
