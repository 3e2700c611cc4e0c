"""The evaluation as Prometheus metrics.

The job ends before it would be scraped, so the metrics are pushed to a Pushgateway if there is one, and written beside
the report in the text format of node_exporter's textfile collector.
"""

import math
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from reprise.outcomes.comparison.confidence_sequence import Verdict
from reprise.outcomes.comparison.results import ArmResult, CandidateResult
from reprise.outcomes.evaluation import Evaluation

JOB = "reprise-outcomes"
_ARM = ("arm", "digest", "horizon")


class OutcomesMetrics:
    """The gauges of one run, in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, documentation: str, labels: tuple[str, ...] = ()) -> Any:
            return Gauge(f"reprise_outcomes_{name}", documentation, labels, registry=registry)

        self._computed = gauge("computed_timestamp_seconds", "When the outcomes were computed.")
        self._complete = gauge("complete_until_timestamp_seconds", "Everything until then was archived.")
        self._predictions = gauge("predictions", "Predictions whose horizon is over.", _ARM)
        self._users = gauge("users", "Users of these predictions.", _ARM)
        self._measure = [
            gauge("measure", "A measure of these predictions.", (*_ARM, "measure")),
            gauge("measure_lower", "Lower end of its 95% interval.", (*_ARM, "measure")),
            gauge("measure_upper", "Upper end of its 95% interval.", (*_ARM, "measure")),
        ]
        test = ("candidate", "digest", "metric", "horizon")
        self._improvement = [
            gauge("improvement", "Candidate against baseline; above 0 is better.", test),
            gauge("improvement_lower", "Lower end of its confidence sequence.", test),
            gauge("improvement_upper", "Upper end of its confidence sequence.", test),
        ]
        self._verdict = gauge(
            "verdict", "1 for the verdict of the tests.", ("candidate", "digest", "verdict")
        )
        self._ratio = gauge(
            "sample_ratio_p_value",
            "Anytime-valid p-value of the arms' shares of users; tiny is wrong, NaN is a single arm.",
        )
        self._checked = gauge("checked_values", "Logged features that were recomputed.")
        self._mismatches = gauge(
            "feature_mismatches", "Logged features that differ without an event in flight.", ("feature",)
        )
        self._mismatched = gauge("mismatches", "All of them together.")
        self._in_flight = gauge(
            "features_in_flight", "Logged features that differ and are excluded for events in flight."
        )
        self._reproduced = gauge(
            "probability_mismatches", "Logged probabilities that their model does not reproduce."
        )
        self._drift = gauge(
            "feature_psi",
            "Population stability index of an input of the baseline's model, lately against training; above 0.25 is"
            " another population. Absent below the minimum of predictions and users.",
            ("feature", "digest"),
        )
        self._drift_predictions = gauge(
            "feature_drift_predictions", "Predictions of the baseline's model in the drift window."
        )
        self._broken = gauge(
            "broken_records", "Records of the predictions topic that are not valid predictions."
        )

    def show(self, evaluation: Evaluation) -> None:
        """Set the gauges to an evaluation."""
        self._computed.set(evaluation.computed_us / 1e6)
        self._complete.set(evaluation.complete_until_us / 1e6)
        for arm in evaluation.arms:
            self._show_arm(arm)
        for candidate in evaluation.candidates:
            self._show_candidate(candidate)
        # An unset gauge is 0, which here would be the strongest alarm.
        self._ratio.set(math.nan if evaluation.ratio is None else evaluation.ratio.anytime_p_value)
        consistency = evaluation.consistency
        self._checked.set(consistency.compared)
        self._mismatched.set(consistency.mismatched)
        for feature, count in consistency.mismatches.items():
            self._mismatches.labels(feature).set(count)
        self._in_flight.set(sum(consistency.in_flight.values()))
        self._reproduced.set(evaluation.reproduction.differing)
        self._broken.set(evaluation.broken)
        drift = evaluation.drift
        self._drift_predictions.set(drift.predictions if drift is not None else 0)
        if drift is not None:
            for each in drift.features:
                self._drift.labels(each.feature, drift.digest).set(each.index)

    def _show_arm(self, arm: ArmResult) -> None:
        for horizon, result in arm.horizons.items():
            labels = (arm.arm, arm.digest, horizon)
            self._predictions.labels(*labels).set(result.predictions)
            self._users.labels(*labels).set(result.users)
            for name, interval in {**result.measures, "conversion": result.conversion}.items():
                _set(self._measure, (*labels, name), (interval.value, interval.lower, interval.upper))

    def _show_candidate(self, candidate: CandidateResult) -> None:
        arm = candidate.arm
        for verdict in Verdict:
            self._verdict.labels(arm.name, arm.digest, verdict.value).set(verdict is candidate.verdict)
        for result in candidate.results:
            labels = (arm.name, arm.digest, result.metric, "early" if result.early else "full")
            point = result.latest
            _set(self._improvement, labels, (point.difference, point.lower, point.upper))


def exposition(evaluation: Evaluation) -> bytes:
    """Return the evaluation in Prometheus's text format."""
    registry = CollectorRegistry()
    OutcomesMetrics(registry).show(evaluation)
    return generate_latest(registry)


def _set(gauges: list[Any], labels: tuple[str, ...], values: tuple[float, ...]) -> None:
    for gauge, value in zip(gauges, values, strict=True):
        if not math.isnan(value):
            gauge.labels(*labels).set(value)
