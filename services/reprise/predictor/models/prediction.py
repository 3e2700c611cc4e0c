"""What the models say, of one request and of many."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reprise.predictor.exceptions import PredictorError
from reprise.predictor.handlers.request_decoder import Asked
from reprise.predictor.models.arms import ServedArm
from reprise.predictor.models.loaded_model import ServedModel
from reprise.predictor.services.scorer import Scored, ScoredBlock
from reprise.store.exceptions import OnlineStoreError
from reprise.store.reader import OnlineRow, RowBlock


class Prediction(NamedTuple):
    """What the model says of one request.

    Attributes:
        user_id: Of the request.
        product_id: Of the request.
        timestamp_us: The instant it is answered for, microseconds since 1970-01-01 UTC.
        probability: P(the user buys the product within the horizon).
        inputs: Everything that the model saw, in the plan's order; NaN where missing.
        promised: Those of them that every answer shows.
        known: Whether the store has seen the user, the product and the pair.
        arm: Arm of the rollout that answered.
    """

    user_id: str
    product_id: str
    timestamp_us: int
    probability: float
    inputs: Sequence[float]
    promised: Sequence[float]
    known: tuple[bool, bool, bool]
    arm: ServedArm

    @classmethod
    def of(
        cls, arm: ServedArm, asked: Asked, timestamp_us: int, scored: Scored, rows: Sequence[OnlineRow]
    ) -> "Prediction":
        """Return what an arm said of a request, from the rows of its user, its product and their pair."""
        user, product, pair = rows
        inputs = scored.inputs
        return cls(
            asked.user_id,
            asked.product_id,
            timestamp_us,
            scored.probability,
            inputs,
            [inputs[at] for at in arm.model.promised],
            (user.known, product.known, pair.known),
            arm,
        )

    @property
    def model(self) -> ServedModel:
        """The model that answered."""
        return self.arm.model

    def by_name(self) -> dict[str, float]:
        """Return everything that the model saw, by name."""
        return dict(zip(self.model.plan.input_names, self.inputs, strict=True))


@dataclass(frozen=True, slots=True)
class PredictionBlock:
    """What the model of one arm says of many requests.

    Attributes:
        arm: Arm of the rollout that answered.
        positions: Of the requests in their batch.
        requests: What was asked.
        instants: The instants they are answered for, microseconds since 1970-01-01 UTC.
        probabilities: P(the user buys the product within the horizon), float32 [n].
        inputs: Everything that the model saw, float64 [n, inputs]; NaN where missing.
        known: Whether the store has seen the users, the products and the pairs, [3, n].
    """

    arm: ServedArm
    positions: Sequence[int]
    requests: Sequence[Asked]
    instants: Sequence[int]
    probabilities: NDArray[np.float32]
    inputs: NDArray[np.float64]
    known: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        arm: ServedArm,
        positions: Sequence[int],
        requests: Sequence[Asked],
        instants: Sequence[int],
        scored: ScoredBlock,
        blocks: Sequence[RowBlock],
    ) -> "PredictionBlock":
        """Return what an arm said of many requests, from the rows of users, products and pairs."""
        known = np.stack([block.known for block in blocks])
        return cls(arm, positions, requests, instants, scored.probabilities, scored.inputs, known)

    def predictions(self) -> list[Prediction]:
        """Return them one by one."""
        promised = self.inputs[:, self.arm.model.promised].tolist()
        columns = zip(
            self.requests,
            self.instants,
            self.probabilities.tolist(),
            self.inputs.tolist(),
            promised,
            self.known.T.tolist(),
            strict=True,
        )
        return [
            Prediction(asked.user_id, asked.product_id, instant, score, inputs, shown, tuple(known), self.arm)
            for asked, instant, score, inputs, shown, known in columns
        ]


Outcome = Prediction | PredictorError | OnlineStoreError
"""What a batch has for one request that is answered by itself: its prediction, or what stood in its way."""


@dataclass(frozen=True, slots=True)
class BatchPrediction:
    """What the models say of a batch; each of its requests is in one of the two.

    Attributes:
        blocks: Requests that were answered together.
        others: The outcomes of those that were not, by their position in the batch.
    """

    blocks: Sequence[PredictionBlock]
    others: dict[int, Outcome]
