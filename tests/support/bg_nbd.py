"""BG/NBD: Fader, Hardie and Lee, *"Counting Your Customers" the Easy Way*, Marketing Science 24(2), 2005.

A customer buys at a gamma-distributed Poisson rate and leaves after each purchase with a beta-distributed probability.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaln, gammaln

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BgNbd:
    """The four parameters: the rate is Gamma(r, α), the probability to leave Beta(a, b)."""

    r: float
    alpha: float
    a: float
    b: float

    def log_likelihood(self, repeats: Floats, last: Floats, age: Floats) -> Floats:
        """Return equation 6 for each customer: number of repeat purchases, and time from the first to last and now."""
        r, alpha, a, b = self.r, self.alpha, self.a, self.b
        bought = repeats > 0
        alive = -(r + repeats) * np.log(alpha + age)
        left = np.where(
            bought,
            np.log(a) - np.log(np.where(bought, b + repeats - 1, 1)) - (r + repeats) * np.log(alpha + last),
            -np.inf,
        )
        common = gammaln(r + repeats) - gammaln(r) + r * np.log(alpha) + betaln(a, b + repeats) - betaln(a, b)
        return common + np.logaddexp(alive, left)

    def probability(self, repeats: Floats, last: Floats, age: Floats, horizon: float) -> Floats:
        """Return P(buys within the horizon): P(alive) times that of a gamma posterior of the rate."""
        r, alpha, a, b = self.r, self.alpha, self.a, self.b
        bought = repeats > 0
        odds = np.where(bought, a / np.where(bought, b + repeats - 1, 1), 0.0)
        alive = 1 / (1 + odds * ((alpha + age) / (alpha + last)) ** (r + repeats))
        return alive * (1 - ((alpha + age) / (alpha + age + horizon)) ** (r + repeats))


def fit_bg_nbd(repeats: Floats, last: Floats, age: Floats) -> BgNbd:
    def loss(logs: Floats) -> float:
        return -float(BgNbd(*np.exp(logs)).log_likelihood(repeats, last, age).mean())

    start = np.array([0.0, np.log(np.maximum(1e-3, age.mean())), 0.0, 1.0])
    found = minimize(loss, start, method="L-BFGS-B", bounds=[(-12.0, 12.0)] * 4)
    assert found.success, found.message
    return BgNbd(*np.exp(found.x).tolist())
