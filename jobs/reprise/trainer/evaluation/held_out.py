"""The report: the model, its baselines and the oracle on the same held-out rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from reprise.bundle import Evaluation, Scores, SliceReport
from reprise.trainer.data.dataset import TrainingTable
from reprise.trainer.data.time_split import Span
from reprise.trainer.measures import best_f1_threshold, measure, reliability, share_of_achievable

MODEL = "model"
PREVALENCE = "prevalence"
RECENCY = "recency"
ORACLE = "oracle"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Answers:
    """Probabilities of one set of rows by who gave them: model, prevalence, recency, and the oracle if known."""

    table: TrainingTable
    by: Mapping[str, Floats]

    def part(self, rows: slice | npt.NDArray[np.bool_]) -> "Answers":
        """Return the answers for some of the rows."""
        return Answers(self.table.part(rows), {name: values[rows] for name, values in self.by.items()})


@dataclass(frozen=True, slots=True)
class TimeSlice:
    """How the model did in one part of the evaluation span.

    Attributes:
        span: The part.
        rows: Rows in it.
        positive_share: Share of rows whose label is true.
        mean_probability: Mean probability that the model gave.
        aucs: ROC AUC by who answered; ``None`` where only one label occurs.
    """

    span: Span
    rows: int
    positive_share: float
    mean_probability: float
    aucs: Mapping[str, float | None]


def choose_thresholds(calibration: Answers, fixed: float | None) -> dict[str, float]:
    """Return the threshold of each answerer: the fixed one, or its own best F1 on the calibration rows."""
    if fixed is not None:
        return dict.fromkeys(calibration.by, fixed)
    return {
        name: best_f1_threshold(calibration.table.labels, values) for name, values in calibration.by.items()
    }


def evaluate(answers: Answers, thresholds: Mapping[str, float]) -> Evaluation:
    """Return the report on all rows and on those whose pair has an earlier purchase."""
    repeat = answers.table.repeat_candidates
    return Evaluation(
        overall=_report(answers, thresholds),
        repeat_candidates=_report(answers.part(repeat), thresholds) if repeat.any() else None,
    )


def evaluate_over_time(
    answers: Answers, span: Span, thresholds: Mapping[str, float], parts: int = 6
) -> list[TimeSlice]:
    """Return the report of equal parts of the evaluation span, in order; parts without rows are left out."""
    edges = np.linspace(span.start_us, span.end_us, parts + 1).astype(np.int64).tolist()
    slices = []
    for start, end in pairwise(edges):
        part = answers.part(Span(start, end).rows(answers.table.timestamps_us))
        if len(part.table) == 0:
            continue
        slices.append(
            TimeSlice(
                span=Span(start, end),
                rows=len(part.table),
                positive_share=float(part.table.labels.mean()),
                mean_probability=float(part.by[MODEL].mean()),
                aucs={name: scores.roc_auc for name, scores in _scores(part, thresholds).items()},
            )
        )
    return slices


def _report(answers: Answers, thresholds: Mapping[str, float]) -> SliceReport:
    scores = _scores(answers, thresholds)
    oracle = scores.get(ORACLE)
    return SliceReport(
        rows=len(answers.table),
        positives=answers.table.positives,
        model=scores[MODEL],
        baselines={name: scores[name] for name in (PREVALENCE, RECENCY)},
        oracle=oracle,
        share_of_achievable=share_of_achievable(scores[MODEL], scores[RECENCY], oracle) if oracle else None,
        reliability=reliability(answers.table.labels, answers.by[MODEL]),
    )


def _scores(answers: Answers, thresholds: Mapping[str, float]) -> dict[str, Scores]:
    return {
        name: measure(answers.table.labels, values, thresholds[name]) for name, values in answers.by.items()
    }
