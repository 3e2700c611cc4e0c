"""Evaluation of the model, its baselines and the oracle on the same held-out rows."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from reprise.bundle import Evaluation, ReliabilityBin, Scores, SliceReport
from reprise.evaluation.classification_metrics import Floats, Labels, RankedPredictions
from reprise.evaluation.cluster_bootstrap import Interval, bootstrap
from reprise.evaluation.time_split import Span
from reprise.features.request_kinds import KINDS
from reprise.features.sampled_requests import ASKED
from reprise.trainer.data.dataset import Dataset
from reprise.trainer.data.labelled_rows import Rows
from reprise.trainer.evaluation.baselines import FREQUENCY, POISSON_GAMMA, PREVALENCE, RECENCY, RFM_TREE

_DRAWS = 200
_SLICE_DRAWS = 60
_MOST_SLICES = 12
# Not the calibration error: a resample adds noise to it, so that its percentile interval lies above it.
INTERVALS = ("roc_auc", "average_precision", "brier", "log_loss")

MODEL = "model"
ORACLE = "oracle"
NAMES = {
    MODEL: "model",
    RECENCY: "recency alone",
    PREVALENCE: "prevalence",
    FREQUENCY: "frequency alone",
    RFM_TREE: "RFM tree",
    POISSON_GAMMA: "Poisson-gamma",
    ORACLE: "oracle",
}


@dataclass(frozen=True, slots=True)
class Predictions:
    """Probabilities of the same rows by scorer: model, baselines, and the oracle if known."""

    rows: Dataset
    by_scorer: Mapping[str, Floats]
    # The threshold of each row by scorer; infinite where a purchase is never predicted
    thresholds: Mapping[str, Floats] = field(default_factory=dict)

    def subset(self, rows: Rows) -> "Predictions":
        """Return the predictions for some of the rows."""
        parts = [
            {name: values[rows] for name, values in each.items()}
            for each in (self.by_scorer, self.thresholds)
        ]
        return Predictions(self.rows.subset(rows), *parts)


@dataclass(frozen=True, slots=True)
class TimeSlice:
    """Evaluation of one part of the evaluation span."""

    span: Span  # The part
    rows: int  # Number of rows
    positive_share: float  # Share of rows whose label is true
    mean_probability: float  # Mean probability of the model
    aucs: Mapping[str, float | None]  # ROC AUC by scorer; ``None`` if only one label occurs


@dataclass(frozen=True, slots=True)
class EvaluatedSlice:
    """The model's scores on the rows of one value of a dimension."""

    name: str
    rows: int
    positive_share: float
    intervals: Mapping[str, Interval]


def evaluate(predictions: Predictions, kinds: npt.NDArray[np.int8]) -> Evaluation:
    """Return the report on requests at events, all and those whose pair was bought before, and on each question.

    ``kinds`` is the place of each row's kind in ``KINDS``. Questions without rows are left out.
    """
    rows = predictions.rows
    before, after, idle = (rows.asked == place for place in range(len(ASKED)))
    repeat = rows.repeat_candidates
    purchase = np.isin(kinds, [KINDS.index("first purchase"), KINDS.index("repeat purchase")])
    questions = {
        "other event": before & ~purchase,
        "purchase, before it is stored": before & purchase,
        "purchase, after it is stored": after & purchase,
        "idle, bought before": idle & repeat,
        "idle, never bought": idle & ~repeat,
    }
    at_events = predictions.subset(before)
    return Evaluation(
        overall=_report(at_events),
        repeat_candidates=_report(predictions.subset(before & repeat)) if (before & repeat).any() else None,
        questions={name: _report(predictions.subset(mask)) for name, mask in questions.items() if mask.any()},
    )


def evaluate_slices(predictions: Predictions) -> dict[str, list[EvaluatedSlice]]:
    """Return the model's scores by month, past purchases of the pair, customers of its product, and metadata.

    Of the metadata, the most frequent values are shown, and the others together.
    """
    rows = predictions.rows
    months = rows.timestamps_us.astype("datetime64[us]").astype("datetime64[M]").astype(str)
    dimensions = {"month": months}
    for name, edges, counts in (
        ("purchases of the pair", (1, 2, 5), rows.past.count),
        ("customers of the product", (1, 20, 100), rows.past.customers),
    ):
        texts = [
            f"{low} to {high - 1}" if high > low + 1 else f"{low}" for low, high in pairwise((0, *edges))
        ]
        texts.append(f"{edges[-1]} or more")
        dimensions[name] = np.array(texts)[np.searchsorted(edges, np.nan_to_num(counts), side="right")]
    for name, members in rows.metadata.items():
        texts_of_rows = np.array(["(missing)" if text is None else text for text in members], np.str_)
        distinct, sizes = np.unique(texts_of_rows, return_counts=True)
        common = distinct[np.argsort(-sizes, kind="stable")[:_MOST_SLICES]]
        unique = f"{name} of the event" if name in dimensions else name
        dimensions[unique] = np.where(np.isin(texts_of_rows, common), texts_of_rows, "(others)")
    found: dict[str, list[EvaluatedSlice]] = {}
    for dimension, values in dimensions.items():
        for text in sorted(set(values.tolist()), key=lambda each: (len(each), each)):
            part = predictions.subset(np.equal(values, text))
            intervals = score_intervals(part, _SLICE_DRAWS)
            slice_ = EvaluatedSlice(text, len(part.rows), float(part.rows.labels.mean()), intervals)
            found.setdefault(dimension, []).append(slice_)
    return found


