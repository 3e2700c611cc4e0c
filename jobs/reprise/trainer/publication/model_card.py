"""The model card: one HTML file that says what the model answers, how well, and where its limits are."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from reprise.bundle import DataSnapshot, Manifest, Scores, SliceReport, digest_of
from reprise.features.plan import Plan
from reprise.reports.html import html_environment
from reprise.runtime.durations import format_duration
from reprise.trainer.model.fitted_model import FittedModel
from reprise.trainer.publication import plots
from reprise.trainer.publication.metadata import Run

_MEASURES = (
    (
        "ROC AUC",
        "roc_auc",
        "chance that a row with a purchase gets the higher probability of two; 0.5 is chance",
    ),
    ("average precision", "average_precision", "area under precision against recall; prevalence is chance"),
    ("Brier score", "brier", "mean squared error of the probability; lower is better"),
    ("log loss", "log_loss", "mean surprise; lower is better"),
    (
        "calibration error",
        "calibration_error",
        "mean gap between what was said and what happened; lower is better",
    ),
    ("precision", "precision", "share of predicted purchases that happened, at each one's own threshold"),
    ("recall", "recall", "share of purchases that were predicted, at each one's own threshold"),
)


def render_card(model: FittedModel, manifest: Manifest, plan: Plan, run: Run) -> str:
    """Return the card as one self-contained HTML page, plots included."""
    environment = html_environment(
        "reprise.trainer.publication",
        day=lambda text: datetime.fromisoformat(text).strftime("%d %b %Y"),
        short="{:,.4g}".format,
    )
    evaluation = manifest.evaluation
    slices = [("All held-out rows", evaluation.overall)]
    if evaluation.repeat_candidates is not None:
        slices.append(
            ("Repeat candidates: the user has bought the product before", evaluation.repeat_candidates)
        )
    return environment.get_template("model_card.html.j2").render(
        digest=digest_of(manifest.to_bytes()),
        manifest=manifest,
        run=run,
        trained_at=run.trained_at.strftime("%d %B %Y, %H:%M UTC"),
        horizon=format_duration(run.settings.horizon),
        seconds=sum(run.durations.values()),
        overall=evaluation.overall,
        slices=[(title, report, _comparison(report)) for title, report in slices],
        timeline=_timeline(manifest.data),
        inputs=_inputs(manifest, plan),
        selection=model.selection,
        plots=_plots(model, manifest),
    )


@dataclass(frozen=True, slots=True)
class _Segment:
    name: str
    share: float
    kind: str


def _comparison(report: SliceReport) -> dict[str, Any]:
    answerers: list[tuple[str, Scores]] = [("model", report.model)]
    answerers += [(plots.NAMES[name], scores) for name, scores in report.baselines.items()]
    if report.oracle is not None:
        answerers.append(("oracle", report.oracle))
    rows = [
        (name, note, [getattr(scores, attribute) for _, scores in answerers])
        for name, attribute, note in _MEASURES
    ]
    return {"columns": [name for name, _ in answerers], "rows": rows}


def _timeline(data: DataSnapshot) -> list[_Segment]:
    """Return the spans of history with their share of its length, for a bar."""
    windows = (("train", data.train), ("calibrate", data.calibration), ("evaluate", data.evaluation))
    start, end = datetime.fromisoformat(data.first), datetime.fromisoformat(data.last)
    whole = (end - start).total_seconds()
    segments, reached = [], start
    for name, window in windows:
        opens, closes = datetime.fromisoformat(window.start), datetime.fromisoformat(window.end)
        if opens > reached:
            segments.append(_Segment("gap", (opens - reached).total_seconds() / whole, "gap"))
        segments.append(_Segment(name, (closes - opens).total_seconds() / whole, name))
        reached = closes
    segments.append(_Segment("no labels yet", (end - reached).total_seconds() / whole, "gap"))
    return segments


def _inputs(manifest: Manifest, plan: Plan) -> list[dict[str, Any]]:
    described = {item.name: item for item in plan.inputs}
    return [
        {"importance": importance, "input": described[importance.name]} for importance in manifest.importances
    ]


def _plots(model: FittedModel, manifest: Manifest) -> dict[str, str]:
    answers, threshold = model.answers, manifest.threshold
    return {
        "roc": plots.roc_plot(answers),
        "precision_recall": plots.precision_recall_plot(answers, threshold),
        "calibration": plots.calibration_plot(answers),
        "scores": plots.score_plot(answers, threshold),
        "auc_over_time": plots.time_plot(model.time_slices),
        "rate_over_time": plots.rate_plot(model.time_slices),
        "importance": plots.importance_plot(manifest.importances),
    }
