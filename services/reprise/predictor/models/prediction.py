"""The predictions for one request and for a batch."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reprise.predictor.exceptions import PredictorError
from reprise.predictor.models.api import PredictionRequest
from reprise.predictor.models.loaded_model import LoadedArm, LoadedModel
from reprise.store.exceptions import OnlineStoreError


class Prediction(NamedTuple):
    """The prediction for one request."""

    user_id: str
    product_id: str
    timestamp_us: int  # Request time, microseconds since 1970-01-01 UTC
    probability: float  # P(the user buys the product within the horizon)
    inputs: Sequence[float]  # Every input of the model, in the plan's order; NaN where missing
    required_inputs: Sequence[float]  # The inputs that every response shows
    known: tuple[bool, bool, bool]  # Whether the store has state of the user, the product and the pair
    arm: LoadedArm  # The arm that scored it

    @property
    def model(self) -> LoadedModel:
        """The model that scored it."""
        return self.arm.model

    def inputs_by_name(self) -> dict[str, float]:
        """Return every input of the model by name."""
        return dict(zip(self.model.plan.input_names, self.inputs, strict=True))


@dataclass(frozen=True, slots=True)
class PredictionBlock:
    """The predictions of one arm for n requests, as arrays."""

    arm: LoadedArm
    positions: Sequence[int]  # Positions of the requests in their batch
    requests: Sequence[PredictionRequest]
    timestamps_us: Sequence[int]  # Request times, microseconds since 1970-01-01 UTC
    probabilities: NDArray[np.float32]  # P(the user buys the product within the horizon), float32 [n]
    inputs: NDArray[np.float64]  # Every input of the model, float64 [n, inputs]; NaN where missing
    known: NDArray[np.bool_]  # Whether the store has state of the users, the products and the pairs, [3, n]

    def predictions(self) -> list[Prediction]:
        """Return them one by one."""
        columns = zip(
            self.requests,
            self.timestamps_us,
            self.probabilities.tolist(),
            self.inputs.tolist(),
            self.inputs[:, self.arm.model.required_positions].tolist(),
            self.known.T.tolist(),
            strict=True,
        )
        return [
            Prediction(r.user_id, r.product_id, at, score, inputs, required, tuple(known), self.arm)
            for r, at, score, inputs, required, known in columns
        ]


Outcome = Prediction | PredictorError | OnlineStoreError
"""The prediction for a request of a batch that was handled on its own, or the error in its place."""


@dataclass(frozen=True, slots=True)
class BatchPrediction:
    """The predictions for a batch: requests scored together, and those handled on their own by position."""

    blocks: Sequence[PredictionBlock]
    outcomes: Mapping[int, Outcome]

    def ranking(self, count: int) -> list[int]:
        """Return the positions of ``count`` requests by falling probability; those without one come last."""
        probabilities = np.full(count, -1.0)
        for block in self.blocks:
            probabilities[block.positions] = block.probabilities
        for position, outcome in self.outcomes.items():
            if isinstance(outcome, Prediction):
                probabilities[position] = outcome.probability
        order: list[int] = np.argsort(-probabilities, kind="stable").tolist()
        return order

    def at(self, positions: Container[int]) -> "BatchPrediction":
        """Return the predictions at some positions, which they keep."""
        blocks = []
        for block in self.blocks:
            rows = [row for row, position in enumerate(block.positions) if position in positions]
            part = PredictionBlock(
                block.arm,
                positions=[block.positions[row] for row in rows],
                requests=[block.requests[row] for row in rows],
                timestamps_us=[block.timestamps_us[row] for row in rows],
                probabilities=block.probabilities[rows],
                inputs=block.inputs[rows],
                known=block.known[:, rows],
            )
            blocks.append(part)
        outcomes = {at: outcome for at, outcome in self.outcomes.items() if at in positions}
        return BatchPrediction(blocks, outcomes)
