"""From states to probabilities, by the model of one arm."""

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reprise.predictor.exceptions import ForeignStateError, ModelFailedError
from reprise.predictor.handlers.request_decoder import Asked
from reprise.predictor.models.arms import ServedArm
from reprise.store.reader import OnlineRow, RowBlock

_PURCHASE = "purchase"


class Scored(NamedTuple):
    """What an arm says of one request.

    Attributes:
        probability: P(the user buys the product within the horizon).
        inputs: Everything that the model saw, in the plan's order; NaN where missing.
        finish_seconds: How long it took to finish the states.
        infer_seconds: How long the model took.
    """

    probability: float
    inputs: list[float]
    finish_seconds: float
    infer_seconds: float


class ScoredBlock(NamedTuple):
    """What an arm says of many requests; as ``Scored``.

    Attributes:
        probabilities: Float32 [n].
        inputs: Float64 [n, inputs].
        finish_seconds: Of all of them together.
        infer_seconds: Of all of them together.
    """

    probabilities: NDArray[np.float32]
    inputs: NDArray[np.float64]
    finish_seconds: float
    infer_seconds: float


def score_one(arm: ServedArm, asked: Asked, timestamp_us: int, rows: Sequence[OnlineRow]) -> Scored:
    """Return what an arm says of a request, and measure it.

    Args:
        arm: The arm.
        asked: The request.
        timestamp_us: The instant to answer for, microseconds since 1970-01-01 UTC.
        rows: Of the user, the product and the pair.

    Raises:
        ForeignStateError: A row was written for another plan.
        ModelFailedError: The model gives no probability.
    """
    start = time.perf_counter()
    model, meter = arm.model, arm.meter
    user, product, pair = rows
    try:
        inputs = model.vectorizer.vector(
            model.user.one(user),
            model.product.one(product),
            model.pair.one(pair),
            timestamp_us,
            asked.amount,
            asked.event_type,
        )
        finished = time.perf_counter()
        probability = model.model.predict_one(inputs)
    except ForeignStateError:
        meter.failed.inc()
        raise
    except Exception as error:
        # A graph can fail on one input and on no other, and ONNX Runtime raises classes without a common base.
        meter.failed.inc()
        raise ModelFailedError(arm.name, model.digest, f"{type(error).__name__}: {error}") from error
    if not 0.0 <= probability <= 1.0:
        meter.failed.inc()
        raise ModelFailedError(arm.name, model.digest, f"it gives {probability}")
    end = time.perf_counter()
    meter.answered.inc()
    meter.score(probability)
    meter.seconds(end - start)
    return Scored(probability, inputs, finished - start, end - finished)


def score_many(
    arm: ServedArm, asked: Sequence[Asked], instants: Sequence[int], blocks: Sequence[RowBlock]
) -> ScoredBlock:
    """Return what an arm says of many requests, and measure it; as ``score_one``.

    Where this raises, nothing has been counted of the requests: which one is at fault shows one by one.
    """
    start = time.perf_counter()
    model, meter = arm.model, arm.meter
    user, product, pair = blocks
    try:
        inputs = model.vectorizer.matrix(
            model.user.many(user),
            model.product.many(product),
            model.pair.many(pair),
            np.array(instants, np.float64),
            np.array([math.nan if each.amount is None else each.amount for each in asked], np.float64),
            np.array([_is_purchase(each.event_type) for each in asked], np.float64),
        )
        finished = time.perf_counter()
        probabilities = model.model.predict_many(inputs)
    except ForeignStateError:
        raise
    except Exception as error:
        # As above.
        raise ModelFailedError(arm.name, model.digest, f"{type(error).__name__}: {error}") from error
    if not ((probabilities >= 0.0) & (probabilities <= 1.0)).all():
        raise ModelFailedError(arm.name, model.digest, "it gives what is no probability")
    end = time.perf_counter()
    meter.answered.inc(len(asked))
    meter.scores(probabilities.tolist())
    meter.seconds(end - start)
    return ScoredBlock(probabilities, inputs, finished - start, end - finished)


def _is_purchase(event_type: str | None) -> float:
    return math.nan if event_type is None else float(event_type == _PURCHASE)
