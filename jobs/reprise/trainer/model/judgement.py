"""A model's probabilities of rows that it has not seen, judged next to those of baselines and the oracle."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reprise.bundle import Evaluation
from reprise.bundle.scorer import Scorer
from reprise.evaluation.classification_metrics import Floats
from reprise.evaluation.cluster_bootstrap import Interval
from reprise.features.request_kinds import KindColumns
from reprise.trainer.data.dataset import Dataset
from reprise.trainer.evaluation.baselines import predict_baselines
from reprise.trainer.evaluation.held_out import MODEL, ORACLE, Predictions, evaluate, score_intervals
from reprise.trainer.model.onnx_graph import score_rows
from reprise.trainer.settings import TrainerSettings
from reprise.trainer.threshold import Thresholds, choose_threshold


@dataclass(frozen=True, slots=True)
class Judgement:
    """The quality of a model's probabilities."""

    probabilities: Floats  # Of all judged rows, by the model
    predictions: Predictions  # Of the judged rows at events, by all scorers
    evaluation: Evaluation
    # The scores of all requests at events, and of repeat candidates if there are any, with 95% intervals over users
    intervals: Mapping[str, Mapping[str, Interval]]


def judge(
    scorer: Scorer,
    thresholds: Thresholds,
    rows: Dataset,
    *,
    train: Dataset,
    calibration: Dataset,
    columns: KindColumns,
    settings: TrainerSettings,
) -> Judgement:
    """Judge a model on rows; the baselines learn from ``train``, and get thresholds by the rule on ``calibration``."""
    kinds = columns.kinds(rows.inputs)
    baselines = _baseline_thresholds(train, calibration.at_events, settings)
    probabilities = score_rows(scorer, rows.inputs)
    everything = Predictions(
        rows,
        {MODEL: probabilities, **_baselines(train, rows, settings)},
        {
            MODEL: thresholds.of(kinds),
            **{name: np.full(len(kinds), value) for name, value in baselines.items()},
        },
    )
    predictions = everything.subset(rows.are_at_events)
    slices = {
        "overall": predictions,
        "repeat_candidates": predictions.subset(predictions.rows.repeat_candidates),
    }
    intervals = {name: score_intervals(part) for name, part in slices.items() if len(part.rows)}
    return Judgement(probabilities, predictions, evaluate(everything, kinds), intervals)


def _baseline_thresholds(train: Dataset, rows: Dataset, settings: TrainerSettings) -> dict[str, float]:
    found = {
        name: settings.threshold or choose_threshold(settings.threshold_rule, rows.labels, scores)
        for name, scores in _baselines(train, rows, settings).items()
    }
    return {name: np.inf if threshold is None else threshold for name, threshold in found.items()}


def _baselines(train: Dataset, rows: Dataset, settings: TrainerSettings) -> dict[str, Floats]:
    oracle = {} if rows.truth is None else {ORACLE: rows.truth}
    return {**predict_baselines(train, rows, settings.default_horizon), **oracle}
