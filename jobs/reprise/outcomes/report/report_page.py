"""The report: one self-contained HTML page, and the same as JSON."""

import math
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import orjson

from reprise.evaluation.cluster_bootstrap import Interval
from reprise.events import format_timestamp
from reprise.outcomes.evaluation import Evaluation
from reprise.outcomes.features.feature_drift import DRIFT_THRESHOLD
from reprise.outcomes.report import plots
from reprise.reports.figures import instant
from reprise.reports.html import html_environment, number
from reprise.runtime.durations import format_duration

MEASURES = (
    ("base_rate", "base rate", "share of predictions after which the user bought"),
    ("mean_probability", "mean probability", "equals the base rate if calibrated"),
    (
        "roc_auc",
        "ROC AUC",
        "probability that of two predictions the one with a purchase has the higher probability",
    ),
    ("average_precision", "average precision", "area under the precision-recall curve"),
    ("lift", "lift, top tenth", "base rate of the tenth with the highest probabilities, over that of all"),
    ("brier", "Brier score", "mean squared error; lower is better"),
    ("log_loss", "log loss", "mean negative log-likelihood; lower is better"),
    ("calibration_error", "calibration error", "mean gap between probability and base rate; lower is better"),
)
_DRIFT_PLOTS = 6


def render_json(evaluation: Evaluation) -> bytes:
    """Return the evaluation as JSON; unknown values, NaN here, are null, and instants are RFC 3339."""
    document = asdict(evaluation)
    for candidate, content in zip(evaluation.candidates, document["candidates"], strict=True):
        content["deciding"] = candidate.deciding.metric
    for name in ("computed", "complete_until", "since"):
        instant_us = document.pop(f"{name}_us")
        document[name] = None if instant_us is None else format_timestamp(instant_us)
    if evaluation.drift is not None:
        for name in ("since", "until"):
            document["drift"][name] = format_timestamp(document["drift"].pop(f"{name}_us"))
        document["drift"]["drifted"] = evaluation.drift.drifted
    for name in ("mismatched", "excluded_share"):
        document["consistency"][name] = getattr(evaluation.consistency, name)
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def render_html(evaluation: Evaluation) -> str:
    """Return the page."""
    environment = html_environment(
        "reprise.outcomes",
        interval=_interval,
        signed=lambda value: number(value, "+.5f"),
        instant=lambda instant_us: instant(instant_us).strftime("%d %b %Y, %H:%M UTC"),
        duration=lambda us: format_duration(timedelta(microseconds=us)),
        verdict=lambda verdict: verdict.replace("_", " "),
    )
    drifted = evaluation.drift.features[:_DRIFT_PLOTS] if evaluation.drift is not None else ()
    return environment.get_template("outcomes.html.j2").render(
        evaluation=evaluation,
        tables=[table for early in (False, True) if (table := _table(evaluation, early)) is not None],
        plots=_plots(evaluation),
        drift=evaluation.drift,
        drift_threshold=DRIFT_THRESHOLD,
        drift_plots=[(f"Distribution of {each.feature}", plots.drift_plot(each)) for each in drifted],
        sequences=[
            (candidate, [(result, plots.sequence_plot(result)) for result in candidate.results])
            for candidate in evaluation.candidates
        ],
        mismatched=evaluation.consistency.mismatched,
    )


def _table(evaluation: Evaluation, early: bool) -> dict[str, Any] | None:
    results = [(arm, arm.early if early else arm.full) for arm in evaluation.arms]
    columns = [(arm, result) for arm, result in results if result is not None]
    if not columns:
        return None
    first = columns[0][1]
    rows = [
        (title, note, [result.measures.get(name) for _, result in columns])
        for name, title, note in MEASURES
        if name in first.measures
    ]
    return {"early": early, "horizon_us": first.horizon_us, "columns": columns, "rows": rows}


def _plots(evaluation: Evaluation) -> list[tuple[str, str]]:
    results = [
        (f"{arm.arm} {arm.digest.removeprefix('sha256:')[:8]}", arm.full)
        for arm in evaluation.arms
        if arm.full is not None
    ]
    if not results:
        return []
    return [
        ("Reliability diagram of each arm", plots.reliability_plot(results)),
        ("Distribution of the probabilities of each arm", plots.score_plot(results)),
    ]


def _interval(interval: Interval) -> str:
    if math.isnan(interval.lower):
        return "no interval"
    return f"{interval.lower:.4f} to {interval.upper:.4f}"
