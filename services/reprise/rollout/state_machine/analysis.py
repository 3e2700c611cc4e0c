"""Whether what was measured of a candidate is good."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from reprise.rollout.resource.spec import Analysis, Metric
from reprise.rollout.resource.status import AnalysisStatus, MetricStatus, Verdict, at
from reprise.rollout.state_machine.observed_state import ArmSample, Measurement
from reprise.routing import BUCKETS
from reprise.routing.population_stability import index_by_chance, population_stability_index, tenths
from reprise.routing.sample_ratio import sample_ratio

_FALSE_ALARM = 0.001


@dataclass(frozen=True, slots=True)
class _Finding:
    verdict: Verdict
    message: str
    value: float | None = None
    baseline: float | None = None
    limit: float | None = None
    samples: int = 0


@dataclass(frozen=True, slots=True)
class _Case:
    metric: Metric
    measured: Measurement
    min_samples: int
    weight: int
    pods: int


def judge(
    analysis: Analysis,
    measured: Measurement | None,
    before: AnalysisStatus | None,
    *,
    weight: int,
    pods: int,
    now: datetime,
) -> AnalysisStatus:
    """Return what is to be said of a candidate.

    Without data a metric is neither good nor bad, and the count of its failures stays as it is.

    Args:
        analysis: What is measured, and the limits.
        measured: What was measured; ``None`` where nothing could be.
        before: The analysis before this one.
        weight: The candidate's share, basis points; 0 for a shadow.
        pods: How many predictors there are.
        now: The time of the analysis.
    """
    failures = {metric.type: metric.failures for metric in before.metrics} if before else {}
    found = []
    for metric in analysis.metrics:
        if metric.type == "SampleRatio" and weight == 0:
            continue
        if measured is None:
            finding = _Finding("NoData", "Prometheus did not answer")
        else:
            finding = _JUDGES[metric.type](
                _Case(metric, measured, analysis.min_samples, weight, max(1, pods))
            )
        found.append(_as_status(metric.type, finding, failures.get(metric.type, 0)))
    return AnalysisStatus(time=at(now), metrics=tuple(found))


def breach(analysis: AnalysisStatus | None, failure_limit: int) -> MetricStatus | None:
    """Return the metric that has been bad as often in a row as the limit allows, or ``None``."""
    metrics = analysis.metrics if analysis is not None else ()
    return next((metric for metric in metrics if metric.failures >= failure_limit), None)


def _as_status(kind: str, finding: _Finding, failures: int) -> MetricStatus:
    counted = {"Good": 0, "Bad": failures + 1, "NoData": failures}[finding.verdict]
    return MetricStatus(
        type=kind,
        verdict=finding.verdict,
        value=_rounded(finding.value),
        baseline=_rounded(finding.baseline),
        limit=_rounded(finding.limit),
        samples=finding.samples,
        failures=counted,
        message=finding.message,
    )


def _error_rate(case: _Case) -> _Finding:
    return _against_limits(case, "error rate", lambda arm: arm.failed / arm.asked if arm.asked else None)


def _latency(case: _Case) -> _Finding:
    return _against_limits(case, "p99 latency", lambda arm: arm.p99)


def _against_limits(case: _Case, what: str, of: Callable[[ArmSample], float | None]) -> _Finding:
    arm, baseline, metric = case.measured.candidate, case.measured.baseline, case.metric
    samples = round(arm.asked)
    value, reference = of(arm), of(baseline)
    if samples < case.min_samples or value is None:
        return _Finding("NoData", f"{samples} requests, {case.min_samples} are needed", samples=samples)
    limits = [] if metric.max is None else [metric.max]
    if metric.max_ratio is not None:
        if round(baseline.asked) < case.min_samples or reference is None:
            message = f"{round(baseline.asked)} requests of the baseline, {case.min_samples} are needed"
            # a limit of its own still counts while there is nothing to compare with
            if not limits or value <= limits[0]:
                return _Finding("NoData", message, value, samples=samples)
        else:
            limits.append(metric.max_ratio * reference)
    limit = min(limits)
    good = value <= limit
    return _Finding(
        "Good" if good else "Bad",
        f"{what} {value:.4g} is {'within' if good else 'above'} {limit:.4g}",
        value,
        reference,
        limit,
        samples,
    )


def _score_distance(case: _Case) -> _Finding:
    measured = case.measured
    one, other = measured.candidate.scores, measured.baseline.scores
    samples = round(min(sum(one), sum(other)))
    if samples < case.min_samples or len(one) != len(other):
        message = f"{samples} scores in the smaller arm, {case.min_samples} are needed"
        return _Finding("NoData", message, samples=samples)
    other, one = tenths(other, one)
    index = population_stability_index(one, other)
    # A user's scores are alike, so there are no more independent ones than users, where those are known.
    users = (measured.users or math.inf, measured.other_users or math.inf)
    independent = [
        min(sum(scores), max(1.0, seen / case.pods)) for scores, seen in zip((one, other), users, strict=True)
    ]
    # max is required of this metric; without a limit nothing could be said
    limit = max(case.metric.max or 0.0, index_by_chance(len(one), *independent))
    good = index <= limit
    return _Finding(
        "Good" if good else "Bad",
        f"the scores' PSI against the baseline {index:.4g} is {'within' if good else 'above'} {limit:.4g}",
        index,
        limit=limit,
        samples=samples,
    )


def _sample_ratio(case: _Case) -> _Finding:
    users, others = case.measured.users, case.measured.other_users
    if users is None or others is None:
        return _Finding("NoData", "the share was not held long enough to count users")
    if case.weight >= BUCKETS:
        return _Finding("Good", "the arm has all users", samples=round(users))
    # Each predictor counts a user once, so a user counts as often as there are predictors at most: a multinomial count
    # of clusters of that size has at most that many times the variance, which dividing makes up for.
    counted = (round(users / case.pods), round(others / case.pods))
    if sum(counted) < case.min_samples:
        return _Finding("NoData", f"{sum(counted)} users, {case.min_samples} are needed", samples=counted[0])
    alpha = _FALSE_ALARM if case.metric.max is None else case.metric.max
    share = users / (users + others)
    test = sample_ratio(counted, (case.weight, BUCKETS - case.weight))
    good = test.anytime_p_value > alpha
    return _Finding(
        "Good" if good else "Bad",
        f"{share:.2%} of the users are in the arm and {case.weight / BUCKETS:.2%} should be"
        f" (anytime p = {test.anytime_p_value:.2g})",
        share,
        case.weight / BUCKETS,
        samples=counted[0],
    )


_JUDGES: Mapping[str, Callable[[_Case], _Finding]] = {
    "ErrorRate": _error_rate,
    "LatencyP99": _latency,
    "ScoreDistance": _score_distance,
    "SampleRatio": _sample_ratio,
}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
