"""How good probabilities are, in the numbers that the report gives."""

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from reprise.bundle import ReliabilityBin, Scores

RELIABILITY_BINS = 10
_CLIP = 1e-7

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]


def measure(labels: Labels, probabilities: Floats, threshold: float) -> Scores:
    """Return every measure of the probabilities; at least one row is needed.

    ROC AUC and average precision are ``None`` where only one label occurs. The logarithm of the log loss
    ends at 1e-7, so that one certain mistake is not infinite.
    """
    both = bool(labels.any() and not labels.all())
    clipped = np.clip(probabilities, _CLIP, 1.0 - _CLIP)
    predicted = probabilities >= threshold
    hits = int(np.count_nonzero(predicted & labels))
    positives = int(np.count_nonzero(labels))
    called = int(np.count_nonzero(predicted))
    return Scores(
        # sums of shares, which for a perfect order may end a rounding error above 1
        roc_auc=min(1.0, float(roc_auc_score(labels, probabilities))) if both else None,
        average_precision=min(1.0, float(average_precision_score(labels, probabilities))) if both else None,
        brier=float(np.mean((probabilities - labels) ** 2)),
        log_loss=float(-np.mean(np.where(labels, np.log(clipped), np.log1p(-clipped)))),
        calibration_error=calibration_error(reliability(labels, probabilities)),
        precision=hits / called if called else None,
        recall=hits / positives if positives else None,
    )


def reliability(labels: Labels, probabilities: Floats) -> tuple[ReliabilityBin, ...]:
    """Return the calibration curve over bins of equal count; rows of equal probability stay together."""
    edges = np.unique(np.quantile(probabilities, np.linspace(0, 1, RELIABILITY_BINS + 1)))
    bins = np.searchsorted(edges[1:-1], probabilities, side="right")
    curve = []
    for number in np.unique(bins):
        inside = bins == number
        curve.append(
            ReliabilityBin(
                rows=int(np.count_nonzero(inside)),
                mean_probability=min(1.0, float(np.mean(probabilities[inside]))),
                positive_share=float(np.mean(labels[inside])),
            )
        )
    return tuple(curve)


def calibration_error(curve: tuple[ReliabilityBin, ...]) -> float:
    """Return the expected calibration error: the mean gap between the curve and the diagonal, by rows."""
    rows = sum(point.rows for point in curve)
    gaps = sum(point.rows * abs(point.mean_probability - point.positive_share) for point in curve)
    return gaps / rows


def best_f1_threshold(labels: Labels, probabilities: Floats) -> float:
    """Return the threshold whose predictions have the largest F1, the harmonic mean of precision and recall.

    It lies halfway to the next lower probability, so that rounding does not decide about any row seen here.
    """
    precision, recall, thresholds = precision_recall_curve(labels, probabilities)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    best = float(thresholds[int(np.argmax(f1[:-1]))])
    lower = probabilities[probabilities < best]
    return (best + float(lower.max())) / 2 if len(lower) else best


def share_of_achievable(model: Scores, recency: Scores, oracle: Scores) -> float | None:
    """Return how much of the AUC between recency alone and the oracle the model reaches, 1 for all of it.

    ``None`` where an AUC is undefined or the oracle is less than 0.005 above recency.
    """
    if model.roc_auc is None or recency.roc_auc is None or oracle.roc_auc is None:
        return None
    room = oracle.roc_auc - recency.roc_auc
    return (model.roc_auc - recency.roc_auc) / room if room >= 0.005 else None
