"""What a run says at its end, in a few lines."""

from reprise.bundle import Scores, SliceReport
from reprise.runtime.durations import format_duration
from reprise.trainer.pipeline import TrainingResult
from reprise.trainer.promotion.proposal import Proposal

_COLUMNS = ("ROC AUC", "avg precision", "Brier", "log loss", "precision", "recall", "calibration err")


def render_summary(result: TrainingResult) -> str:
    """Return the measures against baselines and oracle, and where the model and its card are."""
    evaluation, data = result.manifest.evaluation, result.manifest.data
    horizon = format_duration(result.run.settings.horizon)
    lines = [result.run.report.render(), ""]
    if data.sampled_rows < data.labelled_rows:
        lines += [
            f"{data.sampled_rows:,} of {data.labelled_rows:,} rows used (--max-rows), sampled evenly",
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
            f"            on the same {proposal.comparison.rows:,} rows: ROC AUC {_number(new.roc_auc)} against"
            f" {_number(old.roc_auc)}, Brier {_number(new.brier)} against {_number(old.brier)}"
        )
    return lines


def _slice(title: str, report: SliceReport) -> list[str]:
    rate = report.positives / report.rows
    rows = [
        ("model", report.model),
        *((f"{name} alone", scores) for name, scores in report.baselines.items()),
    ]
    if report.oracle is not None:
        rows.append(("oracle", report.oracle))
    lines = [f"{title}: {report.rows:,} rows, {rate:.1%} positive"]
    lines.append(" " * 18 + "".join(f"{column:>16}" for column in _COLUMNS))
    lines += [
        f"  {name:<16}" + "".join(f"{_number(value):>16}" for value in _values(scores))
        for name, scores in rows
    ]
    if report.share_of_achievable is not None:
        lines.append(f"  {report.share_of_achievable:.0%} of the achievable AUC above recency")
    return lines


def _values(scores: Scores) -> tuple[float | None, ...]:
    return (
        scores.roc_auc,
        scores.average_precision,
        scores.brier,
        scores.log_loss,
        scores.precision,
        scores.recall,
        scores.calibration_error,
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
