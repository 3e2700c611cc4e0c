"""The summary that a run prints at its end."""

from reprise.bundle import SliceReport
from reprise.reports.html import number
from reprise.runtime.durations import format_duration
from reprise.trainer.evaluation.held_out import scores_by_scorer
from reprise.trainer.pipeline import TrainingResult
from reprise.trainer.promotion.candidate import Proposal

_COLUMNS = (
    ("ROC AUC", "roc_auc"),
    ("avg precision", "average_precision"),
    ("Brier", "brier"),
    ("log loss", "log_loss"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("calibration err", "calibration_error"),
)


def render_summary(result: TrainingResult) -> str:
    """Return the scores next to those of baselines and oracle, and where the model and its card are."""
    evaluation, data = result.manifest.evaluation, result.manifest.data
    horizon = format_duration(result.run.settings.horizon)
    lines = [result.run.report.render(), ""]
    if data.sampled_rows < data.labelled_rows:
        lines += [
            f"{data.sampled_rows:,} of {data.labelled_rows:,} rows used (--max-rows), sampled uniformly",
            "",
        ]
    lines += _slice(f"Held-out rows, P(buys within {horizon})", evaluation.overall)
    if evaluation.repeat_candidates is not None:
        lines += ["", *_slice("Repeat candidates (bought before)", evaluation.repeat_candidates)]
    lines += [
        "",
        f"threshold   {result.manifest.threshold:.4f}",
        f"parity      ONNX = scikit-learn within {result.manifest.parity.max_abs_diff:.1e} "
        f"on {result.manifest.parity.rows:,} rows",
        f"took        {sum(result.run.durations.values()):.1f} s",
        f"bundle      {result.digest}",
        f"model card  {result.card}",
    ]
    return "\n".join([*lines, *_proposal(result.proposal)])


def _proposal(proposal: Proposal | None) -> list[str]:
    if proposal is None:
        return []
    lines = [f"rollout     {proposal.rollout}: {proposal.outcome}, {proposal.reason}"]
    if proposal.comparison is not None:
        new, old = proposal.comparison.candidate_scores, proposal.comparison.baseline_scores
        lines.append(
            f"            on the same {proposal.comparison.rows:,} rows: ROC AUC {number(new.roc_auc)} against"
            f" {number(old.roc_auc)}, Brier {number(new.brier)} against {number(old.brier)}"
        )
    return lines


def _slice(title: str, report: SliceReport) -> list[str]:
    lines = [f"{title}: {report.rows:,} rows, {report.positives / report.rows:.1%} positive"]
    lines.append(" " * 18 + "".join(f"{column:>16}" for column, _ in _COLUMNS))
    for scorer, scores in scores_by_scorer(report).items():
        name = f"{scorer} alone" if scorer in report.baselines else scorer
        values = (number(getattr(scores, attribute)) for _, attribute in _COLUMNS)
        lines.append(f"  {name:<16}" + "".join(f"{value:>16}" for value in values))
    if report.share_of_achievable is not None:
        lines.append(f"  {report.share_of_achievable:.0%} of the achievable AUC above recency")
    return lines
