import numpy as np
import pytest

from reprise.trainer.evaluation.recency_baseline import fit_recency


def test_recency_learns_a_cycle_and_the_rate_of_pairs_never_bought() -> None:
    random = np.random.default_rng(0)
    days = random.uniform(0, 90, 60_000)
    days[:20_000] = np.nan
    rate = np.where(np.isnan(days), 0.02, 0.1 + 0.6 * np.exp(-(((np.nan_to_num(days) - 30) / 8) ** 2)))
    fitted = fit_recency(days, random.random(len(days)) < rate)
    never, early, due, late = fitted.predict(np.array([np.nan, 3.0, 30.0, 85.0]))
    assert never == pytest.approx(0.02, abs=0.01)
    assert due > 0.6
    assert early < 0.2 > late


def test_recency_of_rows_without_any_purchase_is_the_overall_rate() -> None:
    fitted = fit_recency(np.full(10, np.nan), np.array([True] * 5 + [False] * 5))
    assert fitted.predict(np.array([np.nan, 4.0])) == pytest.approx([0.5, 0.5])


def test_days_beyond_those_seen_get_the_outermost_rate() -> None:
    fitted = fit_recency(np.arange(100.0), np.arange(100) < 50)
    assert fitted.predict(np.array([1e6]))[0] == fitted.predict(np.array([99.0]))[0]
