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
_SMALLEST_MEAN = 1.0
_NORMAL = NormalDist().inv_cdf(_TAILS[1])


def fit_dispersion(means: Floats, counts: Floats) -> float:
    """Return the dispersion φ of counts with the variance mean + φ · mean².

    It is the φ with which 80 % of the errors are within 1.28 standard deviations, as a normal distribution has it. Few
    products of which anything may be true do not widen the others' intervals, as they would by the mean of the squares.
    Counts with a mean below 1 say little about φ, and are left out. 0 where a Poisson distribution is already as wide.
    """
    judged = means >= _SMALLEST_MEAN
    mean, squares = means[judged], (counts[judged] - means[judged]) ** 2
    if not mean.size:
        return 0.0

    def is_narrow(dispersion: float) -> bool:
        share = np.mean(squares <= _NORMAL**2 * (mean + dispersion * mean**2))
        return bool(share < COVERAGE)

    if not is_narrow(0.0):
        return 0.0
    low, high = 0.0, _MAX_DISPERSION
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if is_narrow(middle) else (low, middle)
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
