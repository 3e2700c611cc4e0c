"""The model card: one HTML file with the question, quality and limits of a model."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from reprise.bundle import DataSnapshot, Manifest, SliceReport, digest_of
from reprise.evaluation.cluster_bootstrap import Interval
from reprise.events import format_timestamp
from reprise.reports.html import html_environment
from reprise.runtime.durations import format_duration
from reprise.trainer.evaluation.held_out import NAMES, scores_by_scorer
from reprise.trainer.evaluation.verdicts import MIN_TAIL_ROWS
from reprise.trainer.model.fitted_model import FittedModel
from reprise.trainer.model.importance import group_importances
from reprise.trainer.publication import plots
from reprise.trainer.run import Run
from reprise.trainer.threshold import describe_rule

_METRICS = (
    ("ROC AUC", "roc_auc", "probability that a positive row ranks above a negative one; 0.5 is chance"),
    ("average precision", "average_precision", "area under the precision-recall curve; prevalence is chance"),
    ("Brier score", "brier", "mean squared error of the probability; lower is better"),
    ("log loss", "log_loss", "mean negative log-likelihood; lower is better"),
    (
        "calibration error",
        "calibration_error",
        "mean gap between predicted and observed rate; lower is better",
    ),
    ("precision", "precision", "share of predicted purchases that happened, at each column's own threshold"),
    ("recall", "recall", "share of purchases that were predicted, at each column's own threshold"),
)


def render_card(run: Run, manifest: Manifest) -> str:
    """Return the card as one self-contained HTML page, plots included."""
    model, plan, ranking, users = run.model, run.plan, run.ranking, run.users
    environment = html_environment(
        "reprise.trainer.publication",
        duration=format_duration,
        day=lambda text: datetime.fromisoformat(text).strftime("%d %b %Y"),
    )
    evaluation = manifest.evaluation
    described = {item.name: item for item in plan.inputs}
    slices = [("All held-out rows", evaluation.overall, model.intervals["overall"])]
    if evaluation.repeat_candidates is not None:
        title = "Repeat candidates: the user has bought the product before"
        slices.insert(0, (title, evaluation.repeat_candidates, model.intervals["repeat_candidates"]))
    groups: dict[str, list[int]] = {}
    for position, item in enumerate(plan.inputs):
        groups.setdefault(item.entity, []).append(position)
    constant = [
        name for name, each in model.feature_histograms.items() if len(each.counts) + (each.missing > 0) == 1
    ]
    return environment.get_template("model_card.html.j2").render(
        digest=digest_of(manifest.to_bytes()),
        manifest=manifest,
        refit=run.refit,
        rule=describe_rule(manifest.parameters["threshold_rule"]),
        age=run.describe_age(manifest.data),
        run=run,
        min_tail_rows=MIN_TAIL_ROWS,
        trained_at=run.trained_at.strftime("%d %B %Y, %H:%M UTC"),
        horizon=format_duration(run.settings.default_horizon),
        spans={each.seconds: format_duration(timedelta(seconds=each.seconds)) for each in manifest.horizons},
        seconds=sum(run.durations.values()),
        overall=evaluation.overall,
        headline=slices[0],
        by_dimension=model.slices,
        groups=group_importances(model.evaluated.scorer, model.predictions.rows, groups, run.settings.seed),
        constant=constant,
        anomalies=run.history.anomalies,
        sold_before=float((model.predictions.rows.past.customers > 0).mean()),
        never_bought=1.0 - float(model.predictions.rows.repeat_candidates.mean()),
        slices=[(title, report, _comparison(report, intervals)) for title, report, intervals in slices],
        timeline=_timeline(manifest.data),
        inputs=[
            {"importance": importance, "input": described[importance.name]}
            for importance in manifest.importances
        ],
        selection=model.selection,
        learning_curve=model.learning_curve,
        backtests=model.backtests.found,
        backtests_ended=model.backtests.ended,
        window=format_duration(run.settings.label_span),
        ranking=ranking,
        users_refused=users if isinstance(users, str) else None,
        ranked_at=None if ranking is None else format_timestamp(ranking.instant_us),
        plots=_plots(model, manifest),
    )


def _comparison(report: SliceReport, intervals: Mapping[str, Interval]) -> dict[str, Any]:
    scorers = scores_by_scorer(report)
    rows = [
        (name, note, [getattr(scores, attribute) for scores in scorers.values()], intervals.get(attribute))
        for name, attribute, note in _METRICS
    ]
    return {"columns": [NAMES[name] for name in scorers], "rows": rows}


def _timeline(data: DataSnapshot) -> list[dict[str, Any]]:
    windows = (("train", data.train), ("calibrate", data.calibration), ("evaluate", data.evaluation))
    start, end = datetime.fromisoformat(data.first), datetime.fromisoformat(data.last)
    whole = (end - start).total_seconds()
    segments: list[dict[str, Any]] = []

    def add(name: str, kind: str, opens: datetime, closes: datetime) -> None:
        segments.append({"name": name, "kind": kind, "share": (closes - opens).total_seconds() / whole})

    reached = start
    for name, window in windows:
        opens, closes = datetime.fromisoformat(window.start), datetime.fromisoformat(window.end)
        if opens > reached:
            add("gap", "gap", reached, opens)
        add(name, name, opens, closes)
        reached = closes
    add("no labels yet", "gap", reached, end)
    return segments


def _plots(model: FittedModel, manifest: Manifest) -> dict[str, str]:
    predictions = model.predictions
    return {
        "roc": plots.roc_plot(predictions),
        "precision_recall": plots.precision_recall_plot(predictions, manifest.evaluation.overall.model),
        "calibration": plots.calibration_plot(predictions),
        "scores": plots.score_plot(predictions),
        "gain": plots.gain_plot(predictions),
        "cost": plots.cost_plot(predictions),
        "auc_over_time": plots.time_plot(model.time_slices),
        "rate_over_time": plots.rate_plot(model.time_slices),
        "importance": plots.importance_plot(manifest.importances),
    }
