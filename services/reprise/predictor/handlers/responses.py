"""Predictions as bodies of responses."""

from functools import lru_cache

import numpy as np

from reprise.events import format_timestamp
from reprise.features.plan import REQUIRED_INPUTS
from reprise.predictor.models.api import Known, PredictionResponse
from reprise.predictor.models.prediction import Prediction, PredictionBlock

_KNOWN_WEIGHTS = np.array([4, 2, 1])
_KNOWN: list[Known] = [
    {"user": kind >= 4, "product": kind % 4 >= 2, "pair": kind % 2 == 1} for kind in range(8)
]

# Most requests of a batch have the same time.
_format_timestamp = lru_cache(maxsize=16)(format_timestamp)


def prediction_response(prediction: Prediction, explain: bool) -> PredictionResponse:
    """Return a prediction, with every input of the model if ``explain``; NaN becomes null when encoded."""
    model = prediction.model
    probability = prediction.probability
    predicted = probability >= model.threshold
    required = zip(REQUIRED_INPUTS, prediction.required_inputs, strict=True)
    user, product, pair = prediction.known
    return {
        "prediction": predicted,
        "probability": probability,
        "confidence": probability if predicted else 1.0 - probability,
        "user_id": prediction.user_id,
        "product_id": prediction.product_id,
        "features_used": prediction.inputs_by_name() if explain else dict(required),
        "model_version": model.digest,
        "arm": prediction.arm.name,
        "timestamp": _format_timestamp(prediction.timestamp_us),
        "known": {"user": user, "product": product, "pair": pair},
    }


def block_responses(block: PredictionBlock, explain: bool) -> list[PredictionResponse]:
    """Return the predictions of a block, each as ``prediction_response`` does."""
    arm, model = block.arm.name, block.arm.model
    probabilities = block.probabilities.astype(np.float64)
    predicted = probabilities >= model.threshold
    confidences = np.where(predicted, probabilities, 1.0 - probabilities)
    kinds = (block.known * _KNOWN_WEIGHTS[:, None]).sum(axis=0).tolist()
    digest = model.digest
    return [
        {
            "prediction": positive,
            "probability": probability,
            "confidence": confidence,
            "user_id": request.user_id,
            "product_id": request.product_id,
            "features_used": features,
            "model_version": digest,
            "arm": arm,
            "timestamp": _format_timestamp(timestamp_us),
            "known": _KNOWN[kind],
        }
        for request, positive, probability, confidence, features, timestamp_us, kind in zip(
            block.requests,
            predicted.tolist(),
            probabilities.tolist(),
            confidences.tolist(),
            _features(block, explain),
            block.timestamps_us,
            kinds,
            strict=True,
        )
    ]


def _features(block: PredictionBlock, explain: bool) -> list[dict[str, float]]:
    if explain:
        names = block.arm.model.plan.input_names
        return [dict(zip(names, values, strict=True)) for values in block.inputs.tolist()]
    # Making Python floats is most of the work, so only the inputs that are shown are converted.
    one, two, three, four = REQUIRED_INPUTS
    required = block.inputs[:, block.arm.model.required_positions].tolist()
    return [{one: a, two: b, three: c, four: d} for a, b, c, d in required]
