"""Two models on the same predictions: the log keeps every input, and the model store every model.

The difference of two Brier scores on the same predictions of a user varies far less than that of two groups of
users. The outcomes are those under the answers that the users got, in whichever arm.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa

from reprise.bundle import Bundle
from reprise.bundle.scorer import Scorer
from reprise.evaluation.classification_metrics import Floats

REPRODUCED = 1e-5
"""Maximum difference between a logged probability and the one that its model gives for the logged features."""


@dataclass(frozen=True, slots=True)
class PairedScores:
    """The scores of both models; arrays by user number."""

    predictions: Floats  # Predictions of the user
    improvement: Floats  # Sum over them of the baseline's squared error less the candidate's
    baseline: Floats  # Sum over them of the baseline's squared error
    purchases: Floats  # How many of them the user bought after
    variance: Floats  # Sum over them of the improvement's variance, if the mean of both scores were true
    reproduced: int = 0  # Logged probabilities that were compared with their own model's
    differing: int = 0  # How many of them differ


def pair_scores(
    batches: Iterable[pa.RecordBatch], place: int, baseline: Bundle, candidate: Bundle, users: int
) -> PairedScores | None:
    """Return the scores of both models, ``None`` if a prediction lacks an input of one of them.

    The batches are those of ``outcome_join.exposed_features``, whose ``answered_by`` is 0 for the baseline and
    ``place`` for the candidate; ``users`` is the number of users.
    """
    scorers = (Scorer.of(baseline), Scorer.of(candidate))
    sums = np.zeros((5, users))
    reproduced = differing = 0
    for batch in batches:
        features = [orjson.loads(text) for text in batch.column("features").to_pylist()]
        try:
            scores = [scorer.score_features(features) for scorer in scorers]
        except KeyError:
            return None
        labels = batch.column("label").to_numpy(zero_copy_only=False).astype(np.float64)
        numbers = batch.column("user_number").to_numpy()
        logged, answered_by = batch.column("probability").to_numpy(), batch.column("answered_by").to_numpy()
        loss = [(score - labels) ** 2 for score in scores]
        mean = (scores[0] + scores[1]) / 2
        variance = 4 * (scores[0] - scores[1]) ** 2 * mean * (1 - mean)
        columns = (np.ones(len(labels)), loss[0] - loss[1], loss[0], labels, variance)
        sums += [np.bincount(numbers, column, minlength=users) for column in columns]
        for arm, score in zip((0, place), scores, strict=True):
            own = answered_by == arm
            reproduced += int(np.count_nonzero(own))
            differing += int(np.count_nonzero(np.abs(score[own] - logged[own]) > REPRODUCED))
    predictions, improvement, baseline_loss, purchases, variances = sums
    return PairedScores(predictions, improvement, baseline_loss, purchases, variances, reproduced, differing)
