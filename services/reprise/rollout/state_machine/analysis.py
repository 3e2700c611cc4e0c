"""The analysis of a candidate's metrics against their limits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from reprise.rollout.resource.spec import Analysis, Metric
from reprise.rollout.resource.status import AnalysisStatus, MetricStatus, at
from reprise.rollout.state_machine.observed_state import ArmMeasurement, Measurement
from reprise.routing import BUCKETS
from reprise.routing.population_stability import (
    analysis_false_alarm,
    merge_bins,
    population_stability_index,
    psi_noise_bound,
)
from reprise.routing.sample_ratio import FALSE_ALARM, sample_ratio
from reprise.runtime.durations import parse_duration

_DECILES = 10
_USERS_PER_BIN = 20
"""With fewer in a bin the index of two samples of one distribution passes its noise bound too often."""


_NO_USERS = "the weight was not held long enough to count users"


@dataclass(frozen=True, slots=True)
class _Case:
    metric: Metric
    measurement: Measurement
    rules: Analysis
    weight: int
    held: timedelta

    @property
    def min_samples(self) -> int:
        return self.rules.min_samples

    @property
    def users(self) -> tuple[float, float] | None:
        """Users of the candidate's arm and of all others, if known; a shadow scores the requests of all."""
        users, others = self.measurement.users, self.measurement.other_users
        if users is None or others is None:
            return None
        users, others = users / self.measurement.counters, others / self.measurement.counters
        return (users, others) if self.weight else (users + others, users + others)

    def result(self, good: bool | None, message: str, **values: Any) -> MetricStatus:
        """Return the metric's status; ``good`` is ``None`` without data."""
        verdict = "NoData" if good is None else "Good" if good else "Bad"
        return MetricStatus(type=self.metric.type, verdict=verdict, message=message, **values)


def analyse(
    analysis: Analysis,
    measurement: Measurement | None,
    previous: AnalysisStatus | None,
    *,
    weight: int,
    held: timedelta,
    now: datetime,
) -> AnalysisStatus:
    """Return the status of each metric, and how many analyses in a row it has failed.

    A metric without data is neither good nor bad, and its count of failures stays. ``measurement`` is ``None`` if
    Prometheus did not answer; ``weight`` is in basis points, 0 for a shadow; ``held`` is the time since the weight last
    changed.
    """
    failures = {metric.type: metric.failures for metric in previous.metrics} if previous else {}
    results = []
    for metric in analysis.metrics:
        if metric.type == "SampleRatio" and weight == 0:
            continue
        if measurement is None:
            result = MetricStatus(type=metric.type, verdict="NoData", message="Prometheus did not answer")
        else:
            case = _Case(metric, measurement, analysis, weight, held)
            result = _ANALYSES[metric.type](case)
        before = failures.get(metric.type, 0)
        count = {"Good": 0, "Bad": before + 1, "NoData": before}[result.verdict]
        numbers = {name: getattr(result, name) for name in ("value", "baseline", "limit")}
        rounded = {
            name: None if number is None else float(f"{number:.6g}") for name, number in numbers.items()
        }
        results.append(result.model_copy(update={**rounded, "failures": count}))
    return AnalysisStatus(time=at(now), metrics=tuple(results))


def _within_limits(what: str, of: Callable[[ArmMeasurement], float | None], case: _Case) -> MetricStatus:
    arm, baseline, metric = case.measurement.candidate, case.measurement.baseline, case.metric
    samples = round(arm.requests)
    value, reference = of(arm), of(baseline)
    if samples < case.min_samples or value is None:
        return case.result(None, f"{samples} requests, {case.min_samples} are needed", samples=samples)
    limits = [] if metric.max is None else [metric.max]
    if metric.max_ratio is not None:
        if round(baseline.requests) < case.min_samples or reference is None:
            message = f"{round(baseline.requests)} requests of the baseline, {case.min_samples} are needed"
            # An absolute limit still counts while there is no baseline to compare with.
            if not limits or value <= limits[0]:
                return case.result(None, message, value=value, samples=samples)
        else:
            limits.append(metric.max_ratio * reference)
    limit = min(limits)
    good = value <= limit
    message = f"{what} {value:.4g} is {'within' if good else 'above'} {limit:.4g}"
    return case.result(good, message, value=value, baseline=reference, limit=limit, samples=samples)


def _score_distance(case: _Case) -> MetricStatus:
    measurement = case.measurement
    scores, reference = measurement.candidate.scores, measurement.baseline.scores
    samples = round(min(sum(scores), sum(reference)))
    if samples < case.min_samples or len(scores) != len(reference):
        message = f"{samples} scores in the smaller arm, {case.min_samples} are needed"
        return case.result(None, message, samples=samples)
    # Scores of one user are correlated, so users are the independent observations. Their number is that of the whole
    # time since the weight changed; a window of it sees at least its share of them, on average.
    if case.users is None or min(case.users) < 1:
        return case.result(None, _NO_USERS, samples=samples)
    window = parse_duration(case.rules.window)
    windows = case.held / window
    one, other = (
        min(sum(counts), max(1.0, users / max(1.0, windows)))
        for counts, users in zip((scores, reference), case.users, strict=True)
    )
    parts = max(2, min(_DECILES, int(min(one, other) / _USERS_PER_BIN)))
    reference, scores = merge_bins(parts, reference, scores)
    index = population_stability_index(scores, reference)
    alpha = analysis_false_alarm(FALSE_ALARM, windows, window / parse_duration(case.rules.interval))
    limit = max(case.metric.max or 0.0, psi_noise_bound(len(scores), one, other, alpha))
    good = index <= limit
    message = (
        f"PSI of the scores against the baseline {index:.4g} is {'within' if good else 'above'} {limit:.4g}"
    )
    return case.result(good, message, value=index, limit=limit, samples=samples)


def _sample_ratio(case: _Case) -> MetricStatus:
    if case.users is None:
        return case.result(None, _NO_USERS)
    users, others = case.users
    if case.weight >= BUCKETS:
        return case.result(True, "the arm has all users", samples=round(users))
    # A user counts up to ``counters`` times: a multinomial count of clusters of that size has at most that many times
    # the variance. Dividing compensates for it.
    counts = (round(users), round(others))
    if sum(counts) < case.min_samples:
        return case.result(None, f"{sum(counts)} users, {case.min_samples} are needed", samples=counts[0])
    alpha = FALSE_ALARM if case.metric.max is None else case.metric.max
    share, expected = users / (users + others), case.weight / BUCKETS
    p_value = sample_ratio(counts, (case.weight, BUCKETS - case.weight)).anytime_p_value
    message = f"the arm has {share:.2%} of the users, expected {expected:.2%} (anytime p = {p_value:.2g})"
    return case.result(p_value > alpha, message, value=share, baseline=expected, samples=counts[0])


_ANALYSES: Mapping[str, Callable[[_Case], MetricStatus]] = {
    "ErrorRate": partial(
        _within_limits, "error rate", lambda arm: arm.failed / arm.requests if arm.requests else None
    ),
    "LatencyP99": partial(_within_limits, "p99 latency", lambda arm: arm.p99),
    "ScoreDistance": _score_distance,
    "SampleRatio": _sample_ratio,
}
