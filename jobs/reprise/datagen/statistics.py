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
    """Counts of a history; probabilities are the generator's own, within the stream's horizon."""

    def __init__(self, shop: Shop, start_us: int) -> None:
        def counts(*shape: int) -> Counts:
            return np.zeros(shape, dtype=np.int64)

        config = shop.config
        self.shop = shop
        self.start_us = start_us
        self.daily = counts(1, 2)  # (days, event types) events per day from the start to the last event
        self.weekly = counts(7, 24)  # events by weekday from Monday and hour, UTC
        self.product_events = counts(config.products, 2)  # (products, event types) events per product
        self.user_purchases = counts(config.users)
        self.users_active = np.zeros(config.users, dtype=np.bool_)  # whether a user has an event
        self.users_repeating = np.zeros(config.users, dtype=np.bool_)  # whether one bought a product twice
        # Times between purchases of a pair, by category and whole days; the last bin is open.
        self.gaps = counts(len(CATEGORIES), GAP_DAYS + 1)
        # Events by the generator's probability and event type, and its sum per event type.
        self.probability_histogram = counts(PROBABILITY_BINS, 2)
        self.probability_sum: Floats = np.zeros(2)
        self.amount = 0.0  # sum of all amounts
        self._pair = counts(0)  # the pairs bought so far, ascending, and when they were bought last
        self._last = counts(0)

    @property
    def events(self) -> int:
        """Number of events."""
        return int(self.daily.sum())

    @property
    def purchases(self) -> int:
        """Number of purchases."""
        return int(self.daily[:, PURCHASE].sum())

    @property
    def repeats(self) -> Counts:
        """Purchases per category that were not the pair's first in this history."""
        repeats: Counts = self.gaps.sum(axis=1)
        return repeats

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
        kind = batch.event_type.astype(np.int64)
        day = (batch.timestamp_us - self.start_us) // DAY_US
        missing = max(int(day[-1]) + 1 - len(self.daily), 0)
        self.daily = np.concatenate((self.daily, np.zeros((missing, 2), dtype=np.int64)))
        _count(self.daily, day, kind)
        weekday = (batch.timestamp_us // DAY_US + _EPOCH_WEEKDAY) % 7
        _count(self.weekly, weekday, batch.timestamp_us % DAY_US // HOUR_US)
        _count(self.product_events, batch.product, kind)
        self.users_active[batch.user] = True
        self.amount += float(np.nansum(batch.amount))
        if batch.probability is not None:
            number = (batch.probability * PROBABILITY_BINS).astype(np.int64)
            _count(self.probability_histogram, np.minimum(number, PROBABILITY_BINS - 1), kind)
            self.probability_sum += np.bincount(kind, weights=batch.probability, minlength=2)
        bought = np.flatnonzero(kind != VIEW)
        self._count_purchases(batch.user[bought], batch.product[bought], batch.timestamp_us[bought])

    def _count_purchases(self, user: Counts, product: Counts, timestamp_us: Counts) -> None:
        np.add.at(self.user_purchases, user, 1)
        products = self.shop.config.products
        pair = np.concatenate((self._pair, user * products + product))
        when = np.concatenate((self._last, timestamp_us))
        # Earlier purchases come first, and each batch is in time order.
        order = np.argsort(pair, kind="stable")
        pair, when = pair[order], when[order]
        again = np.flatnonzero(pair[1:] == pair[:-1]) + 1
        days = np.minimum((when[again] - when[again - 1]) // DAY_US, GAP_DAYS)
        category = self.shop.population.products.category[pair[again] % products]
        _count(self.gaps, category, days)
        self.users_repeating[pair[again] // products] = True
        latest = np.diff(pair, append=-1) != 0
        self._pair, self._last = pair[latest], when[latest]


def _count(counts: Counts, *index: Counts) -> None:
    flat = np.ravel_multi_index(index, counts.shape)
    counts += np.bincount(flat, minlength=counts.size).reshape(counts.shape)
