"""Intervals cover what they promise, as far as past errors tell."""

import numpy as np
import pytest

from reprise.scoring.demand.intervals import fit_dispersion, interval


@pytest.mark.parametrize(
    ("products", "largest_mean", "windows", "dispersion"),
    [
        (300, 0.5, 1, 0.5),  # Few buyers, one backtest
        (30, 3.0, 1, 1.0),  # Few products
        (300, 50.0, 1, 0.3),
        (300, 50.0, 3, 0.0),  # As regular as a Poisson process
        (100, 2_000.0, 2, 0.1),
    ],
)
def test_eighty_percent_of_later_counts_are_in_the_interval(
    products: int, largest_mean: float, windows: int, dispersion: float
) -> None:
    rng = np.random.default_rng(5)
    covered = []
    for _ in range(20):
        means = largest_mean * rng.random(products) ** 3 + 0.01

        def draw(size: tuple[int, ...], means: np.ndarray = means) -> np.ndarray:
            shocks = rng.gamma(1 / dispersion, dispersion, size) if dispersion else np.ones(size)
            return rng.poisson(means * shocks)

        past = draw((windows, products))
        low, high = interval(means, fit_dispersion(np.tile(means, windows), past.ravel().astype(float)))
        now = draw((products,))
        covered.append(((now >= low) & (now <= high)).mean())
    # Whole numbers make small counts' intervals wider than asked, never narrower
    assert np.mean(covered) > 0.78
    if largest_mean >= 50 and products >= 100:
        assert np.mean(covered) < 0.93


def test_products_that_nobody_expected_do_not_widen_the_others_intervals() -> None:
    rng = np.random.default_rng(7)
    means = np.concatenate([np.full(5, 0.05), rng.uniform(5, 200, 95)])
    counts = rng.poisson(means).astype(float)
    counts[:5] = 20
    low, high = interval(means, fit_dispersion(means, counts))
    assert ((high - low)[5:] < 2 * 1.2816 * 1.3 * np.sqrt(means[5:]) + 2).all()


def test_without_counts_there_is_no_dispersion_and_no_width() -> None:
    assert fit_dispersion(np.zeros(3), np.zeros(3)) == 0.0
    assert fit_dispersion(np.array([]), np.array([])) == 0.0
    assert [bound.tolist() for bound in interval(np.zeros(1), 0.5)] == [[0.0], [0.0]]
