"""Predictions and errors as they go out."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np

from reprise.events import format_timestamp
from reprise.features.plan import REQUIRED_INPUTS
from reprise.http.problems import (
    INVALID_REQUEST,
    FieldProblem,
    ProblemError,
    ProblemType,
    retry_after,
)
from reprise.predictor.exceptions import (
    DeadlineExceededError,
    ForeignStateError,
    InstantOutOfRangeError,
    ModelFailedError,
    NoModelError,
    OverloadedError,
    StoreHeldOffError,
)
from reprise.predictor.models.api import FeatureInfo, ModelInfo, RefusedModel
from reprise.predictor.models.loaded_model import ServedModel
from reprise.predictor.models.prediction import Prediction, PredictionBlock
from reprise.predictor.services.model_cache import Refusal
from reprise.store.exceptions import CorruptRowError, StoreError

STORE_UNAVAILABLE = ProblemType("store-unavailable", 503, "The online store is unavailable")
NO_MODEL = ProblemType("no-model", 503, "There is no model to answer with")
OVERLOADED = ProblemType("overloaded", 503, "The service has more to do than it can")
DEADLINE_EXCEEDED = ProblemType("deadline-exceeded", 503, "The answer would have come too late")
MODEL_FAILED = ProblemType("model-failed", 500, "The model gave no answer")
UNREADABLE_STATE = ProblemType("unreadable-state", 500, "Stored state cannot be read")

EXPECTED_ERRORS = (
    StoreError,
    StoreHeldOffError,
    CorruptRowError,
    ForeignStateError,
    ModelFailedError,
    NoModelError,
    OverloadedError,
    DeadlineExceededError,
    InstantOutOfRangeError,
)
"""What ``problem_of`` knows."""


_KIND = np.array([4, 2, 1])
_KNOWN = [{"user": kind >= 4, "product": kind % 4 >= 2, "pair": kind % 2 == 1} for kind in range(8)]

_UNREADABLE = "What is stored for this user or product is not what the model's plan says."
_ANSWERS: tuple[tuple[tuple[type[Exception], ...], tuple[ProblemType, str]], ...] = (
    ((NoModelError,), (NO_MODEL, "No model is loaded, so nothing was predicted.")),
    ((ModelFailedError,), (MODEL_FAILED, "The model failed on this request, so nothing was predicted.")),
    (
        (OverloadedError,),
        (OVERLOADED, "As many requests are under way as may be, so nothing was predicted."),
    ),
    (
        (DeadlineExceededError,),
        (DEADLINE_EXCEEDED, "The answer could not be given in time, so nothing was predicted."),
    ),
    (
        (StoreError, StoreHeldOffError),
        (STORE_UNAVAILABLE, "The online store does not answer, so nothing was predicted."),
    ),
)

# The answers of a batch have one instant, unless its requests say otherwise.
_formatted = lru_cache(maxsize=16)(format_timestamp)


def prediction_document(prediction: Prediction, explain: bool) -> dict[str, Any]:
    """Return a prediction as JSON-ready data; NaN becomes null where it is encoded."""
    model = prediction.model
    probability = prediction.probability
    predicted = probability >= model.threshold
    shown = zip(REQUIRED_INPUTS, prediction.promised, strict=True)
    user, product, pair = prediction.known
    return {
        "prediction": predicted,
        "probability": probability,
        "confidence": probability if predicted else 1.0 - probability,
        "user_id": prediction.user_id,
        "product_id": prediction.product_id,
        "features_used": prediction.by_name() if explain else dict(shown),
        "model_version": model.digest,
        "arm": prediction.arm.name,
        "timestamp": _formatted(prediction.timestamp_us),
        "known": {"user": user, "product": product, "pair": pair},
    }


def block_documents(block: PredictionBlock, explain: bool) -> list[dict[str, Any]]:
    """Return the predictions of a block as JSON-ready data, each as ``prediction_document`` has it."""
    arm, model = block.arm.name, block.arm.model
    probabilities = block.probabilities.astype(np.float64)
    predicted = probabilities >= model.threshold
    confidences = np.where(predicted, probabilities, 1.0 - probabilities)
    kinds = (block.known * _KIND[:, None]).sum(axis=0).tolist()
    digest = model.digest
    return [
        {
            "prediction": positive,
            "probability": probability,
            "confidence": confidence,
            "user_id": asked.user_id,
            "product_id": asked.product_id,
            "features_used": features,
            "model_version": digest,
            "arm": arm,
            "timestamp": _formatted(instant),
            "known": _KNOWN[kind],
        }
        for asked, positive, probability, confidence, features, instant, kind in zip(
            block.requests,
            predicted.tolist(),
            probabilities.tolist(),
            confidences.tolist(),
            _features(block, explain),
            block.instants,
            kinds,
            strict=True,
        )
    ]


def _features(block: PredictionBlock, explain: bool) -> list[dict[str, float]]:
    if explain:
        names = block.arm.model.plan.input_names
        return [dict(zip(names, values, strict=True)) for values in block.inputs.tolist()]
    # Numbers of Python are made of the few inputs that are shown only: it is most of the work to make them.
    one, two, three, four = REQUIRED_INPUTS
    shown = block.inputs[:, block.arm.model.promised].tolist()
    return [{one: a, two: b, three: c, four: d} for a, b, c, d in shown]


def problem_of(error: Exception, retry_seconds: float) -> ProblemError:
    """Return the problem that stands for one of ``EXPECTED_ERRORS``.

    What is told is what the client can act on; where the store is and which key was read is for the log.
    """
    if isinstance(error, InstantOutOfRangeError):
        value = format_timestamp(error.timestamp_us)
        fault = FieldProblem(field="timestamp", message=str(error), value=value)
        return ProblemError(INVALID_REQUEST, "1 field is at fault (timestamp)", errors=[fault])
    kind, detail = next(
        (answer for kinds, answer in _ANSWERS if isinstance(error, kinds)), (UNREADABLE_STATE, _UNREADABLE)
    )
    return ProblemError(kind, detail, headers=retry_after(retry_seconds) if kind.status == 503 else None)


def item_problem(problem: ProblemError, index: int) -> dict[str, Any]:
    """Return the problem of one request of a batch as JSON-ready data."""
    return {"index": index, **problem.document()}


def model_info(served: ServedModel, refusal: Refusal | None) -> ModelInfo:
    """Return what is known of the model that answers, and of one that was to take over and was refused."""
    manifest = served.bundle.manifest
    importances = {importance.name: importance for importance in manifest.importances}
    features: Sequence[FeatureInfo] = [
        FeatureInfo(
            name=described.name,
            entity=described.entity,
            source=described.source,
            unit=described.unit,
            description=described.description,
            impurity_importance=importances[described.name].impurity
            if described.name in importances
            else None,
            permutation_importance=(
                importances[described.name].permutation if described.name in importances else None
            ),
        )
        for described in served.plan.inputs
    ]
    return ModelInfo(
        digest=served.digest,
        loaded_at=_rfc3339(served.loaded_at),
        refused=(
            RefusedModel(digest=refusal.digest, reason=refusal.reason, at=_rfc3339(refusal.at))
            if refusal
            else None
        ),
        threshold=manifest.threshold,
        horizon_seconds=manifest.horizon_seconds,
        plan_hash=manifest.plan_hash,
        schema_hash=manifest.schema_hash,
        features=list(features),
        evaluation=manifest.evaluation,
        data=manifest.data,
        parity=manifest.parity,
        parameters=manifest.parameters,
        libraries=manifest.libraries,
        training=dict(served.bundle.metadata),
    )


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