def score_intervals(predictions: Predictions, draws: int = _DRAWS) -> dict[str, Interval]:
    """Return the model's scores with 95% intervals, from resamples of the users (cluster bootstrap)."""
    labels, probabilities = predictions.rows.labels, predictions.by_scorer[MODEL]
    ranked = RankedPredictions.of(labels, probabilities)
    predicted = probabilities >= predictions.thresholds[MODEL]

    def share(part: Labels, whole: Labels, weights: Floats | None) -> float:
        total = np.count_nonzero(whole) if weights is None else weights[whole].sum()
        right = np.count_nonzero(part) if weights is None else weights[part].sum()
        return float(right / total) if total else float("nan")

    def statistics(weights: Floats | None) -> dict[str, float]:
        metrics, right = ranked.metrics(weights), predicted & labels
        return {
            **{name: getattr(metrics, name) for name in INTERVALS},
            "precision": share(right, predicted, weights),
            "recall": share(right, labels, weights),
        }

    users = np.unique(predictions.rows.users, return_inverse=True)[1]
    return bootstrap(statistics, users, draws=draws, seed=0)


def evaluate_over_time(predictions: Predictions, span: Span, parts: int = 6) -> list[TimeSlice]:
    """Return the evaluation of equal parts of the span, in order; parts without rows are left out."""
    edges = np.linspace(span.start_us, span.end_us, parts + 1).astype(np.int64).tolist()
    slices = []
    for start, end in pairwise(edges):
        part = predictions.subset(Span(start, end).rows(predictions.rows.timestamps_us))
        if len(part.rows) == 0:
            continue
        slices.append(
            TimeSlice(
                span=Span(start, end),
                rows=len(part.rows),
                positive_share=float(part.rows.labels.mean()),
                mean_probability=float(part.by_scorer[MODEL].mean()),
                aucs={name: scores.roc_auc for name, scores in _scores(part).items()},
            )
        )
    return slices


def scores_by_scorer(report: SliceReport) -> dict[str, Scores]:
    """Return the scores of the model, the baselines, and the oracle if known, in this order."""
    oracle = {} if report.oracle is None else {ORACLE: report.oracle}
    return {MODEL: report.model, **report.baselines, **oracle}


def _report(predictions: Predictions) -> SliceReport:
    scores = _scores(predictions)
    oracle = scores.get(ORACLE)
    curve = RankedPredictions.of(predictions.rows.labels, predictions.by_scorer[MODEL]).calibration_curve()
    return SliceReport(
        rows=len(predictions.rows),
        positives=predictions.rows.positives,
        model=scores[MODEL],
        baselines={name: each for name, each in scores.items() if name not in (MODEL, ORACLE)},
        oracle=oracle,
        share_of_achievable=share_of_achievable(scores[MODEL], scores[RECENCY], oracle) if oracle else None,
        reliability=tuple(ReliabilityBin(**asdict(point)) for point in curve),
    )


def _scores(predictions: Predictions) -> dict[str, Scores]:
    return {
        name: score(predictions.rows.labels, values, predictions.thresholds[name])
        for name, values in predictions.by_scorer.items()
        if not np.isnan(values).any()  # nobody knows the truth of idle requests
    }


def score(labels: Labels, probabilities: Floats, threshold: float | Floats) -> Scores:
    """Return the metrics of at least one prediction.

    ROC AUC and average precision are ``None`` if only one label occurs, precision if nothing is predicted, recall
    if no label is true.
    """
    metrics = RankedPredictions.of(labels, probabilities).metrics()
    both = bool(labels.any() and not labels.all())
    predicted = probabilities >= threshold
    true_positives, predicted_positives, positives = (
        int(np.count_nonzero(rows)) for rows in (predicted & labels, predicted, labels)
    )
    return Scores(
        roc_auc=metrics.roc_auc if both else None,
        average_precision=metrics.average_precision if both else None,
        brier=metrics.brier,
        log_loss=metrics.log_loss,
        calibration_error=metrics.calibration_error,
        precision=true_positives / predicted_positives if predicted_positives else None,
        recall=true_positives / positives if positives else None,
    )


def share_of_achievable(model: Scores, recency: Scores, oracle: Scores) -> float | None:
    """Return how much of the AUC between recency alone and the oracle the model reaches, 1 for all of it.

    ``None`` if an AUC is undefined or the oracle is less than 0.005 above recency.
    """
    if model.roc_auc is None or recency.roc_auc is None or oracle.roc_auc is None:
        return None
    achievable = oracle.roc_auc - recency.roc_auc
    return (model.roc_auc - recency.roc_auc) / achievable if achievable >= 0.005 else None
