"""Scores requests with the model of one arm: from stored rows to probabilities."""

import math
import time
from collections.abc import Sequence

import numpy as np

from reprise.http.metrics import Observe
from reprise.predictor.exceptions import ModelFailedError, PlanMismatchError
from reprise.predictor.metrics import ignore
from reprise.predictor.models.api import PredictionRequest
from reprise.predictor.models.loaded_model import LoadedArm
from reprise.predictor.models.prediction import Prediction, PredictionBlock
from reprise.store.reader import OnlineRow, RowBlock


def score_request(
    arm: LoadedArm,
    request: PredictionRequest,
    timestamp_us: int,
    rows: Sequence[OnlineRow],
    observe_finish: Observe = ignore,
    observe_infer: Observe = ignore,
) -> Prediction:
    """Return an arm's prediction from the rows of the user, the product and the pair; count it in the arm's metrics.

    ``observe_finish`` and ``observe_infer`` take how long computing the inputs and inference took, seconds. It raises
    ``PlanMismatchError`` and ``ModelFailedError``, which the caller counts.
    """
    start = time.perf_counter()
    model, meter = arm.model, arm.meter
    user, product, pair = rows
    try:
        inputs = model.vectorizer.vector(
            model.user.of_row(user),
            model.product.of_row(product),
            model.pair.of_row(pair),
            timestamp_us,
            request.amount,
            request.event_type,
        )
        observe_finish(time.perf_counter() - start)
        # Observing ends the stage's span, so the next stage begins after it.
        inferring = time.perf_counter()
        probability = model.scorer.score_row(inputs)
    except PlanMismatchError:
        raise
    except Exception as error:
        # A graph can fail on one input and on no other. The exception classes of ONNX Runtime share no base class.
        raise _failed(arm, f"{type(error).__name__}: {error}") from error
    if not 0.0 <= probability <= 1.0:
        raise _failed(arm, f"{probability} is not a probability")
    end = time.perf_counter()
    observe_infer(end - inferring)
    meter.answered.inc()
    meter.observe_score(probability)
    meter.observe_seconds(end - start)
    return Prediction(
        request.user_id,
        request.product_id,
        timestamp_us,
        probability,
        inputs,
        [inputs[at] for at in model.required_positions],
        (user.known, product.known, pair.known),
        arm,
    )


def score_batch(
    arm: LoadedArm,
    positions: Sequence[int],
    requests: Sequence[PredictionRequest],
    timestamps_us: Sequence[int],
    blocks: Sequence[RowBlock],
    observe_finish: Observe = ignore,
    observe_infer: Observe = ignore,
) -> PredictionBlock:
    """Return an arm's predictions for requests at these positions of a batch; otherwise as ``score_request``."""
    start = time.perf_counter()
    model, meter = arm.model, arm.meter
    user, product, pair = blocks
    try:
        inputs = model.vectorizer.matrix(
            model.user.of_block(user),
            model.product.of_block(product),
            model.pair.of_block(pair),
            np.array(timestamps_us, np.float64),
            np.array([math.nan if each.amount is None else each.amount for each in requests], np.float64),
            np.array([model.vectorizer.is_purchase(each.event_type) for each in requests], np.float64),
        )
        observe_finish(time.perf_counter() - start)
        # Observing ends the stage's span, so the next stage begins after it.
        inferring = time.perf_counter()
        probabilities = model.scorer.score(inputs)
    except PlanMismatchError:
        raise
    except Exception as error:
        # As above.
        raise _failed(arm, f"{type(error).__name__}: {error}") from error
    if not ((probabilities >= 0.0) & (probabilities <= 1.0)).all():
        raise _failed(arm, "a score is not a probability")
    end = time.perf_counter()
    observe_infer(end - inferring)
    meter.answered.inc(len(requests))
    meter.observe_scores(probabilities.tolist())
    meter.observe_seconds(end - start)
    known = np.stack([block.known for block in blocks])
    return PredictionBlock(arm, positions, requests, timestamps_us, probabilities, inputs, known)


def _failed(arm: LoadedArm, reason: str) -> ModelFailedError:
    return ModelFailedError(f"arm {arm.name}, model {arm.model.digest}: {reason}")
