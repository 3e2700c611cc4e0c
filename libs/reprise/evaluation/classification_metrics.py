"""Metrics of predicted probabilities: ranking, accuracy and calibration, plain or weighted.

They are numpy alone, because the image of the outcomes job has no scikit-learn. Each equals scikit-learn's with
``sample_weight``; without weights, ROC AUC and average precision equal it bit for bit.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]

CALIBRATION_BINS = 10
_MIN_PROBABILITY = 1e-7
_LIFT_SHARE = 0.1
_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class ClassificationMetrics:
    """Metrics of one set of predictions; NaN where the rows leave one undefined."""

    base_rate: float  # Share of rows whose label is true
    mean_probability: float  # Mean predicted probability
    roc_auc: float  # Probability that a positive row ranks above a negative one
    average_precision: float  # Area under the precision-recall curve, as a step function
    # Base rate of the tenth of the rows with the highest probabilities, divided by the overall base rate
    lift: float
    brier: float  # Mean squared error
    log_loss: float  # Mean negative log-likelihood, probabilities clipped to [1e-7, 1 − 1e-7]
    calibration_error: float  # Expected calibration error over ten bins of equal count


RANKING_METRICS = ("base_rate", "mean_probability", "roc_auc", "average_precision", "lift")
"""Metrics that stay meaningful for a horizon other than the model's own."""


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """One point of a calibration curve."""

    rows: int
    mean_probability: float
    positive_share: float


@dataclass(frozen=True, slots=True)
class RankedPredictions:
    """Predictions sorted once, so that metrics under many weightings (a bootstrap) need no further sort."""

    labels: Floats  # Whether the user bought, 0 or 1, in the given order, as are the next three
    probabilities: Floats  # The predicted probabilities
    squared_errors: Floats  # Squared error of each row
    log_losses: Floats  # Negative log-likelihood of each row
    order: Indices  # The rows by falling probability
    ties: Indices  # For each row of ``order``, the number of its group of equal probabilities
    # The rows of each calibration bin, by rising probability; equal probabilities share a bin
    bins: tuple[Indices, ...]

    @classmethod
    def of(cls, labels: Labels, probabilities: Floats) -> Self:
        """Sort predictions, of which there is at least one."""
        order = np.argsort(-probabilities, kind="stable")
        edges = np.unique(np.quantile(probabilities, np.linspace(0, 1, CALIBRATION_BINS + 1)))
        numbers = np.searchsorted(edges[1:-1], probabilities, side="right")
        clipped = np.clip(probabilities, _MIN_PROBABILITY, 1.0 - _MIN_PROBABILITY)
        return cls(
            labels=labels.astype(np.float64),
            probabilities=probabilities,
            squared_errors=(probabilities - labels) ** 2,
            log_losses=-np.where(labels, np.log(clipped), np.log1p(-clipped)),
            order=order,
            ties=np.concatenate(([0], np.cumsum(np.diff(probabilities[order]) != 0))),
            bins=tuple(np.flatnonzero(numbers == number) for number in np.unique(numbers)),
        )

    def metrics(self, weights: Floats | None = None) -> ClassificationMetrics:
        """Return the metrics; a row with weight 2 counts as two rows."""
        weight = np.ones(len(self.labels)) if weights is None else weights
        total = float(weight.sum())
        if total <= 0:
            return ClassificationMetrics(*[_NAN] * 8)
        base_rate = float((weight * self.labels).sum()) / total
        ranked, groups = weight[self.order], int(self.ties[-1]) + 1
        true = np.bincount(self.ties, ranked * self.labels[self.order], groups).cumsum()
        selected = np.bincount(self.ties, ranked, groups).cumsum()
        top_rate = _positives_among(_LIFT_SHARE * total, true, selected) / (_LIFT_SHARE * total)
        return ClassificationMetrics(
            base_rate=base_rate,
            mean_probability=float(np.average(self.probabilities, weights=weights)),
            roc_auc=_roc_auc(true, selected - true),
            average_precision=_average_precision(true, selected),
            lift=top_rate / base_rate if base_rate > 0 else _NAN,
            brier=float(np.average(self.squared_errors, weights=weights)),
            log_loss=float(np.average(self.log_losses, weights=weights)),
            calibration_error=self._calibration_error(weights, total),
        )

    def calibration_curve(self) -> tuple[CalibrationBin, ...]:
        """Return the calibration curve, the lowest probabilities first."""
        return tuple(
            CalibrationBin(
                rows=len(rows),
                mean_probability=min(1.0, float(np.mean(self.probabilities[rows]))),
                positive_share=float(np.mean(self.labels[rows])),
            )
            for rows in self.bins
        )

    def _calibration_error(self, weights: Floats | None, total: float) -> float:
        if weights is None:
            curve = self.calibration_curve()
            return (
                sum(point.rows * abs(point.mean_probability - point.positive_share) for point in curve)
                / total
            )
        gaps = weights * (self.probabilities - self.labels)
        return float(sum(abs(gaps[rows].sum()) for rows in self.bins)) / total


def _roc_auc(true: Floats, false: Floats) -> float:
    """Return the area under the ROC curve through cumulated counts of true and false positives."""
    if true[-1] <= 0 or false[-1] <= 0:
        return _NAN
    if len(true) > 2:
        # as scikit-learn does: points between collinear neighbours add nothing but rounding
        corners = np.flatnonzero(np.diff(false, 2).astype(bool) | np.diff(true, 2).astype(bool)) + 1
        kept = np.concatenate(([0], corners, [len(true) - 1]))
        true, false = true[kept], false[kept]
    area = np.trapezoid(_from_zero(true / true[-1]), _from_zero(false / false[-1]))
    return min(1.0, float(area))


def _average_precision(true: Floats, selected: Floats) -> float:
    if true[-1] <= 0:
        return _NAN
    precision = np.divide(true, selected, out=np.zeros_like(true), where=selected > 0)[::-1]
    recall = np.append((true / true[-1])[::-1], 0.0)
    return min(1.0, float(-np.sum(np.diff(recall) * precision)))


def _positives_among(rows: float, true: Floats, selected: Floats) -> float:
    """Return the positives among the first rows; a tie at the border counts in proportion."""
    return float(np.interp(rows, _from_zero(selected), _from_zero(true)))


def _from_zero(curve: Floats) -> npt.NDArray[Any]:
    return np.concatenate(([0.0], curve))
