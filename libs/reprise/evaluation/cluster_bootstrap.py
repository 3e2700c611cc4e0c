"""Confidence intervals of metrics over users.

Users are resampled, not predictions: the pairs cluster bootstrap (Cameron, Gelbach and Miller, *Bootstrap-based
improvements for inference with clustered errors*, Review of Economics and Statistics 90(3), 2008), with Poisson(1)
weights for the draw (Chamandy, Muralidharan, Najmi and Naidu, *Estimating uncertainty for massive data streams*,
Google, 2012), percentile intervals. They are valid at one moment: a decision that is evaluated repeatedly
needs a confidence sequence.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import numpy as np

from reprise.evaluation.classification_metrics import Floats, Indices

NORMAL_95 = 1.96
"""Standard errors from the mean to each end of a 95% interval of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95% interval; NaN if undefined."""

    value: float
    lower: float
    upper: float


def bootstrap(
    statistics: Callable[[Floats | None], dict[str, float]], users: Indices, *, draws: int, seed: int
) -> dict[str, Interval]:
    """Return each statistic with its interval from that many draws.

    ``statistics`` returns the statistics of the rows by name, weighted by its argument unless that is ``None``.
    ``users`` has the user of each row, numbered from 0.
    """
    values = statistics(None)
    rng = np.random.default_rng(seed)
    count = int(users.max()) + 1
    drawn: dict[str, list[float]] = {name: [] for name in values}
    for _ in range(draws):
        weights = rng.poisson(1.0, count).astype(np.float64)
        for name, value in statistics(weights[users]).items():
            drawn[name].append(value)
    return {name: _interval(values[name], np.array(drawn[name])) for name in values}


def wilson_interval(hits: float, total: int) -> Interval:
    """Return a share with its 95% interval (Wilson, JASA 22, 1927)."""
    if total == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    share, z2 = hits / total, NORMAL_95 * NORMAL_95
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = NORMAL_95 / (1 + z2 / total) * sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def _interval(value: float, drawn: Floats) -> Interval:
    known = drawn[~np.isnan(drawn)]
    if np.isnan(value) or len(known) == 0:
        return Interval(value, float("nan"), float("nan"))
    lower, upper = np.quantile(known, [0.025, 0.975])
    return Interval(value, float(lower), float(upper))
