"""Whether more rows or a longer history would make a better model."""

from dataclasses import dataclass

import numpy as np

from reprise.evaluation.classification_metrics import RankedPredictions
from reprise.evaluation.time_split import Span
from reprise.features.request_kinds import KindColumns
from reprise.runtime.progress import progress
from reprise.trainer.data.dataset import Dataset
from reprise.trainer.model.forest import ForestParameters, grow_split_forest
from reprise.trainer.settings import TrainerSettings

_ROW_SHARES = (0.1, 0.25, 0.5)
_TIME_SHARES = (0.25, 0.5)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The quality of forests grown on a part of the training rows; ROC AUC of votes, NaN if undefined."""

    part: str
    rows: int
    overall: float
    repeat_candidates: float


def learning_curve(
    train: Dataset,
    span: Span,
    evaluation: Dataset,
    parameters: ForestParameters,
    columns: KindColumns,
    settings: TrainerSettings,
) -> tuple[CurvePoint, ...]:
    """Return the quality by number of rows and by length of their time; parts with one label only are left out.

    Features know all of the past in each part.
    """
    parts = {
        f"{share:.0%} of the rows": train.sample(int(share * len(train)), settings.seed)
        for share in _ROW_SHARES
    }
    for share in _TIME_SHARES:
        latest = Span(span.end_us - int(share * span.length_us), span.end_us)
        parts[f"latest {share:.0%} of the time"] = train.within(latest)
    parts["all"] = train
    points = []
    with progress("Measuring the learning curve", len(parts), "forests") as bar:
        for name, part in parts.items():
            if 0 < part.positives < len(part):
                forest = grow_split_forest(part, columns, parameters, seed=settings.seed, jobs=settings.jobs)
                votes, repeat = (
                    forest.score(evaluation.inputs, jobs=settings.jobs),
                    evaluation.repeat_candidates,
                )
                aucs = [
                    RankedPredictions.of(evaluation.labels[rows], votes[rows]).metrics().roc_auc
                    if rows.any()
                    else float("nan")
                    for rows in (np.ones_like(repeat), repeat)
                ]
                points.append(CurvePoint(name, len(part), *aucs))
            bar.advance()
    return tuple(points)
