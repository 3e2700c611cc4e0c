"""The findings as Prometheus metrics.

A job is gone before it would be scraped, so the metrics are pushed to a Pushgateway where there is one, like every
job's, and written into a file beside the report, in the text format that node_exporter's textfile collector reads.
"""

import math
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from reprise.outcomes.comparison.confidence_sequence import Verdict
from reprise.outcomes.evaluation import ArmFindings, CandidateFindings, Findings, Measured

JOB = "reprise-outcomes"
_ARM = ("arm", "digest", "horizon")


class OutcomesMetrics:
    """The figures of one run, in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, documentation: str, labels: tuple[str, ...] = ()) -> Any:
            return Gauge(f"reprise_outcomes_{name}", documentation, labels, registry=registry)

        self.computed = gauge("computed_timestamp_seconds", "When the outcomes were computed.")
        self.complete = gauge("complete_until_timestamp_seconds", "Everything until then was archived.")
        self.predictions = gauge("predictions", "Predictions whose horizon is over.", _ARM)
        self.users = gauge("users", "Users of these predictions.", _ARM)
        self.measure = gauge("measure", "A measure of these predictions.", (*_ARM, "measure"))
        self.lower = gauge("measure_lower", "Lower end of its 95% interval.", (*_ARM, "measure"))
        self.upper = gauge("measure_upper", "Upper end of its 95% interval.", (*_ARM, "measure"))
        test = ("candidate", "digest", "metric", "horizon")
        self.improvement = gauge("improvement", "Candidate against baseline; above 0 is better.", test)
        self.improvement_lower = gauge("improvement_lower", "Lower end of its confidence sequence.", test)
        self.improvement_upper = gauge("improvement_upper", "Upper end of its confidence sequence.", test)
        self.verdict = gauge("verdict", "1 for what the tests say.", ("candidate", "digest", "verdict"))
        self.ratio = gauge(
            "sample_ratio_p_value",
            "Chance of arms with such numbers of users, at any time; tiny is wrong, NaN is a single arm.",
        )
        self.checked = gauge("checked_values", "Logged features that were recomputed.")
        self.mismatches = gauge("feature_mismatches", "Logged features that nothing explains.", ("feature",))
        self.mismatched = gauge("mismatches", "All of them together.")
        self.in_flight = gauge("features_in_flight", "Logged features that events on their way explain.")
        self.reproduced = gauge(
            "probability_mismatches", "Logged probabilities that their model does not give."
        )
        self.drift = gauge(
            "feature_psi",
            "Population stability index of an input of the baseline's model, lately against training; above 0.25 is"
            " another population. Absent below the least predictions and users.",
            ("feature", "digest"),
        )
        self.drift_predictions = gauge(
            "feature_drift_predictions",
            "Predictions of the baseline's model that these are from, or would be.",
        )
        self.broken = gauge("broken_records", "Records of the predictions' topic that are no predictions.")

    def show(self, findings: Findings) -> None:
        """Set the figures to what a run found."""
        self.computed.set(findings.computed_us / 1e6)
        self.complete.set(findings.complete_until_us / 1e6)
        for arm in findings.arms:
            _set_arm(self, arm)
        for found in findings.candidates:
            _set_candidate(self, found)
        # A gauge that is never set says 0, which here would be the strongest objection there is.
        self.ratio.set(math.nan if findings.ratio is None else findings.ratio.anytime_p_value)
        consistency = findings.consistency
        self.checked.set(consistency.compared)
        self.mismatched.set(consistency.mismatched)
        for feature, count in consistency.mismatches.items():
            self.mismatches.labels(feature).set(count)
        self.in_flight.set(sum(consistency.in_flight.values()))
        self.reproduced.set(findings.reproduction.differing)
        self.broken.set(findings.broken)
        drift = findings.drift
        self.drift_predictions.set(drift.predictions if drift is not None else 0)
        if drift is not None:
            for each in drift.features:
                self.drift.labels(each.feature, drift.digest).set(each.index)


def exposition(findings: Findings) -> bytes:
    """Return the findings in Prometheus's text format."""
    registry = CollectorRegistry()
    OutcomesMetrics(registry).show(findings)
    return generate_latest(registry)


def _set_arm(gauges: OutcomesMetrics, arm: ArmFindings) -> None:
    for horizon, measured in (("full", arm.full), ("early", arm.early)):
        if measured is None:
            continue
        labels = (arm.arm, arm.digest, horizon)
        gauges.predictions.labels(*labels).set(measured.predictions)
        gauges.users.labels(*labels).set(measured.users)
        _set_measures(gauges, labels, measured)


def _set_measures(gauges: OutcomesMetrics, labels: tuple[str, str, str], measured: Measured) -> None:
    for name, interval in {**measured.measures, "conversion": measured.conversion}.items():
        values = (
            (gauges.measure, interval.value),
            (gauges.lower, interval.lower),
            (gauges.upper, interval.upper),
        )
        for gauge, value in values:
            if not math.isnan(value):
                gauge.labels(*labels, name).set(value)


def _set_candidate(gauges: OutcomesMetrics, found: CandidateFindings) -> None:
    arm = found.arm
    for verdict in Verdict:
        gauges.verdict.labels(arm.name, arm.digest, verdict.value).set(verdict is found.verdict)
    for result in found.results:
        labels = (arm.name, arm.digest, result.metric, "early" if result.early else "full")
        newest = result.newest
        values = (
            (gauges.improvement, newest.difference),
            (gauges.improvement_lower, newest.lower),
            (gauges.improvement_upper, newest.upper),
        )
        for gauge, value in values:
            if not math.isnan(value):
                gauge.labels(*labels).set(value)
