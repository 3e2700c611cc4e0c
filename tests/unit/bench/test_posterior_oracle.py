"""The posterior oracle is calibrated on a small shop, independent of its grid, and right where the truth is known."""

from datetime import UTC, datetime

import numpy as np
import pytest

from bench.trainer.posterior_oracle import Nodes, PosteriorOracle, by_user
from reprise.shop.activity_clock import ActivityClock
from reprise.shop.config import DAY_US, SEGMENTS, ShopConfig
from reprise.shop.event_batch import PURCHASE, VIEW
from reprise.shop.oracle import PurchaseRisks, purchase_probability
from reprise.shop.shop import Shop

START_US = int(datetime(2026, 2, 1, tzinfo=UTC).timestamp() * 1e6)
JUDGED_US = START_US + 60 * DAY_US
HORIZON_US = 30 * DAY_US
SHOP = Shop(ShopConfig(seed=3, users=100, products=60))


class History:
    """100 days of the shop's events."""

    def __init__(self) -> None:
        batches = list(SHOP.history(START_US, START_US + 100 * DAY_US))
        self.user, self.product, self.event_type, self.timestamp_us = (
            np.concatenate([getattr(batch, name) for batch in batches])
            for name in ("user", "product", "event_type", "timestamp_us")
        )
        self.judged = (self.timestamp_us >= JUDGED_US) & (self.timestamp_us < JUDGED_US + 10 * DAY_US)

    def posterior(self, oracle: PosteriorOracle, users: int) -> np.ndarray:
        probability = np.full(len(self.user), np.nan)
        for user, rows in by_user(self.user):
            if user < users:
                columns = self.product, self.event_type, self.timestamp_us, self.judged
                probability[rows] = oracle.predict(*(column[rows] for column in columns))
        return probability

    def labels(self) -> np.ndarray:
        pair = self.user * SHOP.config.products + self.product
        bought = self.event_type == PURCHASE
        return np.array(
            [
                (
                    bought
                    & (pair == mine)
                    & (self.timestamp_us > now)
                    & (self.timestamp_us <= now + HORIZON_US)
                ).any()
                for mine, now in zip(pair[self.judged], self.timestamp_us[self.judged], strict=True)
            ]
        )


@pytest.fixture(scope="module")
def history() -> History:
    return History()


def oracle(nodes: Nodes | None = None, horizon_us: int = HORIZON_US) -> PosteriorOracle:
    return PosteriorOracle(SHOP.population.products, START_US, horizon_us, nodes)


def test_posterior_is_calibrated_and_informative(history: History) -> None:
    probability = history.posterior(oracle(), SHOP.config.users)[history.judged]
    labels, users = history.labels(), history.user[history.judged]
    assert np.isfinite(probability).all()
    for low, high in ((0.0, 1.0), (0.0, 0.05), (0.05, 0.2), (0.2, 1.0)):
        chosen = (probability >= low) & (probability <= high)
        errors = np.bincount(users[chosen], (labels - probability)[chosen])
        assert abs(errors.sum()) < 3.5 * np.sqrt((errors**2).sum()), (low, high)

    def loss(scores: np.ndarray) -> float:
        return float(-np.log(np.where(labels, scores, 1 - scores)).mean())

    assert loss(probability) < 0.85 * loss(np.full(len(labels), labels.mean()))


def test_halving_the_grid_changes_nothing(history: History) -> None:
    coarse, fine = (history.posterior(oracle(Nodes(step)), 3)[history.judged] for step in (1.0, 0.5))
    judged = np.isfinite(coarse)
    assert judged.sum() > 10
    assert np.abs(coarse - fine)[judged].max() < 0.005


@pytest.mark.parametrize("share_of_cycle", [0.8, 1.0, 1.2])
def test_many_purchases_tell_the_cycle(share_of_cycle: float) -> None:
    products, loyal = SHOP.population.products, 0
    product = int(np.argmax(products.regularity))
    cycle, stages = products.cycle[product] * np.exp(0.3), int(products.regularity[product])
    clock = ActivityClock(START_US)
    waits = np.random.default_rng(1).gamma(stages, cycle / stages, 80)
    times = clock.read_all(START_US)[loyal] + np.cumsum(waits)
    instants = clock.instant(np.full(len(times), loyal), times)
    horizon_us = int(share_of_cycle * cycle * DAY_US)
    last = np.arange(len(times)) == len(times) - 1
    found = oracle(horizon_us=horizon_us).predict(
        np.full(len(times), product), np.full(len(times), PURCHASE), instants, last
    )[-1]
    # Every purchase was followed by the next, so the probability of a next one is near 1
    known = PurchaseRisks(
        age=np.zeros(1),
        advance=clock.read(np.array([loyal]), instants[-1:] + horizon_us) - times[-1],
        churn=np.array([1 / SEGMENTS[loyal].lifetime_days]),
        browsing=np.full(1, 1e-9),
        repeat=np.array([0.98]),
        cycle=np.array([waits.mean()]),
        regularity=np.array([stages]),
    )
    assert found == pytest.approx(purchase_probability(known)[0], abs=0.04)


def test_later_events_change_no_earlier_probability(history: History) -> None:
    rows = next(rows for user, rows in by_user(history.user) if history.judged[rows].sum() > 5)
    columns = [column[rows] for column in (history.product, history.event_type, history.timestamp_us)]
    wanted = history.judged[rows]
    until = int(np.flatnonzero(wanted)[3]) + 1
    whole = oracle().predict(*columns, wanted)[:until]
    part = oracle().predict(*(column[:until] for column in columns), wanted[:until])
    np.testing.assert_array_equal(part, whole)


def test_view_soon_after_a_purchase_is_no_replenishment() -> None:
    product = int(np.argmin(SHOP.population.products.repeat))
    instants = START_US + np.array([10, 12], dtype=np.int64) * DAY_US
    found = oracle().predict(
        np.full(2, product), np.array([PURCHASE, VIEW]), instants, np.array([True, True])
    )
    assert found[1] < 0.05
