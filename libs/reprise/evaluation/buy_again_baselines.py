"""The baselines of Bhagat, Muralidharan, Lobzhanidze and Vishwanath, *Buy It Again* (KDD 2018), at one instant.

Each multiplies a product's repeat-customer probability by the probability that the next purchase falls into the horizon
after the instant. Rates of products with few buyers are shrunk to those of all products. They are numpy alone.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from reprise.evaluation.classification_metrics import Floats, Indices, Labels

_SHRINKAGE = 5.0  # average pairs that each product's own are mixed with
_LARGEST_SHAPE = 10.0  # of a gamma prior, where the pairs' rates hardly differ
_cdf = np.frompyfunc(lambda z: 0.5 * math.erfc(-z / math.sqrt(2)), 1, 1)


@dataclass(frozen=True, slots=True)
class PairHistories:
    """The purchases of pairs before an instant, one row for each pair with at least one."""

    products: Indices  # The number of the product, from 0
    purchases: Floats
    days_since_first: Floats
    days_since_last: Floats
    intervals: Floats  # Number of intervals between purchases that are not zero
    log_days: Floats  # Sum of the natural logarithms of these intervals in days
    squared_log_days: Floats  # Sum of their squares

    def subset(self, rows: Labels) -> "PairHistories":
        """Return some of the pairs."""
        return PairHistories(*(getattr(self, name)[rows] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class BuyAgainBaselines:
    """What the baselines know of each product."""

    repeat_customers: Floats  # Share of its buyers who bought it more than once
    log_mean: Floats  # Log-normal distribution of the days between purchases
    log_deviation: Floats
    shape: Floats  # Gamma prior of a pair's purchases in a day
    rate: Floats

    @classmethod
    def fit(cls, pairs: PairHistories) -> Self:
        """Estimate each product's parameters from all pairs before the instant, of which there is at least one."""
        numbers = int(pairs.products.max()) + 1

        def by_product(values: Floats) -> Floats:
            return np.bincount(pairs.products, values, numbers).astype(np.float64)

        def shrunk(part: Floats, whole: Floats) -> Floats:
            prior = _SHRINKAGE / len(part)
            share: Floats = (by_product(part) + prior * part.sum()) / np.maximum(
                by_product(whole) + prior * whole.sum(), 1e-9
            )
            return share

        repeat_customers = shrunk((pairs.purchases > 1).astype(np.float64), np.ones(len(pairs.products)))
        log_mean = shrunk(pairs.log_days, pairs.intervals)
        variance = shrunk(pairs.squared_log_days, pairs.intervals) - log_mean**2
        repeats, days = pairs.purchases - 1, np.maximum(pairs.days_since_first, 1e-6)
        mean = np.maximum(shrunk(repeats, days), 1e-9)
        # Moments of a mixed Poisson: what the counts vary more than a Poisson's is the variance of the rates.
        expected = mean[pairs.products] * days
        excess = shrunk((repeats - expected) ** 2 - expected, days**2)
        spread = np.maximum(excess, mean**2 / _LARGEST_SHAPE)
        deviation = np.sqrt(np.maximum(variance, 0.01))
        return cls(repeat_customers, log_mean, deviation, mean**2 / spread, mean / spread)

    def scores(self, pairs: PairHistories, horizon_days: float) -> dict[str, Floats]:
        """Return each baseline's score of pairs, by name; recency and frequency are the plain orders."""
        at, since, age = pairs.products, pairs.days_since_last, pairs.days_since_first
        again = self.repeat_customers[at]
        begins, ends = (self._log_normal(days, at) for days in (since, since + horizon_days))
        own = np.divide(
            age - since, pairs.purchases - 1, out=np.exp(self.log_mean[at]), where=pairs.purchases > 1
        )
        shape = pairs.purchases - 1 + self.shape[at]
        # Before twice the mean interval, a pair's exposure is shortest when the next purchase is due.
        exposure = np.where(since < 2 * own, age - since + 2 * np.abs(own - since), age)

        def bought(days: Floats) -> Floats:
            rate = days + self.rate[at]
            probability: Floats = 1 - (rate / (rate + horizon_days)) ** shape
            return again * probability

        return {
            "last purchase": -since,
            "frequency": pairs.purchases - since / (1 + since.max(initial=0.0)),
            "repeat customers": again,
            "aggregate time distribution": again * (ends - begins),
            "Poisson-gamma": bought(age),
            "modified Poisson-gamma": bought(exposure),
        }

    def _log_normal(self, days: Floats, at: Indices) -> Floats:
        logs = np.log(np.maximum(days, 1e-9))
        return np.asarray(_cdf((logs - self.log_mean[at]) / self.log_deviation[at]), np.float64)
