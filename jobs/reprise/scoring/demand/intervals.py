"""Prediction intervals of counts: negative binomial, with a dispersion that past forecast errors give."""

import numpy as np
from scipy import stats

from reprise.evaluation.classification_metrics import Floats

COVERAGE = 0.8
_TAILS = ((1 - COVERAGE) / 2, (1 + COVERAGE) / 2)
_DEVIATIONS = float(stats.norm.ppf(_TAILS[1]))
_SMALLEST_MEAN = 1.0
_SMALLEST_DISPERSION = 1e-9  # As good as a Poisson distribution


def fit_dispersion(means: Floats, counts: Floats) -> float:
    """Return the dispersion φ of counts with the variance mean + φ · mean².

    It is the smallest φ with which 80 % of the errors are within 1.28 standard deviations, as in a normal distribution.
    A few products with extreme errors do not widen the intervals of the others, as a mean of squares would let them.
    Counts with a mean below 1 say little about φ and are left out. 0 where a Poisson distribution is as wide.
    """
    judged = means >= _SMALLEST_MEAN
    mean, errors = means[judged], (counts[judged] - means[judged]) / _DEVIATIONS
    if not mean.size:
        return 0.0
    # The dispersion with which each error is just within
    needed = (errors**2 - mean) / mean**2
    return max(0.0, float(np.quantile(needed, COVERAGE, method="inverted_cdf")))


def interval(means: Floats, dispersion: float) -> tuple[Floats, Floats]:
    """Return the 10 % and 90 % quantiles of negative binomial counts; 0 and 0 where the mean is 0."""
    size = 1 / max(dispersion, _SMALLEST_DISPERSION)
    low, high = (stats.nbinom.ppf(tail, size, size / (size + means)) for tail in _TAILS)
    return np.maximum(low, 0.0), np.maximum(high, 0.0)
