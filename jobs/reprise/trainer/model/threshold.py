"""The choice of the threshold from which a probability predicts a purchase, on the calibration rows."""

import numpy as np
from sklearn.metrics import precision_recall_curve

from reprise.evaluation.classification_metrics import Floats, Labels
from reprise.trainer.evaluation.held_out import Predictions


def choose_thresholds(calibration: Predictions, fixed: float | None) -> dict[str, float]:
    """Return the threshold of each scorer: the fixed one, or its own best F1 on the calibration rows."""
    if fixed is not None:
        return dict.fromkeys(calibration.by_scorer, fixed)
    return {
        name: best_f1_threshold(calibration.rows.labels, values)
        for name, values in calibration.by_scorer.items()
    }


def best_f1_threshold(labels: Labels, probabilities: Floats) -> float:
    """Return the threshold with the largest F1, the harmonic mean of precision and recall.

    It lies midway to the next lower score, so that float rounding cannot flip a calibration row.
    """
    precision, recall, thresholds = precision_recall_curve(labels, probabilities)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    best = float(thresholds[int(np.argmax(f1[:-1]))])
    lower = probabilities[probabilities < best]
    return (best + float(lower.max())) / 2 if len(lower) else best
