"""Prediction intervals of counts: negative binomial, with a dispersion that past forecast errors give."""

from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

COVERAGE = 0.8
_TAILS = ((1 - COVERAGE) / 2, (1 + COVERAGE) / 2)
_LARGE_MEAN = 300.0
_GAMMA_DISPERSION = 0.2
_MAX_DISPERSION = 100.0


def fit_dispersion(means: Floats, counts: Floats) -> float:
    """Return the dispersion φ of counts with the variance mean + φ · mean², by Pearson's statistic.

    It is the φ with which Σ (count − mean)² ÷ variance is the number of counts with a positive mean; 0 where a Poisson
    distribution is already as wide, or without such counts.
    """
    positive = means > 0
    mean, squares = means[positive], (counts[positive] - means[positive]) ** 2

    def excess(dispersion: float) -> float:
        return float(np.mean(squares / (mean + dispersion * mean**2) - 1))

    if not mean.size or excess(0.0) <= 0:
        return 0.0
    low, high = 0.0, _MAX_DISPERSION
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return high


def interval(means: Floats, dispersion: float) -> tuple[Floats, Floats]:
    """Return the 10 % and 90 % quantiles of negative binomial counts; 0 and 0 where the mean is 0."""
    small = means <= _LARGE_MEAN
    found = np.zeros((2, len(means)))
    found[:, small] = _exact(means[small], dispersion)
    large = means[~small]
    if dispersion > _GAMMA_DISPERSION:  # The shape hardly depends on the mean any more
        found[:, ~small] = np.round(_exact(np.array([_LARGE_MEAN]), dispersion) * large / _LARGE_MEAN)
        return found[0], found[1]
    # Wilson and Hilferty's approximation of a gamma distribution with the same mean and variance
    ninth = (1 / large + dispersion) / 9
    for at, tail in enumerate(_TAILS):
        root = 1 - ninth + NormalDist().inv_cdf(tail) * np.sqrt(ninth)
        found[at, ~small] = np.round(large * root**3)
    return found[0], found[1]


def _exact(means: Floats, dispersion: float) -> Floats:
    dispersion = max(dispersion, 1e-9)
    size = 1 / dispersion
    ratio = means / (means + size)
    mass = np.exp(-size * np.log1p(means / size))
    total, quantiles, count = mass.copy(), np.zeros((2, len(means))), 0
    while (below := total < _TAILS[1]).any():
        quantiles += total < np.array(_TAILS)[:, None]
        mass *= ratio * (count + size) / (count + 1)
        count += 1
        # A sum that rounding keeps below the tail ends where nothing is added any more
        total = np.where(below & (mass < 1e-15) & (count > means), 1.0, total + mass)
    return quantiles
