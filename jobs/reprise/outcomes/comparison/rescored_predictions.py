"""Both models on the same predictions: the log keeps every input, and the store every model.

The difference of two Brier scores on the same predictions of a user varies far less than that of two groups of
users. What users did is what they did under the answers they were given, in whichever arm.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa
from onnxruntime import InferenceSession, SessionOptions

from reprise.bundle import Bundle
from reprise.evaluation.classification_metrics import Floats

REPRODUCED = 1e-5
"""Largest difference between a logged probability and the one that its model gives for the logged features."""


@dataclass(frozen=True, slots=True)
class Rescored:
    """What scoring anew came to; arrays by user number.

    Attributes:
        predictions: Predictions of the user.
        improvement: Sum over them of the baseline's squared error less the candidate's.
        reproduced: How many logged probabilities were compared with their own model's.
        differing: How many of them differ.
    """

    predictions: Floats
    improvement: Floats
    reproduced: int
    differing: int


class Scorer:
    """A bundle's model, with one thread."""

    def __init__(self, bundle: Bundle) -> None:
        options = SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = InferenceSession(bundle.model, options, providers=["CPUExecutionProvider"])
        self._model = bundle.manifest.model
        self.names = bundle.manifest.input_names

    def score(self, features: list[dict[str, float | None]]) -> Floats:
        """Return the probability of each; a missing input is null.

        Raises:
            KeyError: Some features lack an input of this model.
        """
        # What is beyond float32 becomes infinite, as in the predictor.
        with np.errstate(over="ignore"):
            rows = np.array([[row[name] for name in self.names] for row in features], dtype=np.float32)
        answered = self._session.run([self._model.output], {self._model.input: rows})[0]
        return np.asarray(answered, dtype=np.float64)


def rescore(
    batches: Iterable[pa.RecordBatch], place: int, baseline: Bundle, candidate: Bundle, users: int
) -> Rescored | None:
    """Return the users' differences, or None where a prediction has not the inputs that both models want.

    Args:
        batches: As ``joining.exposed_features`` reads them; ``answered_by`` is 0 for the baseline.
        place: What ``answered_by`` is for the candidate.
        baseline: The baseline's bundle.
        candidate: The candidate's.
        users: How many users there are.
    """
    scorers = (Scorer(baseline), Scorer(candidate))
    predictions, improvement = np.zeros(users), np.zeros(users)
    reproduced = differing = 0
    for batch in batches:
        features = [orjson.loads(text) for text in batch.column("features").to_pylist()]
        try:
            answers = [scorer.score(features) for scorer in scorers]
        except KeyError:
            return None
        labels = batch.column("label").to_numpy(zero_copy_only=False).astype(np.float64)
        numbers = batch.column("user_number").to_numpy()
        logged, by = batch.column("probability").to_numpy(), batch.column("answered_by").to_numpy()
        gained = (answers[0] - labels) ** 2 - (answers[1] - labels) ** 2
        predictions += np.bincount(numbers, minlength=users)
        improvement += np.bincount(numbers, gained, minlength=users)
        for answered_by, answer in zip((0, place), answers, strict=True):
            own = by == answered_by
            reproduced += int(np.count_nonzero(own))
            differing += int(np.count_nonzero(np.abs(answer[own] - logged[own]) > REPRODUCED))
    return Rescored(predictions, improvement, reproduced, differing)
