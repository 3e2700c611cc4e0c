"""Each candidate against the baseline: the sequential test of users, metric by metric, and what it says."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from reprise.evaluation.classification_metrics import Floats, Indices
from reprise.outcomes.comparison.confidence_sequence import (
    Estimates,
    Moments,
    SequentialTest,
    Verdict,
    arm_difference,
    paired_difference,
    verdict,
)
from reprise.outcomes.comparison.rescored_predictions import Rescored
from reprise.outcomes.tables.outcome_join import Units

MetricName = Literal["brier", "conversion"]
Design = Literal["paired", "arms"]
BASELINE_ARM = 0
_LOOKS = 120


@dataclass(frozen=True, slots=True)
class Look:
    """What the test said at one instant."""

    at_us: int
    difference: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class MetricResult:
    """One metric of one candidate against the baseline; the difference is the candidate's improvement.

    Attributes:
        metric: ``brier``, the baseline's Brier score less the candidate's; or ``conversion``, the share of users who
            bought, the candidate's less the baseline's.
        design: ``paired``, both models on the same predictions; or ``arms``, users of two arms.
        horizon_us: How far ahead a purchase counted.
        early: Whether that is less than the models predict.
        margin: Worse by less than this is not worse.
        baseline_users: How many users of the baseline are in it.
        candidate_users: How many users of the candidate.
        verdict: What the newest look says.
        looks: How the interval narrowed; the newest last.
    """

    metric: MetricName
    design: Design
    horizon_us: int
    early: bool
    margin: float
    baseline_users: int
    candidate_users: int
    verdict: Verdict
    looks: tuple[Look, ...]

    @property
    def newest(self) -> Look:
        """The newest look."""
        return self.looks[-1]


@dataclass(frozen=True, slots=True)
class Setting:
    """What the results of one horizon have in common."""

    horizon_us: int
    early: bool
    until_us: int
    test: SequentialTest


def conversion_result(users: Units, candidate: int, margin: float, setting: Setting) -> MetricResult:
    """Return whether more users of the candidate's arm bought than of the baseline's."""
    return _arms_result("conversion", users, users.converted.astype(np.float64), candidate, margin, setting)


def brier_result(users: Units, candidate: int, margin: float, setting: Setting) -> MetricResult:
    """Return whether the candidate's users were predicted better than the baseline's, each by its own model."""
    answered = ~np.isnan(users.brier)
    kept = _taken(users, answered)
    return _arms_result("brier", kept, -kept.brier, candidate, margin, setting)


def paired_brier_result(users: Units, rescored: Rescored, margin: float, setting: Setting) -> MetricResult:
    """Return whether the candidate predicts the same predictions better, whoever answered them."""
    known = rescored.predictions[users.numbers] > 0
    kept = _taken(users, known)
    values = rescored.improvement[kept.numbers] / rescored.predictions[kept.numbers]
    instants, reached = _looks(kept.mature_us, setting.until_us)
    count, total, squares = (_cumulated(each, reached) for each in (np.ones(len(values)), values, values**2))
    estimates = paired_difference(count, total, squares, setting.test)
    users_in = len(kept)
    return _result("brier", "paired", (users_in, users_in), margin, setting, instants, estimates)


def _arms_result(
    metric: MetricName, users: Units, values: Floats, candidate: int, margin: float, setting: Setting
) -> MetricResult:
    instants, reached = _looks(users.mature_us, setting.until_us)
    arms = [users.arms == BASELINE_ARM, users.arms == candidate]

    def moment(each: Floats) -> Floats:
        # looks, one stratum, two arms
        return np.stack([_cumulated(np.where(arm, each, 0.0), reached) for arm in arms], axis=-1)[:, None, :]

    moments = Moments(moment(np.ones(len(values))), moment(values), moment(values**2))
    estimates = arm_difference(moments, setting.test)
    counts = (int(np.count_nonzero(arms[0])), int(np.count_nonzero(arms[1])))
    return _result(metric, "arms", counts, margin, setting, instants, estimates)


def _result(
    metric: MetricName,
    design: Design,
    users: tuple[int, int],
    margin: float,
    setting: Setting,
    instants: Indices,
    estimates: Estimates,
) -> MetricResult:
    columns = (estimates.difference, estimates.lower, estimates.upper)
    looks = tuple(
        Look(int(at), float(difference), float(lower), float(upper))
        for at, difference, lower, upper in zip(instants, *columns, strict=True)
    )
    return MetricResult(
        metric=metric,
        design=design,
        horizon_us=setting.horizon_us,
        early=setting.early,
        margin=margin,
        baseline_users=users[0],
        candidate_users=users[1],
        verdict=verdict(looks[-1].lower, looks[-1].upper, margin),
        looks=looks,
    )


def _looks(mature_us: Indices, until_us: int) -> tuple[Indices, Indices]:
    """Return the instants of the looks, the last of them now, and how many values were final at each."""
    first = int(mature_us[0]) if len(mature_us) else until_us
    instants = np.unique(np.linspace(min(first, until_us), until_us, _LOOKS).astype(np.int64))
    return instants, np.searchsorted(mature_us, instants, side="right").astype(np.int64)


def _cumulated(values: Floats, reached: Indices) -> Floats:
    return np.concatenate(([0.0], values.cumsum()))[reached]


def _taken(users: Units, chosen: Floats | np.ndarray) -> Units:
    return Units(
        users.mature_us[chosen],
        users.arms[chosen],
        users.brier[chosen],
        users.converted[chosen],
        users.numbers[chosen],
    )
