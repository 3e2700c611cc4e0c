"""The generator's own probability that a user buys a product within a horizon.

For one user and product, on the user's activity clock (``activity``), three things run independently:

- *churn*, after an exponential time of rate δ;
- *browsing purchases*, a Poisson process of rate λ;
- the *wish* to buy again: after the last purchase it comes with chance r, after an Erlang(k, β) time. Given
  that it has not come by age a, what is left of it is S(a) of S(x) = 1 − r + r·S_E(x).

With θ = δ + λ, the clock's advance w over the horizon and b = a + w, the probability of a first purchase
before both churn and the horizon's end is

    P = (λ/θ)·(1 − Q) + (δ/θ)·I,    Q = exp(−θ·w)·S(b)/S(a),
    I = exp(θ·a)/S(a) · r · ∫ₐᵇ exp(−θ·x) f_E(x) dx,

which follows by integrating the competing rates by parts. The integral is an exponentially tilted Erlang:
(β/(β+θ))^k · (S_{k,β+θ}(a) − S_{k,β+θ}(b)).

Whether the wish exists is *not* taken as known, nor is why a product is viewed: both are inferred, by Bayes,
from what was bought before. So the probability is conditional on the hidden constants (affinity, cycle, churn
rate, …) and on the whole history of events, but on nothing that no observer could know. The minutes that a
session takes are taken as an instant.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Prospect:
    """What is known of a user and a product at an instant; arrays of equal length.

    Attributes:
        age: Shop days since the pair's last purchase; +inf if there was none.
        advance: Shop days from the instant to the horizon's end.
        churn: δ, per shop day.
        browsing: λ, browsing purchases per shop day.
        repeat: r, the chance of a wish after a purchase.
        cycle: Mean shop days until the wish, k/β.
        regularity: k.
    """

    age: Floats
    advance: Floats
    churn: Floats
    browsing: Floats
    repeat: Floats
    cycle: Floats
    regularity: Indices

    def take(self, chosen: Indices) -> "Prospect":
        """Return the chosen elements."""
        return Prospect(
            self.age[chosen],
            self.advance[chosen],
            self.churn[chosen],
            self.browsing[chosen],
            self.repeat[chosen],
            self.cycle[chosen],
            self.regularity[chosen],
        )


def purchase_probability(known: Prospect) -> Floats:
    """Return the probability of a purchase of the pair in (t, t + horizon], per element."""
    total = known.churn + known.browsing
    gone = np.exp(-total * known.advance)
    probability = known.browsing / total * (1.0 - gone)
    rows = np.flatnonzero(np.isfinite(known.age))
    if len(rows):
        probability[rows] = _with_wish(known.take(rows), total[rows], gone[rows])
    return np.clip(probability, 0.0, 1.0)


def wish_rate(known: Prospect) -> Floats:
    """Return the rate, per shop day, at which the wish comes now, given that it has not come yet."""
    rate = np.zeros(len(known.age))
    rows = np.flatnonzero(np.isfinite(known.age) & (known.age > 0.0))
    if len(rows):
        some = known.take(rows)
        stages = some.regularity.astype(np.float64)
        beta = stages / some.cycle
        x = beta * some.age
        density = beta * np.exp((stages - 1) * np.log(x) - x - _log_factorial(some.regularity - 1))
        survival = 1.0 - some.repeat + some.repeat * erlang_survival(some.regularity, x)
        rate[rows] = some.repeat * density / survival
    return rate


def erlang_survival(stages: Indices, x: Floats, shift: Floats | float = 0.0) -> Floats:
    """Return exp(shift − x) · Σ x^j/j! for j below the number of stages.

    Without a shift, it is the chance that the stages, of rate 1, have not passed by x.
    """
    term = np.exp(shift - x)
    total = np.zeros(len(x))
    for stage in range(int(stages.max())):
        total += np.where(stage < stages, term, 0.0)
        term = term * x / (stage + 1)
    return total


def _with_wish(known: Prospect, total: Floats, gone: Floats) -> Floats:
    stages = known.regularity
    beta = stages / known.cycle
    end = known.age + known.advance
    passed = 1.0 - known.repeat + known.repeat * erlang_survival(stages, beta * known.age)
    left = 1.0 - known.repeat + known.repeat * erlang_survival(stages, beta * end)
    tilted = beta + total
    shift = total * known.age
    mass = erlang_survival(stages, tilted * known.age, shift) - erlang_survival(stages, tilted * end, shift)
    wish = known.repeat * (beta / tilted) ** stages * mass / passed
    unspent = gone * left / passed
    return (known.browsing * (1.0 - unspent) + known.churn * wish) / total


def _log_factorial(number: Indices) -> Floats:
    table = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, int(number.max()) + 1, dtype=np.float64)))))
    return table[number]
