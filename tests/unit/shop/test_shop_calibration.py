"""The truth against what then happened."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from reprise.shop import PURCHASE, Shop, ShopConfig
from reprise.shop.config import DAY_US
from support.collection import SOAK

START = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
USERS, DAYS = (8_000, 240) if SOAK else (4_000, 200)
FIRST_DAY = 60


@dataclass
class Outcomes:
    """Events whose horizon is over, with what happened to their pairs before and after."""

    user: np.ndarray
    purchase: np.ndarray
    probability: np.ndarray
    label: np.ndarray
    recency: np.ndarray


@cache
def outcomes(horizon_days: int) -> Outcomes:
    config = ShopConfig(seed=11, users=USERS, products=240)
    end = START + DAYS * DAY_US
    batches = list(Shop(config).history(START, end, horizon_us=horizon_days * DAY_US))
    user, product, kind, when, probability = (
        np.concatenate([getattr(batch, name) for batch in batches])
        for name in ("user", "product", "event_type", "timestamp_us", "probability")
    )
    events = pd.DataFrame({"pair": user * config.products + product, "bought": when.astype(float)})
    purchases = events["bought"].where(kind == PURCHASE).groupby(events["pair"])
    # The events are in time order: the purchase before each, and the one after it.
    preceding = purchases.shift(1).groupby(events["pair"]).ffill().fillna(-np.inf).to_numpy()
    following = purchases.shift(-1).groupby(events["pair"]).bfill().fillna(np.inf).to_numpy()
    over = (when >= START + FIRST_DAY * DAY_US) & (when < end - horizon_days * DAY_US)
    label = following <= when + horizon_days * DAY_US
    return Outcomes(
        user[over], kind[over] == PURCHASE, probability[over], label[over], (preceding - when)[over]
    )


def deviation(found: Outcomes, rows: np.ndarray) -> float:
    """Return how many standard errors the labels are off; a user's events depend on each other, users do not."""
    residual = found.label[rows] - found.probability[rows]
    by_user = np.bincount(found.user[rows], weights=residual)
    return float(residual.sum() / np.sqrt((by_user**2).sum()))


@pytest.mark.parametrize("horizon_days", [pytest.param(7, marks=pytest.mark.soak), 30])
def test_truth_is_calibrated_for_views_and_purchases_at_every_level(horizon_days: int) -> None:
    found = outcomes(horizon_days)
    tested = 0
    for purchase in (False, True):
        level = np.minimum((found.probability * 10).astype(int), 9)
        for number in range(10):
            rows = np.flatnonzero((level == number) & (found.purchase == purchase))
            if len(rows) >= 200:
                tested += 1
                assert abs(deviation(found, rows)) < 4, (purchase, number, len(rows))
    assert tested >= 12
    assert abs(deviation(found, np.arange(len(found.label)))) < 4


def test_truth_is_calibrated_for_pairs_bought_before_by_the_time_since() -> None:
    found = outcomes(30)
    days = -found.recency / DAY_US
    for low, high in ((0, 5), (5, 15), (15, 30), (30, 60), (60, 1e4)):
        rows = np.flatnonzero((days >= low) & (days < high))
        assert len(rows) > 200
        assert abs(deviation(found, rows)) < 4, (low, high)


def test_truth_ranks_far_better_than_recency_and_the_task_is_neither_trivial_nor_hopeless() -> None:
    found = outcomes(30)
    again = np.isfinite(found.recency)
    assert 0.10 < found.label.mean() < 0.30
    recency = np.maximum(found.recency, -1e18)
    truth, other = (roc_auc_score(found.label, score) for score in (found.probability, recency))
    assert 0.85 < truth < 0.92
    assert truth > other + 0.08
    truth, other = (roc_auc_score(found.label[again], score[again]) for score in (found.probability, recency))
    assert truth > other + 0.12


def test_truth_of_the_last_events_does_not_know_that_the_history_ends() -> None:
    config = ShopConfig(seed=2, users=300, products=40)
    end = START + 20 * DAY_US

    def last_probabilities(until: int) -> np.ndarray:
        batches = Shop(config).history(START, until, horizon_us=30 * DAY_US)
        return np.concatenate([batch.before(end).probability for batch in batches])

    np.testing.assert_array_equal(last_probabilities(end), last_probabilities(end + 60 * DAY_US))
