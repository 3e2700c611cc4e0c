"""Confidence sequences for a difference between two arms, valid however often they are evaluated.

An ordinary 95% interval is valid at one moment that was chosen beforehand; evaluating every hour and stopping once it
excludes zero is wrong far more often than 1 in 20. A confidence sequence is valid at all moments at once:
P(the true difference is *ever* outside) ≤ α.

This is the asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, *Time-uniform central
limit theory and asymptotic confidence sequences*, Annals of Statistics 52(6), 2024 (arXiv:2103.06476), theorem 2.2, a
normal mixture boundary as in Howard, Ramdas, McAuliffe and Sekhon, *Time-uniform, nonparametric, nonasymptotic
confidence sequences*, Annals of Statistics 49(2), 2021. After t observations with mean μ̂ and standard deviation σ̂,

    μ̂ ± σ̂ · sqrt( 2(tρ² + 1) / (t²ρ²) · ln( sqrt(tρ² + 1) / α ) ),

with ρ = sqrt( (−2 ln α + ln(−2 ln α) + 1) / t* ), which makes it narrowest around t = t* (their appendix B.2).

It is a central limit theorem, so σ̂ must be trustworthy before anything is said. An arm in which nobody has bought yet
has a variance of 0 and would be called worse. Therefore the variance of an arm is at least that of both arms together,
and users and conversions have a minimum.

The observations are users, one final value each: users are assigned to arms, and the requests of a user are not
independent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

import numpy as np

from reprise.evaluation.classification_metrics import Floats, Labels

_TINY = np.finfo(np.float64).tiny


class Verdict(StrEnum):
    """The verdict of a confidence sequence of the improvement, candidate over baseline."""

    BETTER = "better"
    NOT_WORSE = "not_worse"
    WORSE = "worse"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class SequentialTest:
    """Parameters of the test."""

    alpha: float = 0.05  # Maximum probability that the true difference is ever outside the interval
    # Number of users, half of them in each arm, around which the interval is narrowest
    tightest_at: int = 10_000
    min_users: int = 200  # Minimum users in each arm
    # Minimum conversions that each arm would have at the rate of both together. The observed number
    # would keep silent about a candidate that sells nothing.
    min_conversions: int = 10
    min_power: float = 0.8  # Minimum power of ``NOT_WORSE`` against a loss as large as the margin

    def radius(self, deviation: Floats, observations: Floats) -> Floats:
        """Return the half width of the interval after a number of observations with a standard deviation."""
        rho2 = (-2 * np.log(self.alpha) + np.log(-2 * np.log(self.alpha)) + 1) / self.tightest_at
        t = np.maximum(observations, 1.0)
        grown = t * rho2 + 1.0
        width = np.sqrt(2.0 * grown / (t * t * rho2) * np.log(np.sqrt(grown) / self.alpha))
        return np.asarray(deviation * width)


@dataclass(frozen=True, slots=True)
class Moments:
    """Number of users, sum and sum of squares of their values, and conversions; arrays of one shape.

    The last two axes are (stratum, arm). Arm 0 is the baseline, arm 1 the candidate. Within a stratum the shares of the
    arms were constant.
    """

    number: Floats
    total: Floats
    squares: Floats
    conversions: Floats


@dataclass(frozen=True, slots=True)
class Estimates:
    """Differences with standard error and confidence sequence, and the baseline's mean; arrays of one shape.

    All but the baseline's mean are NaN with too few users or conversions.
    """

    difference: Floats
    lower: Floats
    upper: Floats
    error: Floats
    baseline: Floats

    @property
    def latest(self) -> "Estimates":
        """The last ones along the last axis."""
        columns = (self.difference, self.lower, self.upper, self.error, self.baseline)
        return Estimates(*(column[..., -1] for column in columns))

    def power(self, loss: Floats) -> Floats:
        """Return the probability that a loss of this size would be called worse at the present width."""
        score = (loss - (self.upper - self.difference)) / self.error
        return np.asarray(np.vectorize(NormalDist().cdf, otypes=[np.float64])(score))

    def not_worse(self, margin: Floats, min_power: float) -> Labels:
        """Return where the lower bound is above −margin and a loss of the margin would be detected with that power."""
        detectable = (self.upper - self.difference) + NormalDist().inv_cdf(min_power) * self.error
        return np.asarray((self.lower > -margin) & (detectable <= margin))


def arm_difference(moments: Moments, test: SequentialTest) -> Estimates:
    """Return the difference candidate − baseline of the means of users of two arms, over strata of constant shares.

    A stratum has weight n₀n₁/(n₀ + n₁), as in Cochran's and in Mantel and Haenszel's tests. The difference is the sum
    over users of (A − π)(Y − μ), normalised, where A is 1 in the candidate's arm, π is its share and μ the mean in the
    stratum. Without a difference between the arms that sum is a martingale, however the shares change. The boundary
    counts its information, 4 Σ n₀n₁/(n₀ + n₁), as observations; with half of the users in each arm it is their number.
    """
    number, safe = moments.number, np.maximum(moments.number, 1.0)
    together = number.sum(axis=-1)
    mean = moments.total / safe
    pooled = _variance(together, moments.total.sum(axis=-1), moments.squares.sum(axis=-1))
    variance = np.maximum(_variance(number, moments.total, moments.squares), pooled[..., None])
    information = number.prod(axis=-1) / np.maximum(together, 1.0)
    observations = information.sum(axis=-1)
    weight = information / np.maximum(observations, _TINY)[..., None]
    error = np.sqrt((weight**2 * (variance / safe).sum(axis=-1)).sum(axis=-1))
    compared = np.where((information > 0)[..., None], number, 0.0)
    rate = (moments.conversions.sum(axis=-1) / np.maximum(together, 1.0))[..., None]
    enough = (compared.sum(axis=-2).min(axis=-1) >= test.min_users) & (
        (compared * rate).sum(axis=-2).min(axis=-1) >= test.min_conversions
    )
    difference = (weight * (mean[..., 1] - mean[..., 0])).sum(axis=-1)
    baseline = (weight * mean[..., 0]).sum(axis=-1)
    return _estimates(difference, error, 4.0 * observations, baseline, np.asarray(enough), test)


def paired_difference(sums: Sequence[Floats], test: SequentialTest) -> Estimates:
    """Return the mean of users' own differences.

    Where both models score the same predictions there is one difference a user, and most of what makes
    outcomes vary cancels: Choe and Ramdas, *Comparing sequential forecasters*, Operations Research 72(4), 2024.
    The variance is at least what the models themselves imply: until somebody has bought whom they judge differently,
    the differences hardly vary. ``sums`` are the number of users, the sum and sum of squares of their differences, the
    number of users with a purchase, the sum of the baseline's values, and of the implied variances.
    """
    number, total, squares, conversions, baseline, implied = sums
    safe = np.maximum(number, 1.0)
    error = np.sqrt(np.maximum(_variance(number, total, squares), implied / safe) / safe)
    enough = (number >= test.min_users) & (conversions >= test.min_conversions)
    return _estimates(total / safe, error, number, baseline / safe, enough, test)


def sequence_verdict(latest: Estimates, margin: float, min_power: float) -> Verdict:
    """Return the verdict at one moment; ``UNDECIDED`` includes what the test has too little power to tell."""
    if np.isnan(latest.lower):
        return Verdict.UNDECIDED
    if latest.lower > 0.0:
        return Verdict.BETTER
    if latest.upper < 0.0:
        return Verdict.WORSE
    return Verdict.NOT_WORSE if latest.not_worse(np.asarray(margin), min_power) else Verdict.UNDECIDED


def combined_verdict(verdicts: list[Verdict]) -> Verdict:
    """Return the verdict of several metrics: worse if one is, better if one is and the others are not worse."""
    if Verdict.WORSE in verdicts:
        return Verdict.WORSE
    if not verdicts or Verdict.UNDECIDED in verdicts:
        return Verdict.UNDECIDED
    return Verdict.BETTER if Verdict.BETTER in verdicts else Verdict.NOT_WORSE


def _variance(number: Floats, total: Floats, squares: Floats) -> Floats:
    safe = np.maximum(number, 1.0)
    biased = np.maximum(squares / safe - (total / safe) ** 2, 0.0)
    return np.asarray(biased * safe / np.maximum(number - 1.0, 1.0))


def _estimates(
    difference: Floats,
    error: Floats,
    observations: Floats,
    baseline: Floats,
    enough: Labels,
    test: SequentialTest,
) -> Estimates:
    radius = test.radius(np.sqrt(observations) * error, observations)
    # Values that are all the same say nothing about those to come.
    defined = enough & (error > _TINY)
    return Estimates(
        difference=np.where(enough, difference, np.nan),
        lower=np.where(defined, difference - radius, np.nan),
        upper=np.where(defined, difference + radius, np.nan),
        error=np.where(defined, error, np.nan),
        baseline=baseline,
    )
