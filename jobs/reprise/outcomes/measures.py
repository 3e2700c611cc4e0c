"""How good probabilities are, with weights, so that users can be drawn anew at the cost of a multiplication.

All measures take rows that have been sorted once (``Ranked``); a weight of 2 is the same row twice. They equal
scikit-learn's with ``sample_weight``, which a test says.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]

BINS = 10
_CLIP = 1e-7
_TOP = 0.1


@dataclass(frozen=True, slots=True)
class Measures:
    """What is measured of one arm; NaN where the rows leave it undefined.

    Attributes:
        base_rate: Share of predictions after which the user bought.
        mean_probability: Mean of what was said.
        roc_auc: Chance that a row with a purchase has the higher probability of two.
        average_precision: Area under precision against recall, by steps.
        lift: Base rate among the tenth of the rows with the highest probabilities, over that of all rows.
        brier: Mean squared error.
        log_loss: Mean surprise, its logarithm ended at 1e-7.
        calibration_error: Expected calibration error over ten bins of equal count.
    """

    base_rate: float
    mean_probability: float
    roc_auc: float
    average_precision: float
    lift: float
    brier: float
    log_loss: float
    calibration_error: float


RANKING = ("base_rate", "mean_probability", "roc_auc", "average_precision", "lift")
"""Measures that mean something for another horizon than the one that the probabilities are of."""


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """One point of a reliability diagram."""

    rows: int
    mean_probability: float
    positive_share: float


@dataclass(frozen=True, slots=True)
class Ranked:
    """Rows in the order of falling probability.

    Attributes:
        order: Which of the given rows is where.
        labels: Whether the user bought, 0 or 1.
        probabilities: What was said.
        ties: The number of the group of equal probabilities that a row is in, rising.
        bins: The calibration bin of a row; rows of equal probability share one.
    """

    order: Indices
    labels: Floats
    probabilities: Floats
    ties: Indices
    bins: Indices

    @classmethod
    def of(cls, labels: Labels, probabilities: Floats) -> Self:
        """Sort rows, of which there is at least one."""
        order = np.argsort(-probabilities, kind="stable")
        ranked = probabilities[order]
        ties = np.concatenate(([0], np.cumsum(np.diff(ranked) != 0)))
        edges = np.unique(np.quantile(probabilities, np.linspace(0, 1, BINS + 1)))
        bins = np.searchsorted(edges[1:-1], ranked, side="right")
        return cls(order, labels[order].astype(np.float64), ranked, ties, bins)

    def measure(self, weights: Floats | None = None) -> Measures:
        """Return the measures, each given row counting as often as its weight says."""
        weight = np.ones(len(self.order)) if weights is None else weights[self.order]
        total = weight.sum()
        positive = weight * self.labels
        rate = _ratio(positive.sum(), total)
        error = self.probabilities - self.labels
        clipped = np.clip(self.probabilities, _CLIP, 1.0 - _CLIP)
        surprise = -np.where(self.labels > 0, np.log(clipped), np.log1p(-clipped))
        groups = int(self.ties[-1]) + 1
        hits = np.bincount(self.ties, positive, groups).cumsum()
        called = np.bincount(self.ties, weight, groups).cumsum()
        return Measures(
            base_rate=rate,
            mean_probability=_ratio(weight @ self.probabilities, total),
            roc_auc=_roc_auc(hits, called),
            average_precision=_average_precision(hits, called),
            lift=_ratio(_ratio(_hits_at(_TOP * total, hits, called), _TOP * total), rate),
            brier=_ratio(weight @ error**2, total),
            log_loss=_ratio(weight @ surprise, total),
            calibration_error=self._calibration_error(weight, total),
        )

    def calibration(self) -> tuple[CalibrationBin, ...]:
        """Return the reliability diagram, the lowest probabilities first."""
        rows, said, happened = (
            np.bincount(self.bins, values)
            for values in (np.ones(len(self.order)), self.probabilities, self.labels)
        )
        return tuple(
            CalibrationBin(int(rows[at]), float(said[at] / rows[at]), float(happened[at] / rows[at]))
            for at in np.flatnonzero(rows)
        )

    def _calibration_error(self, weight: Floats, total: float) -> float:
        gaps = np.bincount(self.bins, weight * (self.probabilities - self.labels))
        return _ratio(np.abs(gaps).sum(), total)


def _roc_auc(hits: Floats, called: Floats) -> float:
    false = called - hits
    if hits[-1] <= 0 or false[-1] <= 0:
        return float("nan")
    rate, found = _from_zero(false / false[-1], hits / hits[-1])
    return float(np.trapezoid(found, rate))


def _average_precision(hits: Floats, called: Floats) -> float:
    if hits[-1] <= 0:
        return float("nan")
    gained = np.diff(hits, prepend=0.0) / hits[-1]
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    return float(gained @ precision)


def _hits_at(rows: float, hits: Floats, called: Floats) -> float:
    """Return the hits among the first rows; of a tie at the border, its share."""
    reached, found = _from_zero(called, hits)
    return float(np.interp(rows, reached, found))


def _from_zero(*curves: Floats) -> tuple[Floats, ...]:
    return tuple(np.concatenate(([0.0], curve)) for curve in curves)


def _ratio(numerator: Any, denominator: Any) -> float:
    return float(numerator / denominator) if denominator > 0 else float("nan")
