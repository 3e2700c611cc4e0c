"""The baseline finds the parameters of customers who were drawn by its own assumptions, and is calibrated on them."""

import numpy as np

from reprise.evaluation.classification_metrics import RankedPredictions
from support.bg_nbd import BgNbd, fit_bg_nbd


def draw(truth: BgNbd, customers: int, age: float, horizon: float) -> np.ndarray:
    """Return repeat purchases, time of the last and age, and whether each customer buys within the horizon."""
    rng, rows = np.random.default_rng(4), []
    for _ in range(customers):
        rate, leaves = rng.gamma(truth.r, 1 / truth.alpha), rng.beta(truth.a, truth.b)
        now, last, repeats, observed, bought = 0.0, 0.0, 0, rng.uniform(age / 2, age), False
        # The model of 2005 lets nobody leave before the first repeat purchase
        while True:
            now += rng.exponential(1 / rate)
            if now > observed:
                bought = now <= observed + horizon
                break
            last, repeats = now, repeats + 1
            if rng.random() < leaves:
                break
        rows.append((repeats, last, observed, bought))
    return np.array(rows, np.float64).T


def test_parameters_and_probabilities_are_those_of_the_simulated_customers() -> None:
    truth = BgNbd(r=0.8, alpha=10.0, a=0.8, b=2.5)
    *past, bought = draw(truth, 20_000, 120, 20)
    found = fit_bg_nbd(*past)
    np.testing.assert_allclose(
        [found.r, found.alpha, found.a / (found.a + found.b)],
        [truth.r, truth.alpha, truth.a / (truth.a + truth.b)],
        rtol=0.1,
    )
    probabilities = found.probability(*past, 20)
    metrics = RankedPredictions.of(bought == 1, probabilities).metrics()
    assert metrics.calibration_error < 0.01
    best = RankedPredictions.of(bought == 1, truth.probability(*past, 20)).metrics()
    assert metrics.roc_auc > best.roc_auc - 0.005
