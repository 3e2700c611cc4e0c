"""The recency baseline: the purchase rate by the time since the pair's last purchase."""

from dataclasses import dataclass

import numpy as np

from reprise.evaluation.classification_metrics import Floats, Labels

_BINS = 30
_PRIOR_ROWS = 20.0


@dataclass(frozen=True, slots=True)
class Recency:
    """Predicts the share of positives among training rows with a similar time since the last purchase.

    The rate may rise and fall with time, so that it captures cycles. A pair that was never bought has its own rate.
    """

    edges: tuple[float, ...]
    rates: tuple[float, ...]
    never_rate: float

    def predict(self, recency_days: Floats) -> Floats:
        """Return the rate for each row's days since the pair's last purchase, NaN for never."""
        bins = np.searchsorted(np.asarray(self.edges), recency_days, side="right")
        rates = np.asarray(self.rates)[np.minimum(bins, len(self.rates) - 1)]
        return np.where(np.isnan(recency_days), self.never_rate, rates)


def fit_recency(recency_days: Floats, labels: Labels) -> Recency:
    """Return the rates of up to 30 bins of equal count, each shrunk to the overall rate by a prior of 20 rows."""
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
