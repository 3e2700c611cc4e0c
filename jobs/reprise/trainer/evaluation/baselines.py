"""What a model has to beat: the rate of purchases, and the time since the pair's last purchase."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]

_BINS = 30
_PRIOR_ROWS = 20.0


@dataclass(frozen=True, slots=True)
class Prevalence:
    """Answers the share of positives of the training rows, always."""

    rate: float

    def predict(self, recency_days: Floats) -> Floats:
        """Return the constant rate for each row."""
        return np.full(len(recency_days), self.rate)


@dataclass(frozen=True, slots=True)
class Recency:
    """Answers the share of positives among training rows of a similar time since the last purchase.

    It may rise and fall with time, so that it is the best that this one number can say, cycles included.
    A pair that was never bought has a rate of its own.
    """

    edges: tuple[float, ...]
    rates: tuple[float, ...]
    never_rate: float

    def predict(self, recency_days: Floats) -> Floats:
        """Return the rate for each row's days since the pair's last purchase, NaN for never."""
        bins = np.searchsorted(np.asarray(self.edges), recency_days, side="right")
        rates = np.asarray(self.rates)[np.minimum(bins, len(self.rates) - 1)]
        return np.where(np.isnan(recency_days), self.never_rate, rates)


def fit_prevalence(labels: Labels) -> Prevalence:
    """Return the baseline that knows only how common the label is."""
    return Prevalence(float(labels.mean()))


def fit_recency(recency_days: Floats, labels: Labels) -> Recency:
    """Return the baseline that knows the days since the pair's last purchase, in up to 30 equal-count bins.

    Rates are drawn towards the overall rate by 20 rows' worth of it, so that a small bin is no wild guess.
    """
    overall = float(labels.mean())
    bought = ~np.isnan(recency_days)
    days = recency_days[bought]
    quantiles = np.quantile(days, np.linspace(0, 1, _BINS + 1)[1:-1]) if len(days) else np.empty(0)
    edges = np.unique(quantiles)
    bins = np.searchsorted(edges, days, side="right")
    rows = np.bincount(bins, minlength=len(edges) + 1)
    hits = np.bincount(bins, weights=labels[bought], minlength=len(edges) + 1)
    rates = (hits + _PRIOR_ROWS * overall) / (rows + _PRIOR_ROWS)
    never = labels[~bought]
    never_rate = (float(never.sum()) + _PRIOR_ROWS * overall) / (len(never) + _PRIOR_ROWS)
    return Recency(tuple(edges.tolist()), tuple(rates.tolist()), never_rate)
