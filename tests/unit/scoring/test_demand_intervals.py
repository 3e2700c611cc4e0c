"""Intervals cover what they promise, and are wider than a sum of Bernoullis where past errors were."""

import numpy as np
import pytest
from scipy import stats

from reprise.scoring.demand.intervals import fit_dispersion, interval


@pytest.mark.parametrize("dispersion", [0.0, 0.05, 1.0, 8.0])
def test_bounds_are_the_quantiles_of_the_negative_binomial(dispersion: float) -> None:
    means = np.array([0.0, 0.01, 0.5, 3.0, 40.0, 299.0, 1_000.0, 50_000.0])
    low, high = interval(means, dispersion)
    size = 1 / max(dispersion, 1e-9)
    expected = [stats.nbinom.ppf(tail, size, size / (size + means)) for tail in (0.1, 0.9)]
    np.testing.assert_array_equal(low[:6], np.nan_to_num(expected[0][:6]))
    np.testing.assert_array_equal(high[:6], np.nan_to_num(expected[1][:6]))
    np.testing.assert_allclose(high[6:], expected[1][6:], rtol=0.02)
    np.testing.assert_allclose(low[6:], expected[0][6:], rtol=0.02, atol=0.01 * means[6])


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


def test_a_sum_of_bernoullis_alone_would_be_too_narrow() -> None:
    rng = np.random.default_rng(6)
    probabilities = rng.beta(1, 9, (200, 400))
    shocks = rng.gamma(4, 1 / 4, (2, 200, 1))  # A product's good or bad month
    past, now = (rng.random((200, 400)) < probabilities * shock for shock in shocks)
    means = probabilities.sum(axis=1)
    bounds = {
        name: interval(means, dispersion)
        for name, dispersion in (("naive", 0.0), ("fitted", fit_dispersion(means, past.sum(axis=1))))
    }
    covered = {
        name: ((now.sum(axis=1) >= low) & (now.sum(axis=1) <= high)).mean()
        for name, (low, high) in bounds.items()
    }
    assert covered["naive"] < 0.4
    assert 0.72 < covered["fitted"] < 0.92


def test_products_that_nobody_expected_do_not_widen_the_others_intervals() -> None:
    rng = np.random.default_rng(7)
    means = np.concatenate([np.full(5, 0.05), rng.uniform(5, 200, 95)])
    counts = rng.poisson(means).astype(float)
    counts[:5] = 20
    low, high = interval(means, fit_dispersion(means, counts))
    assert ((high - low)[5:] < 2 * 1.2816 * 1.3 * np.sqrt(means[5:]) + 2).all()


def test_without_counts_there_is_no_dispersion() -> None:
    assert fit_dispersion(np.zeros(3), np.zeros(3)) == 0.0
    assert fit_dispersion(np.array([]), np.array([])) == 0.0
