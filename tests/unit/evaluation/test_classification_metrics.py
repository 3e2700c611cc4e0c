import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from reprise.evaluation.classification_metrics import RankedPredictions
from reprise.outcomes.comparison.bootstrap import bootstrap


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
