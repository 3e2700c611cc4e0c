"""The summary that a run prints at its end."""

import math
from datetime import timedelta

from reprise.evaluation.cluster_bootstrap import Interval
from reprise.events import format_timestamp
from reprise.outcomes.comparison.confidence_sequence import Verdict
from reprise.outcomes.comparison.results import HorizonResult, MetricResult
from reprise.outcomes.evaluation import Evaluation
from reprise.outcomes.features.feature_drift import DRIFT_THRESHOLD, ModelDrift
from reprise.runtime.durations import format_duration

_SHOWN = ("base_rate", "roc_auc", "average_precision", "brier", "lift", "conversion")


def render_summary(evaluation: Evaluation) -> str:
    """Return metrics of the arms, test results and feature checks in a few lines."""
    complete_until = format_timestamp(evaluation.complete_until_us)
    lines = [f"{evaluation.predictions:,} predictions, outcomes until {complete_until}", ""]
    for arm in evaluation.arms:
        for name, result in arm.horizons.items():
            kind = ", early read" if name == "early" else ""
            lines.append(f"{arm.arm} {arm.digest[7:19]}, bought within {_horizon_result(result, kind)}")
    for candidate in evaluation.candidates:
        lines.append(f"{candidate.arm.name} against the baseline: {candidate.verdict.value}")
        lines += [f"  {_metric_result(result)}" for result in candidate.results]
    consistency, reproduction = evaluation.consistency, evaluation.reproduction
    lines += [
        "",
        f"features    {consistency.predictions:,} predictions recomputed, {consistency.compared:,} values:"
        f" {consistency.mismatched:,} mismatches,"
        f" {consistency.excluded:,} predictions ({consistency.excluded_share:.1%}) excluded for events in flight",
    ]
    if reproduction.compared:
        lines.append(
            f"scores      {reproduction.compared:,} logged probabilities computed again by their models:"
            f" {reproduction.differing:,} differ"
        )
    lines.append(f"drift       {_drift(evaluation.drift)}")
    if evaluation.ratio is not None:
        users = ", ".join(f"{name} {count:,}" for name, count in evaluation.users.items())
        lines.append(
            f"users       {users} (sample ratio, anytime p = {evaluation.ratio.anytime_p_value:.2g})"
        )
        loss = min(1.0, evaluation.ratio.detectable_loss)
        lines.append(f"            80% power for an arm that loses {loss:.1%} of its users")
    lines += [f"note        {note}" for note in evaluation.notes]
    return "\n".join(lines)


def _horizon_result(result: HorizonResult, kind: str) -> str:
    horizon = format_duration(timedelta(microseconds=result.horizon_us))
    intervals = {**result.measures, "conversion": result.conversion}
    shown = ", ".join(f"{name} {_interval(intervals[name])}" for name in _SHOWN if name in intervals)
    return f"{horizon}{kind}: {result.predictions:,} predictions of {result.users:,} users, {shown}"


def _drift(drift: ModelDrift | None) -> str:
    if drift is None:
        return "the model store does not have the baseline, so its inputs are not compared"
    since = format_timestamp(drift.since_us)
    window = f"{drift.predictions:,} predictions of {drift.users:,} users since {since}"
    if not drift.features:
        return f"{window} are too few, or the bundle has no histograms"
    most = drift.features[0]
    above = f"{drift.drifted} of {len(drift.features)} inputs above {DRIFT_THRESHOLD}"
    return f"{window}: {above}, most {most.feature} ({most.index:.3f})"


def _interval(interval: Interval) -> str:
    if math.isnan(interval.value):
        return "–"
    return f"{interval.value:.4f} [{interval.lower:.4f}, {interval.upper:.4f}]"


def _metric_result(result: MetricResult) -> str:
    latest = result.latest
    kind = ", early read" if result.early else ""
    users = f"{result.baseline_users:,} and {result.candidate_users:,} users"
    if math.isnan(latest.lower):
        return f"{result.metric} ({result.design}{kind}): too few users or conversions yet, {users}"
    undecided = result.verdict is Verdict.UNDECIDED
    power = f", power {result.power:.0%} against a loss of {result.margin:.2g}" if undecided else ""
    return (
        f"{result.metric} ({result.design}{kind}): {latest.difference:+.5f}"
        f" [{latest.lower:+.5f}, {latest.upper:+.5f}], {result.verdict.value}, {users}{power}"
    )
