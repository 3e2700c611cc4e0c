"""Beta calibration: from a forest's votes to probabilities.

A forest that is grown with balanced class weights scores as if both classes were equally common.
Beta calibration (Kull, Silva Filho & Flach, 2017, https://proceedings.mlr.press/v54/kull17a.html) maps such a
score s to sigmoid(a·ln s − b·ln(1 − s) + c) with a, b ≥ 0. It never changes the order of two scores,
contains Platt scaling of the logit (a = b) and the correction of a shifted prevalence (c), and is three
numbers that any ONNX runtime evaluates. Each kind of request has its own three.
"""

from dataclasses import asdict, dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from reprise.features.request_kinds import KINDS, KindColumns, Matrix

MIN_KIND_LABELS = 50
"""Fewest rows of each label with which a kind of request gets a calibration of its own."""

MIN_WEIGHTED_LABELS = 200
"""Minimum total weight per label; below it, rows are not weighted."""

CLIP = 2.0**-20
"""Scores are kept this far from 0 and 1, where the logarithm diverges. float32 holds 1 - CLIP exactly."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BetaCalibration:
    """The three coefficients of a beta calibration; ``a`` and ``b`` are not negative."""

    a: float
    b: float
    c: float

    def apply(self, scores: npt.NDArray[np.floating]) -> Floats:
        """Return the probability of each score in [0, 1]."""
        clipped = np.clip(np.asarray(scores, dtype=np.float64), CLIP, 1.0 - CLIP)
        logit = self.a * np.log(clipped) - self.b * np.log1p(-clipped) + self.c
        return np.asarray(1.0 / (1.0 + np.exp(-logit)), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class KindCalibration:
    """A calibration for each kind of request, in the order of ``KINDS``."""

    columns: KindColumns
    by_kind: tuple[BetaCalibration, ...]

    def apply(self, scores: npt.NDArray[np.floating], rows: Matrix) -> Floats:
        """Return the probability of each row's score."""
        kinds = self.columns.kinds(rows)
        probabilities = np.empty(len(rows))
        for kind, calibration in enumerate(self.by_kind):
            mask = kinds == kind
            probabilities[mask] = calibration.apply(scores[mask])
        return probabilities

    def coefficients(self) -> dict[str, float]:
        """Return the coefficients by name, such as ``repeat idle a``."""
        return {
            f"{kind} {name}": value
            for kind, calibration in zip(KINDS, self.by_kind, strict=True)
            for name, value in asdict(calibration).items()
        }


def fit_kind_calibration(
    scores: Floats, rows: Matrix, labels: npt.NDArray[np.bool_], columns: KindColumns, weights: Floats
) -> KindCalibration:
    """Fit a calibration for each kind of request.

    A kind with fewer than fifty rows of either label takes the calibration of its group, which is all pairs that were
    bought before or all others; such a group takes that of all rows. Both labels must occur. Where the total
    weight of either label is below 200, rows are not weighted. Weights are positive.
    """
    kinds = columns.kinds(rows)

    def fit(mask: npt.NDArray[np.bool_], otherwise: BetaCalibration | None = None) -> BetaCalibration:
        own_scores, own_labels, own_weights = scores[mask], labels[mask], weights[mask]
        positives, count = int(own_labels.sum()), len(own_labels)
        if otherwise is not None and min(positives, count - positives) < MIN_KIND_LABELS:
            return otherwise
        enough = min(own_weights[own_labels].sum(), own_weights[~own_labels].sum()) >= MIN_WEIGHTED_LABELS
        return fit_beta_calibration(own_scores, own_labels, own_weights if enough else None)

    fallback = fit(np.ones(len(rows), np.bool_))
    fitted = []
    for group in columns.groups():
        common = fit(np.isin(kinds, group), fallback)
        fitted += [fit(kinds == kind, common) for kind in group]
    return KindCalibration(columns, tuple(fitted))


def fit_beta_calibration(
    scores: npt.NDArray[np.floating], labels: npt.NDArray[np.bool_], weights: Floats | None = None
) -> BetaCalibration:
    """Fit the calibration by (weighted) maximum likelihood on scores of rows that the forest has not seen.

    Where the unconstrained fit would make a coefficient negative, that coefficient is 0 and the others
    are fitted again, as the paper does. Both labels must occur.
    """
    clipped = np.clip(np.asarray(scores, dtype=np.float64), CLIP, 1.0 - CLIP)
    terms = np.column_stack((np.log(clipped), -np.log1p(-clipped)))
    used = [0, 1]
    while used:
        model = LogisticRegression(C=1e6, solver="newton-cholesky", max_iter=200)
        model.fit(terms[:, used], labels, sample_weight=weights)
        coefficients = model.coef_[0]
        if (coefficients >= 0).all():
            slopes = dict(zip(used, coefficients.tolist(), strict=True))
            return BetaCalibration(a=slopes.get(0, 0.0), b=slopes.get(1, 0.0), c=float(model.intercept_[0]))
        used.remove(used[int(coefficients.argmin())])
    rate = float(np.average(labels, weights=weights))
    return BetaCalibration(a=0.0, b=0.0, c=float(np.log(rate / (1.0 - rate))))


def recency_weights(timestamps_us: npt.NDArray[np.int64], label_window: timedelta) -> Floats:
    """Return weights that halve with each half label window before the last of the ascending timestamps.

    If the rows span more than two label windows, they halve with each quarter of their time.
    """
    age_us = (timestamps_us[-1] - timestamps_us).astype(np.float64)
    half_life_us = max(label_window / timedelta(microseconds=2), age_us[0] / 4)
    return np.asarray(0.5 ** (age_us / half_life_us), np.float64)
