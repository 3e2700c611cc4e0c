"""The evaluation as Prometheus metrics.

The job ends before it would be scraped, so the metrics are pushed to a Pushgateway if there is one, and written beside
the report in the text format of node_exporter's textfile collector.
"""

import math

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from reprise.outcomes.comparison.confidence_sequence import Verdict
from reprise.outcomes.evaluation import Evaluation

JOB = "reprise-outcomes"
_ARM = ("arm", "digest", "horizon")
_TEST = ("candidate", "digest", "metric", "horizon")
_GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "computed_timestamp_seconds": ("When the outcomes were computed.", ()),
    "complete_until_timestamp_seconds": ("Everything until then was archived.", ()),
    "predictions": ("Predictions whose horizon is over.", _ARM),
    "users": ("Users of these predictions.", _ARM),
    "measure": ("A measure of these predictions.", (*_ARM, "measure")),
    "measure_lower": ("Lower end of its 95% interval.", (*_ARM, "measure")),
    "measure_upper": ("Upper end of its 95% interval.", (*_ARM, "measure")),
    "improvement": ("Candidate against baseline; above 0 is better.", _TEST),
    "improvement_lower": ("Lower end of its confidence sequence.", _TEST),
    "improvement_upper": ("Upper end of its confidence sequence.", _TEST),
    "verdict": ("1 for the verdict of the tests.", ("candidate", "digest", "verdict")),
    "sample_ratio_p_value": (
        "Anytime-valid p-value of the arms' shares of users; near 0: wrong shares; NaN: a single arm.",
        (),
    ),
    "checked_values": ("Logged features that were recomputed.", ()),
    "feature_mismatches": ("Logged features that differ without an event in flight.", ("feature",)),
    "mismatches": ("Sum of the feature mismatches.", ()),
    "features_in_flight": ("Logged features that differ and are excluded for events in flight.", ()),
    "probability_mismatches": ("Logged probabilities that their model does not reproduce.", ()),
    "feature_psi": (
        "Population stability index of an input of the baseline's model, lately against training; above 0.25 is"
        " another population. Absent below the minimum of predictions and users.",
        ("feature", "digest"),
    ),
    "feature_drift_predictions": ("Predictions of the baseline's model in the drift window.", ()),
    "broken_records": ("Records of the predictions topic that are not valid predictions.", ()),
}


class OutcomesMetrics:
    """The gauges of one run, in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._gauges = {
            name: Gauge(f"reprise_outcomes_{name}", documentation, labels, registry=registry)
            for name, (documentation, labels) in _GAUGES.items()
        }

    def show(self, evaluation: Evaluation) -> None:
        """Set the gauges to an evaluation."""
        consistency, drift, ratio = evaluation.consistency, evaluation.drift, evaluation.ratio
        self._set("computed_timestamp_seconds", evaluation.computed_us / 1e6)
        self._set("complete_until_timestamp_seconds", evaluation.complete_until_us / 1e6)
        self._show_arms(evaluation)
        self._show_candidates(evaluation)
        # An unset gauge is 0, which here would be the strongest alarm.
        self._set("sample_ratio_p_value", math.nan if ratio is None else ratio.anytime_p_value)
        self._set("checked_values", consistency.compared)
        self._set("mismatches", consistency.mismatched)
        for feature, count in consistency.mismatches.items():
            self._set("feature_mismatches", count, feature)
        self._set("features_in_flight", sum(consistency.in_flight.values()))
        self._set("probability_mismatches", evaluation.reproduction.differing)
        self._set("broken_records", evaluation.broken)
        self._set("feature_drift_predictions", drift.predictions if drift is not None else 0)
        if drift is not None:
            for each in drift.features:
                self._set("feature_psi", each.index, each.feature, drift.digest)

    def _show_arms(self, evaluation: Evaluation) -> None:
        for arm in evaluation.arms:
            for horizon, result in arm.horizons.items():
                labels = (arm.arm, arm.digest, horizon)
                self._set("predictions", result.predictions, *labels)
                self._set("users", result.users, *labels)
                for name, interval in {**result.measures, "conversion": result.conversion}.items():
                    values = (interval.value, interval.lower, interval.upper)
                    self._set_interval("measure", values, *labels, name)

    def _show_candidates(self, evaluation: Evaluation) -> None:
        for candidate in evaluation.candidates:
            arm = candidate.arm
            for verdict in Verdict:
                self._set("verdict", verdict is candidate.verdict, arm.name, arm.digest, verdict.value)
            for result in candidate.results:
                labels = (arm.name, arm.digest, result.metric, "early" if result.early else "full")
                point = result.latest
                self._set_interval("improvement", (point.difference, point.lower, point.upper), *labels)

    def _set(self, name: str, value: float, *labels: str) -> None:
        gauge = self._gauges[name]
        (gauge.labels(*labels) if labels else gauge).set(value)

    def _set_interval(self, name: str, values: tuple[float, float, float], *labels: str) -> None:
        for suffix, value in zip(("", "_lower", "_upper"), values, strict=True):
            if not math.isnan(value):
                self._set(f"{name}{suffix}", value, *labels)


def exposition(evaluation: Evaluation) -> bytes:
    """Return the evaluation in Prometheus's text format."""
    registry = CollectorRegistry()
    OutcomesMetrics(registry).show(evaluation)
    return generate_latest(registry)
