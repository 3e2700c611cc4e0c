import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from reprise.evaluation.poisson_gamma import PastPurchases, poisson_gamma
from reprise.trainer.evaluation.baselines import binned_rates


def test_recency_learns_a_cycle_and_the_rate_of_pairs_never_bought() -> None:
    random = np.random.default_rng(0)
    days = random.uniform(0, 90, 60_000)
    days[:20_000] = np.nan
    rate = np.where(np.isnan(days), 0.02, 0.1 + 0.6 * np.exp(-(((np.nan_to_num(days) - 30) / 8) ** 2)))
    wanted = np.array([np.nan, 3.0, 30.0, 85.0])
    never, early, due, late = binned_rates(days, random.random(len(days)) < rate, wanted)
    assert never == pytest.approx(0.02, abs=0.01)
    assert due > 0.6
    assert early < 0.2 > late


def test_recency_of_rows_without_any_purchase_is_the_overall_rate() -> None:
    labels = np.arange(10) < 5
    assert binned_rates(np.full(10, np.nan), labels, np.array([np.nan, 4.0])) == pytest.approx([0.5, 0.5])


def test_days_beyond_those_seen_get_the_outermost_rate() -> None:
    beyond, last = binned_rates(np.arange(100.0), np.arange(100) < 50, np.array([1e6, 99.0]))
    assert beyond == last


def test_poisson_gamma_is_calibrated_where_its_assumptions_hold() -> None:
    """Users of one product who buy at a gamma-distributed rate; 40 % never buy it again."""
    random, users, horizon = np.random.default_rng(2), 40_000, 20.0
    rates = random.gamma(1.0, 1 / 25, users) * (random.random(users) > 0.4)
    observed = random.uniform(150, 200, users)
    again = random.poisson(rates * observed)
    never = np.full(users, np.nan)
    past = PastPurchases(
        count=again + 1.0,
        since_first=observed,
        spend=never,
        customers=np.full(users, float(users)),
        repeat_customers=np.full(users, float((again > 0).sum())),
        repeats=np.full(users, float(again.sum())),
        customer_days=np.full(users, observed.sum()),
    )
    bought = random.random(users) > np.exp(-rates * horizon)
    found = poisson_gamma(past, past, horizon)
    many = again > 8
    assert (found[many] / past.repeat_customers[0] * users).mean() == pytest.approx(
        bought[many].mean(), abs=0.02
    )
    assert roc_auc_score(bought, found) > 0.97 * roc_auc_score(bought, rates)
    nobody = PastPurchases(*[np.full(1, np.nan)] * 7)
    assert np.isnan(poisson_gamma(past, nobody, horizon)).all()
