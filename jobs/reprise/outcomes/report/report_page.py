"""The report: one HTML page that holds everything it shows, and the same as JSON."""

import math
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import orjson

from reprise.events import format_timestamp
from reprise.outcomes.comparison.bootstrap import Interval
from reprise.outcomes.evaluation import ArmFindings, CandidateFindings, Findings
from reprise.outcomes.features.feature_drift import DRIFTED
from reprise.outcomes.report import plots
from reprise.reports.figures import instant
from reprise.reports.html import html_environment, number
from reprise.runtime.durations import format_duration

MEASURES = (
    ("base_rate", "base rate", "share of predictions after which the user bought"),
    ("mean_probability", "mean probability", "what was said on average; as the base rate where calibrated"),
    ("roc_auc", "ROC AUC", "chance that a prediction with a purchase has the higher probability of two"),
    ("average_precision", "average precision", "area under precision against recall"),
    ("lift", "lift, top tenth", "base rate among the highest tenth of the probabilities, over that of all"),
    ("brier", "Brier score", "mean squared error; lower is better"),
    ("log_loss", "log loss", "mean surprise; lower is better"),
    ("calibration_error", "calibration error", "mean gap between said and happened; lower is better"),
)
_DRIFT_PLOTS = 6
_VERDICTS = {
    "better": "better",
    "not_worse": "not worse",
    "worse": "worse",
    "undecided": "undecided",
}


def render_json(findings: Findings) -> bytes:
    """Return the findings as JSON; what is not known is null, instants are RFC 3339."""
    document = _plain(asdict(findings))
    for found, said in zip(findings.candidates, document["candidates"], strict=True):
        said["deciding"] = found.deciding.metric
    for name in ("computed", "complete_until", "since"):
        instant = document.pop(f"{name}_us")
        document[name] = None if instant is None else format_timestamp(instant)
    if document["drift"] is not None:
        for name in ("since", "until"):
            document["drift"][name] = format_timestamp(document["drift"].pop(f"{name}_us"))
        document["drift"]["drifted"] = findings.drift.drifted if findings.drift else 0
    document["consistency"]["mismatched"] = findings.consistency.mismatched
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def render_html(findings: Findings) -> str:
    """Return the page."""
    environment = html_environment(
        "reprise.outcomes",
        interval=_interval,
        signed=lambda value: number(value, "+.5f"),
        instant=lambda instant_us: instant(instant_us).strftime("%d %b %Y, %H:%M UTC"),
        duration=lambda us: format_duration(timedelta(microseconds=us)),
        verdict=lambda verdict: _VERDICTS[verdict],
    )
    return environment.get_template("outcomes.html.j2").render(
        findings=findings,
        tables=_tables(findings),
        plots=_plots(findings),
        drift=findings.drift,
        drifted_above=DRIFTED,
        drift_plots=_drift_plots(findings),
        sequences=[(found, _sequences(found)) for found in findings.candidates],
        mismatched=findings.consistency.mismatched,
        in_flight=sum(findings.consistency.in_flight.values()),
    )


def _tables(findings: Findings) -> list[dict[str, Any]]:
    tables = []
    for early in (False, True):
        columns = [(arm, arm.early if early else arm.full) for arm in findings.arms]
        shown = [(arm, measured) for arm, measured in columns if measured is not None]
        if not shown:
            continue
        rows = [
            (title, note, [measured.measures.get(name) for _, measured in shown])
            for name, title, note in MEASURES
            if name in shown[0][1].measures
        ]
        horizon = shown[0][1].horizon_us
        tables.append({"early": early, "horizon_us": horizon, "columns": shown, "rows": rows})
    return tables


def _plots(findings: Findings) -> list[tuple[str, str]]:
    measured = [(_name(arm), arm.full) for arm in findings.arms if arm.full is not None]
    if not measured:
        return []
    return [
        ("Reliability diagram of each arm", plots.reliability_plot(measured)),
        ("Distribution of the probabilities of each arm", plots.score_plot(measured)),
    ]


def _drift_plots(findings: Findings) -> list[tuple[str, str]]:
    worst = findings.drift.features[:_DRIFT_PLOTS] if findings.drift is not None else ()
    return [(f"Distribution of {each.feature}", plots.drift_plot(each)) for each in worst]


def _sequences(found: CandidateFindings) -> list[tuple[Any, str]]:
    return [(result, plots.sequence_plot(result)) for result in found.results]


def _name(arm: ArmFindings) -> str:
    return f"{arm.arm} {arm.digest.removeprefix('sha256:')[:8]}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _interval(interval: Interval) -> str:
    if math.isnan(interval.lower):
        return "no interval"
    return f"{interval.lower:.4f} to {interval.upper:.4f}"
