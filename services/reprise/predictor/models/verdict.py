"""Verdicts: whether a probability predicts a purchase, and how often such a verdict was right on held-out rows."""

import math
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reprise.bundle import HorizonModel, Manifest
from reprise.features.plan import Plan
from reprise.features.request_kinds import KINDS, KindColumns

Verdict = tuple[bool, float, float | None]
"""Whether a purchase is predicted, the confidence, and the threshold, None if a purchase is never predicted."""


class VerdictTable:
    """The thresholds and confidences of a model, or of its further horizon, by kind of request.

    A bundle without ``verdicts`` has one threshold, and its confidence is the probability of the predicted class.
    """

    def __init__(self, manifest: Manifest | HorizonModel, plan: Plan) -> None:
        self._columns = KindColumns.of(plan)
        kinds = [manifest.verdicts[kind] for kind in KINDS] if manifest.verdicts else []
        self._thresholds = [kind.threshold for kind in kinds] or [manifest.threshold] * len(KINDS)
        self._least = [math.inf if threshold is None else threshold for threshold in self._thresholds]
        # The tables of all kinds are one: kind k has the edges 2k to 2k + 1, and one confidence more than edges.
        self._edges = [2 * number + edge for number, kind in enumerate(kinds) for edge in kind.edges]
        self._confidences = [share for kind in kinds for share in kind.confidences]
        self._arrays = tuple(map(np.array, (self._least, self._edges, self._confidences)))

    def of(self, probability: float, inputs: Sequence[float]) -> Verdict:
        """Return the verdict on the probability of one row of inputs."""
        kind = self._columns.kind(inputs)
        predicted = probability >= self._least[kind]
        if confidences := self._confidences:
            at = bisect_right(self._edges, 2 * kind + probability) + kind
            return predicted, confidences[at], self._thresholds[kind]
        return predicted, probability if predicted else 1.0 - probability, self._thresholds[kind]

    def of_block(
        self, probabilities: NDArray[np.float64], inputs: NDArray[np.float64]
    ) -> tuple[list[bool], list[float], list[float | None]]:
        """Return the members of the verdicts on n probabilities, each as a list."""
        least, edges, confidences = self._arrays
        kinds = self._columns.kinds(inputs)
        predicted = probabilities >= least[kinds]
        if len(confidences):
            stated = confidences[np.searchsorted(edges, 2 * kinds + probabilities, side="right") + kinds]
        else:
            stated = np.where(predicted, probabilities, 1.0 - probabilities)
        return predicted.tolist(), stated.tolist(), [self._thresholds[kind] for kind in kinds.tolist()]
