"""The summary that a run prints at its end."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from reprise.bundle import HorizonModel, Manifest, SliceReport
from reprise.evaluation.cluster_bootstrap import Interval
from reprise.reports.html import number
from reprise.runtime.durations import format_duration
from reprise.trainer.evaluation.buy_again import BuyAgainReport
from reprise.trainer.evaluation.held_out import MODEL, scores_by_scorer
from reprise.trainer.evaluation.held_out import NAMES as SCORERS
from reprise.trainer.pipeline import TrainingResult
from reprise.trainer.promotion.baseline_comparison import NAMES
from reprise.trainer.promotion.candidate import Proposal
from reprise.trainer.run import Run

_COLUMNS = (
    ("ROC AUC", "roc_auc"),
    ("avg precision", "average_precision"),
    ("Brier", "brier"),
    ("log loss", "log_loss"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("calibration err", "calibration_error"),
)
_QUESTIONS = {
    "other event": "other event",
    "purchase, before it is stored": "purchase before",
    "purchase, after it is stored": "purchase after",
    "idle, bought before": "idle, bought",
    "idle, never bought": "idle, not bought",
}


def render_summary(result: TrainingResult) -> str:
    """Return the scores next to those of baselines and oracle, and where the model and its card are."""
    run, manifest, data, refit = result.run, result.manifest, result.manifest.data, result.run.refit
    evaluation, intervals = manifest.evaluation, run.model.intervals
    lines = [run.history.report.render(), ""]
    if data.sampled_rows < data.labelled_rows:
        used = f"{data.sampled_rows:,} of {data.labelled_rows:,} rows used (--max-rows), sampled uniformly"
        lines += [used, ""]
    if evaluation.repeat_candidates is not None:
        title = "Repeat candidates (bought before)"
        lines += [*_slice(title, evaluation.repeat_candidates, intervals["repeat_candidates"]), ""]
    title = f"Held-out rows, P(buys within {run.settings.label_text})"
    lines += [*_slice(title, evaluation.overall, intervals["overall"]), "", *_questions(evaluation.questions)]
    if run.ranking is not None:
        lines += ["", *_ranking(run.ranking)]
    lines += ["", *_users(run), *_horizons(manifest.horizons), *_backtests(run), "", *_verdicts(manifest)]
    lines += [
        "",
        f"evaluated   grown on {data.train.rows:,} rows until {data.train.end[:10]}",
        f"published   same parameters, grown on {refit.train.rows:,} rows; the newest is of {refit.newest_row[:10]},"
        f" {run.describe_age(data)}",
        f"parity      ONNX = scikit-learn within {manifest.parity.max_abs_diff:.1e} "
        f"on {manifest.parity.rows:,} rows",
        f"executor    {run.history.executor}",
        f"took        {sum(run.durations.values()):.1f} s",
        f"bundle      {result.digest}",
        f"model card  {result.card}",
    ]
    if run.history.cache is not None:
        lines.append(f"rows        {run.history.cache}")
    if result.latest is not None:
        lines.append(f"latest      {result.latest}")
    return "\n".join([*lines, *_proposal(result.proposal)])


def _row(name: str, values: Iterable[str], *, width: int = 32) -> str:
    return f"  {name:<{width}}" + "".join(f"{value:>16}" for value in values)


def _proposal(proposal: Proposal | None) -> list[str]:
    if proposal is None:
        return []
    lines = [f"rollout     {proposal.rollout}: {proposal.outcome}, {proposal.reason}"]
    comparison = proposal.comparison
    if comparison is not None:
        lines += [
            f"            {NAMES[name]} {metric.candidate:.4f} against {metric.baseline:.4f}, better by"
            f" {metric.improvement.value:+.4f} ({metric.improvement.lower:+.4f} to {metric.improvement.upper:+.4f})"
            f" on the same {comparison.rows:,} rows of {comparison.users:,} users"
            for name, metric in comparison.metrics.items()
        ]
    return lines


def _questions(questions: Mapping[str, SliceReport]) -> list[str]:
    columns = ("rows", "positive", "mean p", "ROC AUC", "calibration err", "precision", "recall")
    lines = ["By what is asked, and when", _row("", columns)]
    for name, report in questions.items():
        scores, mean = report.model, f"{report.mean_probability:.1%}"
        values = map(number, (scores.roc_auc, scores.calibration_error, scores.precision, scores.recall))
        lines.append(_row(name, [*_counts(report), mean, *values]))
    return lines


def _counts(report: SliceReport) -> list[str]:
    """Return the number of rows and the share of positive ones."""
    return [f"{report.rows:,}", f"{report.positives / report.rows:.1%}"]


def _ranking(report: BuyAgainReport) -> list[str]:
    metrics = list(report.rankings[MODEL])
    lines = [
        f"Which of a user's products first: {report.users:,} users, {report.products:,} products",
        " " * 34 + "".join(f"{metric:>16}{'model ahead by':>28}" for metric in metrics),
    ]
    for name, found in report.rankings.items():
        cells = (
            f"{number(mean.value):>16}"
            + f"{'' if name == MODEL else f'{lead.value:+.3f} ({lead.lower:+.3f} to {lead.upper:+.3f})':>28}"
            for mean, lead in found.values()
        )
        lines.append(f"  {name:<32}" + "".join(cells))
    return lines


def _users(run: Run) -> list[str]:
    if isinstance(run.users, str):
        return [f"no model of users: {run.users}"]
    found = run.users.description
    lines = [
        f"Users at random instants, P(buys anything within {run.settings.label_text}):"
        f" {found.rows:,} rows, {found.positives / found.rows:.1%} positive",
        _row("", ("ROC AUC", "Brier", "log loss", "calibration err")),
    ]
    for name, each in found.scores.items():
        values = map(number, (each.roc_auc, each.brier, each.log_loss, each.calibration_error))
        lines.append(_row(name.replace("_", " × "), values))
        if name == MODEL:
            lines.append(
                _row("95% interval", ("-".join(map(number, ends)) for ends in found.intervals.values()))
            )
    return lines


def _horizons(horizons: Sequence[HorizonModel]) -> list[str]:
    if not horizons:
        return []
    columns = ("rows", "positive", "ROC AUC", "95% interval", "Brier", "unbounded", "bounded rows")
    lines = ["", "Other horizons", _row("", columns)]
    for each in horizons:
        report, interval = each.evaluation.overall, each.intervals["overall"].get("roc_auc", ())
        auc, brier, unbounded = map(number, (report.model.roc_auc, report.model.brier, each.unbounded_brier))
        values = [auc, "-".join(map(number, interval)), brier, unbounded, f"{each.bounded:.1%}"]
        lines.append(_row(format_duration(timedelta(seconds=each.seconds)), [*_counts(report), *values]))
    return lines


def _backtests(run: Run) -> list[str]:
    asked = run.settings.backtests
    if not asked:
        return []
    found, ended = run.model.backtests.found, run.model.backtests.ended
    window = format_duration(run.settings.label_span)
    lines = ["", f"Backtests: models as of earlier dates, judged on the {window} after each"]
    if ended is not None:
        lines.append(f"  {len(found)} of {asked}: {ended}")
    if not found:
        return lines
    columns = ("rows", "positive", "ROC AUC", "95% interval", "repeat AUC", "oracle AUC", "Brier")
    lines.append(_row("", columns))
    for each in found:
        report, repeat = each.evaluation.overall, each.evaluation.repeat_candidates
        interval = each.intervals["overall"]["roc_auc"]
        aucs = (repeat.model.roc_auc if repeat else None, report.oracle.roc_auc if report.oracle else None)
        values = [number(report.model.roc_auc), f"{number(interval.lower)}-{number(interval.upper)}"]
        values += map(number, (*aucs, report.model.brier))
        lines.append(_row(each.date, [*_counts(report), *values]))
    lines.append(_row("calibration err", _QUESTIONS.values()))
    for each in found:
        reports = (each.evaluation.questions.get(name) for name in _QUESTIONS)
        errors = (number(report.model.calibration_error if report else None) for report in reports)
        lines.append(_row(each.date, errors))
    return lines


def _verdicts(manifest: Manifest) -> list[str]:
    columns = ("threshold", "yes: rows", "right", "no: rows", "right")
    lines = [
        f"Verdicts by kind, thresholds by {manifest.parameters['threshold_rule']}",
        _row("", columns),
    ]
    for kind, verdict in manifest.verdicts.items():
        yes, no = verdict.least_confidences
        values = (
            "never yes" if verdict.threshold is None else number(verdict.threshold),
            f"{verdict.true_positives + verdict.false_positives:,}",
            number(yes),
            f"{verdict.true_negatives + verdict.false_negatives:,}",
            number(no) + " pooled" * verdict.pooled,
        )
        lines.append(_row(kind, values))
    return lines


def _slice(title: str, report: SliceReport, intervals: Mapping[str, Interval]) -> list[str]:
    lines = [f"{title}: {report.rows:,} rows, {report.positives / report.rows:.1%} positive"]
    lines.append(_row("", (column for column, _ in _COLUMNS), width=16))
    for scorer, scores in scores_by_scorer(report).items():
        values = (number(getattr(scores, attribute)) for _, attribute in _COLUMNS)
        lines.append(_row(SCORERS[scorer], values, width=16))
        if scorer == MODEL:
            ranges = (
                f"{number(each.lower)}-{number(each.upper)}" if each else ""
                for each in (intervals.get(name) for _, name in _COLUMNS)
            )
            lines.append(_row("95% interval", ranges, width=16))
    if report.share_of_achievable is not None:
        lines.append(f"  {report.share_of_achievable:.0%} of the oracle's AUC above recency")
    return lines
