"""What a run says at its end, in a few lines."""

import math
from datetime import timedelta

from reprise.events import format_timestamp
from reprise.outcomes.comparison.bootstrap import Interval
from reprise.outcomes.comparison.metric_tests import MetricResult
from reprise.outcomes.evaluation import Findings, Measured
from reprise.outcomes.features.feature_drift import DRIFTED, Drift
from reprise.runtime.durations import format_duration

_SHOWN = ("base_rate", "roc_auc", "average_precision", "brier", "lift")


def render_summary(findings: Findings) -> str:
    """Return the measures of the arms, what the tests say, and whether the features agree."""
    lines = [
        f"{findings.predictions:,} predictions, outcomes until {format_timestamp(findings.complete_until_us)}",
        "",
    ]
    for arm in findings.arms:
        for kind, measured in (("", arm.full), (", early read", arm.early)):
            if measured is not None:
                lines.append(f"{arm.arm} {arm.digest[7:19]}, bought within {_measured(measured, kind)}")
    for found in findings.candidates:
        lines.append(f"{found.arm.name} against the baseline: {found.verdict.value}")
        lines += [f"  {_result(result)}" for result in found.results]
    consistency = findings.consistency
    lines += [
        "",
        f"features    {consistency.predictions:,} predictions recomputed, {consistency.compared:,} values:"
        f" {consistency.mismatched:,} mismatches,"
        f" {sum(consistency.in_flight.values()):,} explained by events in flight",
    ]
    reproduction = findings.reproduction
    if reproduction.compared:
        lines.append(
            f"scores      {reproduction.compared:,} logged probabilities computed again by their models:"
            f" {reproduction.differing:,} differ"
        )
    lines.append(f"drift       {_drift(findings.drift)}")
    if findings.ratio is not None:
        users = ", ".join(f"{name} {count:,}" for name, count in findings.users.items())
        lines.append(
            f"users       {users} (sample ratio p = {findings.ratio.anytime_p_value:.2g} at any time)"
        )
    lines += [f"note        {note}" for note in findings.notes]
    return "\n".join(lines)


def _measured(measured: Measured, kind: str) -> str:
    horizon = format_duration(timedelta(microseconds=measured.horizon_us))
    shown = {**measured.measures, "conversion": measured.conversion}
    said = ", ".join(f"{name} {_interval(shown[name])}" for name in (*_SHOWN, "conversion") if name in shown)
    return f"{horizon}{kind}: {measured.predictions:,} predictions of {measured.users:,} users, {said}"


def _drift(drift: Drift | None) -> str:
    if drift is None:
        return "the model store has no baseline whose inputs could be compared"
    said = (
        f"{drift.predictions:,} predictions of {drift.users:,} users since {format_timestamp(drift.since_us)}"
    )
    if not drift.features:
        return f"{said} are too few to compare inputs by, or training has kept no histograms"
    most = drift.features[0]
    above = f"{drift.drifted} of {len(drift.features)} inputs above {DRIFTED}"
    return f"{said}: {above}, most {most.feature} ({most.index:.3f})"


def _interval(interval: Interval) -> str:
    if math.isnan(interval.value):
        return "–"
    return f"{interval.value:.4f} [{interval.lower:.4f}, {interval.upper:.4f}]"


def _result(result: MetricResult) -> str:
    newest = result.newest
    kind = ", early read" if result.early else ""
    users = f"{result.baseline_users:,} and {result.candidate_users:,} users"
    if math.isnan(newest.lower):
        return f"{result.metric} ({result.design}{kind}): too few users yet, {users}"
    return (
        f"{result.metric} ({result.design}{kind}): {newest.difference:+.5f}"
        f" [{newest.lower:+.5f}, {newest.upper:+.5f}], {result.verdict.value}, {users}"
    )
