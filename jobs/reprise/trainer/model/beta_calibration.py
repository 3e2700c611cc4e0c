"""Beta calibration: from a forest's votes to probabilities.

A forest that is grown with balanced class weights scores as if both classes were equally common.
Beta calibration (Kull, Silva Filho & Flach, 2017, https://proceedings.mlr.press/v54/kull17a.html) maps such a
score s to sigmoid(a·ln s − b·ln(1 − s) + c) with a, b ≥ 0. It never changes the order of two scores,
contains Platt scaling of the logit (a = b) and the correction of a shifted prevalence (c), and is three
numbers that any ONNX runtime evaluates.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

CLIP = 1e-6
"""Scores are kept this far from 0 and 1, where the logarithm diverges."""

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


def fit_beta_calibration(scores: npt.NDArray[np.floating], labels: npt.NDArray[np.bool_]) -> BetaCalibration:
    """Fit the calibration by maximum likelihood on scores of rows that the forest has not seen.

    Where the unconstrained fit would make a coefficient negative, that coefficient is 0 and the others
    are fitted again, as the paper does. Both labels must occur.
    """
    clipped = np.clip(np.asarray(scores, dtype=np.float64), CLIP, 1.0 - CLIP)
    terms = np.column_stack((np.log(clipped), -np.log1p(-clipped)))
    used = [0, 1]
    while used:
        model = LogisticRegression(C=1e6, solver="newton-cholesky", max_iter=200).fit(terms[:, used], labels)
        coefficients = model.coef_[0]
        if (coefficients >= 0).all():
            slopes = dict(zip(used, coefficients.tolist(), strict=True))
            return BetaCalibration(a=slopes.get(0, 0.0), b=slopes.get(1, 0.0), c=float(model.intercept_[0]))
        used.remove(used[int(coefficients.argmin())])
    rate = float(labels.mean())
    return BetaCalibration(a=0.0, b=0.0, c=float(np.log(rate / (1.0 - rate))))
