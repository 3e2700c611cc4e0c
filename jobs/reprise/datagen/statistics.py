"""Statistics of a history, counted batch by batch; memory grows with days, products and bought pairs only."""

import numpy as np
import numpy.typing as npt

from reprise.shop import CATEGORIES, PURCHASE, VIEW, EventBatch, Shop
from reprise.shop.config import DAY_US, HOUR_US

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

GAP_DAYS = 120
"""Longest time between purchases, in days, that has a bin of its own."""
PROBABILITY_BINS = 1_000

_EPOCH_WEEKDAY = 3


class HistoryStatistics:
    """Counts of a history; probabilities are the generator's own, within the stream's horizon.

    Attributes:
        daily: (days, event types) events per day from the start to the last event.
        weekly: (7, 24) events by weekday from Monday and hour, UTC.
        product_events: (products, event types) events per product.
        user_purchases: Purchases per user.
        users_active: Whether a user has an event.
        users_repeating: Whether a user bought some product at least twice.
        repeats: Purchases per category that were not the pair's first in this history.
        gaps: (categories, ``GAP_DAYS`` + 1) times between purchases of a pair, by whole days, the last bin open.
        probability_histogram: (``PROBABILITY_BINS``, event types) events by the generator's probability.
        probability_sum: Sum of the generator's probabilities, per event type.
        amount: Sum of all amounts.
    """

    def __init__(self, shop: Shop, start_us: int) -> None:
        config = shop.config
        self.shop = shop
        self.start_us = start_us
        self.daily: Counts = np.zeros((1, 2), dtype=np.int64)
        self.weekly: Counts = np.zeros((7, 24), dtype=np.int64)
        self.product_events: Counts = np.zeros((config.products, 2), dtype=np.int64)
        self.user_purchases: Counts = np.zeros(config.users, dtype=np.int64)
        self.users_active = np.zeros(config.users, dtype=np.bool_)
        self.users_repeating = np.zeros(config.users, dtype=np.bool_)
        self.repeats: Counts = np.zeros(len(CATEGORIES), dtype=np.int64)
        self.gaps: Counts = np.zeros((len(CATEGORIES), GAP_DAYS + 1), dtype=np.int64)
        self.probability_histogram: Counts = np.zeros((PROBABILITY_BINS, 2), dtype=np.int64)
        self.probability_sum: Floats = np.zeros(2)
        self.amount = 0.0
        self._pair: Counts = np.zeros(0, dtype=np.int64)
        self._last: Counts = np.zeros(0, dtype=np.int64)

    @property
    def events(self) -> int:
        """Number of events."""
        return int(self.daily.sum())

    @property
    def purchases(self) -> int:
        """Number of purchases."""
        return int(self.daily[:, PURCHASE].sum())

    @property
    def base_rate(self) -> float:
        """Expected share of events followed by a purchase of the same pair within the horizon."""
        return float(self.probability_sum.sum()) / max(self.events, 1)

    @property
    def oracle_auc(self) -> float:
        """ROC AUC that the generator's probabilities are expected to have; NaN where it has none."""
        middle = (np.arange(PROBABILITY_BINS) + 0.5) / PROBABILITY_BINS
        total = self.probability_histogram.sum(axis=1)
        positive, negative = total * middle, total * (1 - middle)
        pairs = positive.sum() * negative.sum()
        below = np.cumsum(negative) - negative / 2
        return float((positive * below).sum() / pairs) if pairs else float("nan")

    def add(self, batch: EventBatch) -> None:
        """Count the events of the next batch."""
        self._count_times(batch)
        kind = batch.event_type.astype(np.int64)
        products = self.shop.config.products
        self.product_events += np.bincount(batch.product * 2 + kind, minlength=2 * products).reshape(-1, 2)
        self.users_active[batch.user] = True
        self.amount += float(np.nansum(batch.amount))
        if batch.probability is not None:
            bin_number = np.minimum(
                (batch.probability * PROBABILITY_BINS).astype(np.int64), PROBABILITY_BINS - 1
            )
            count = np.bincount(bin_number * 2 + kind, minlength=2 * PROBABILITY_BINS)
            self.probability_histogram += count.reshape(-1, 2)
            self.probability_sum += np.bincount(kind, weights=batch.probability, minlength=2)
        bought = np.flatnonzero(kind != VIEW)
        self._count_purchases(batch.user[bought], batch.product[bought], batch.timestamp_us[bought])

    def _count_times(self, batch: EventBatch) -> None:
        kind = batch.event_type.astype(np.int64)
        day = (batch.timestamp_us - self.start_us) // DAY_US
        missing = int(day[-1]) + 1 - len(self.daily)
        if missing > 0:
            self.daily = np.concatenate((self.daily, np.zeros((missing, 2), dtype=np.int64)))
        self.daily += np.bincount(day * 2 + kind, minlength=self.daily.size).reshape(-1, 2)
        weekday = (batch.timestamp_us // DAY_US + _EPOCH_WEEKDAY) % 7
        hour = batch.timestamp_us % DAY_US // HOUR_US
        self.weekly += np.bincount(weekday * 24 + hour, minlength=7 * 24).reshape(7, 24)

    def _count_purchases(self, user: Counts, product: Counts, timestamp_us: Counts) -> None:
        if len(user) == 0:
            return
        self.user_purchases += np.bincount(user, minlength=len(self.user_purchases))
        pair = user * self.shop.config.products + product
        order = np.argsort(pair, kind="stable")
        pair, when = pair[order], timestamp_us[order]
        again = np.zeros(len(pair), dtype=np.bool_)
        again[1:] = pair[1:] == pair[:-1]
        previous = np.concatenate(([0], when[:-1]))
        heads = np.flatnonzero(~again)
        row, known = self._rows(pair[heads])
        again[heads] = known
        previous[heads[known]] = self._last[row[known]]
        self._record_last(pair, when)
        category = self.shop.population.products.category[pair[again] % self.shop.config.products]
        days = np.minimum((when[again] - previous[again]) // DAY_US, GAP_DAYS)
        self.repeats += np.bincount(category, minlength=len(CATEGORIES))
        self.gaps += np.bincount(
            category * (GAP_DAYS + 1) + days, minlength=len(CATEGORIES) * (GAP_DAYS + 1)
        ).reshape(self.gaps.shape)
        self.users_repeating[pair[again] // self.shop.config.products] = True

    def _rows(self, pair: Counts) -> tuple[Counts, npt.NDArray[np.bool_]]:
        if len(self._pair) == 0:
            return np.zeros(len(pair), dtype=np.int64), np.zeros(len(pair), dtype=np.bool_)
        row = np.minimum(np.searchsorted(self._pair, pair), len(self._pair) - 1)
        return row, self._pair[row] == pair

    def _record_last(self, pair: Counts, when: Counts) -> None:
        """Keep the last purchase of each pair; pairs come sorted, each in time order."""
        final = np.ones(len(pair), dtype=np.bool_)
        final[:-1] = pair[1:] != pair[:-1]
        pair, when = pair[final], when[final]
        row, known = self._rows(pair)
        self._last[row[known]] = when[known]
        new = ~known
        at = np.searchsorted(self._pair, pair[new])
        self._pair = np.insert(self._pair, at, pair[new])
        self._last = np.insert(self._last, at, when[new])
