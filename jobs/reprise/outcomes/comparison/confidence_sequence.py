"""Confidence sequences for a difference between two arms, valid however often they are evaluated.

An ordinary 95% interval is valid at one moment that was chosen beforehand; evaluating every hour and stopping once it
excludes zero is wrong far more often than 1 in 20. A confidence sequence is valid at all moments at once:
P(the true difference is *ever* outside) ≤ α.

This is the asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, *Time-uniform central
limit theory and asymptotic confidence sequences*, Annals of Statistics 52(6), 2024 (arXiv:2103.06476), theorem 2.2.
After t observations with mean μ̂ and standard deviation σ̂,

    μ̂ ± σ̂ · sqrt( 2(tρ² + 1) / (t²ρ²) · ln( sqrt(tρ² + 1) / α ) ),

with ρ = sqrt( (−2 ln α + ln(−2 ln α) + 1) / t* ), which makes it narrowest around t = t* (their appendix B.2). As a
central limit theorem it needs a minimum number of observations: ``minimum``.

The observations are users, one final value each: users are assigned to arms, and the requests of a user are not
independent.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from reprise.evaluation.classification_metrics import Floats, Labels

_MIN_IN_STRATUM = 30
_TINY = np.finfo(np.float64).tiny


class Verdict(StrEnum):
    """The verdict of a confidence sequence of the improvement, candidate over baseline."""

    BETTER = "better"
    NOT_WORSE = "not_worse"
    WORSE = "worse"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class SequentialTest:
    """Parameters of the test.

    Attributes:
        alpha: Maximum probability that the true difference is ever outside the interval.
        tightest_at: Number of users around which the interval is narrowest.
        minimum: Minimum users in each arm.
    """

    alpha: float = 0.05
    tightest_at: int = 10_000
    minimum: int = 200

    def radius(self, deviation: Floats, observations: Floats) -> Floats:
        """Return the half width of the interval after a number of observations with a standard deviation."""
        rho2 = (-2 * np.log(self.alpha) + np.log(-2 * np.log(self.alpha)) + 1) / self.tightest_at
        t = np.maximum(observations, 1.0)
        grown = t * rho2 + 1.0
        width = np.sqrt(2.0 * grown / (t * t * rho2) * np.log(np.sqrt(grown) / self.alpha))
        return np.asarray(deviation * width)


@dataclass(frozen=True, slots=True)
class Moments:
    """Number, sum and sum of squares of users' values; arrays of one shape, the last two axes (stratum, arm).

    Arm 0 is the baseline, arm 1 the candidate. Within a stratum the shares of the arms were constant.
    """

    number: Floats
    total: Floats
    squares: Floats


@dataclass(frozen=True, slots=True)
class Estimates:
    """Differences with their confidence sequence and number of users; arrays of one shape, NaN with too few users."""

    difference: Floats
    lower: Floats
    upper: Floats
    users: Floats


def arm_difference(moments: Moments, test: SequentialTest) -> Estimates:
    """Return the difference candidate − baseline of the means of users of two arms, stratum by stratum.

    Strata are weighted by their users in both arms; one with fewer than 30 users in an arm is left out. It is the
    augmented inverse-probability estimator of a randomised experiment (ibid., section 3.2) with each stratum's own
    shares and means, whose deviation is sqrt(t · Σ (n_s/t)² (s²₁/n₁ + s²₀/n₀)).
    """
    number, safe = moments.number, np.maximum(moments.number, 1.0)
    mean = moments.total / safe
    variance = np.maximum(moments.squares / safe - mean**2, 0.0) * safe / np.maximum(number - 1.0, 1.0)
    used = np.asarray(number.min(axis=-1) >= _MIN_IN_STRATUM)
    in_stratum = np.where(used, number.sum(axis=-1), 0.0)
    users = in_stratum.sum(axis=-1)
    weight = in_stratum / np.maximum(users, 1.0)[..., None]
    difference = (weight * (mean[..., 1] - mean[..., 0])).sum(axis=-1)
    error = (weight**2 * (variance / safe).sum(axis=-1)).sum(axis=-1)
    fewest = np.where(used[..., None], number, 0.0).sum(axis=-2).min(axis=-1)
    return _interval(difference, np.sqrt(users * error), users, fewest >= test.minimum, test)


def paired_difference(number: Floats, total: Floats, squares: Floats, test: SequentialTest) -> Estimates:
    """Return the mean of users' own differences, from their number, sum and sum of squares.

    Where both models score the same predictions there is one difference a user, and most of what makes
    outcomes vary cancels: Choe and Ramdas, *Comparing sequential forecasters*, Operations Research 72(4), 2024.
    """
    safe = np.maximum(number, 1.0)
    mean = total / safe
    variance = np.maximum(squares / safe - mean**2, 0.0) * safe / np.maximum(number - 1.0, 1.0)
    return _interval(mean, np.sqrt(variance), number, number >= test.minimum, test)


def sequence_verdict(lower: float, upper: float, margin: float) -> Verdict:
    """Return the verdict of an interval of the improvement.

    ``not_worse``: non-inferior, the lower bound is above −margin.
    """
    if np.isnan(lower) or np.isnan(upper):
        return Verdict.UNDECIDED
    if lower > 0.0:
        return Verdict.BETTER
    if upper < 0.0:
        return Verdict.WORSE
    return Verdict.NOT_WORSE if lower > -margin else Verdict.UNDECIDED


def combined_verdict(verdicts: list[Verdict]) -> Verdict:
    """Return the verdict of several metrics: worse if one is, better if one is and the others are not worse."""
    if Verdict.WORSE in verdicts:
        return Verdict.WORSE
    if not verdicts or Verdict.UNDECIDED in verdicts:
        return Verdict.UNDECIDED
    return Verdict.BETTER if Verdict.BETTER in verdicts else Verdict.NOT_WORSE


def _interval(
    difference: Floats, deviation: Floats, users: Floats, enough: Labels, test: SequentialTest
) -> Estimates:
    # Values that are all the same say nothing about those to come.
    defined = enough & (deviation > _TINY)
    radius = test.radius(deviation, users)
    return Estimates(
        np.where(enough, difference, np.nan),
        np.where(defined, difference - radius, np.nan),
        np.where(defined, difference + radius, np.nan),
        users,
    )
