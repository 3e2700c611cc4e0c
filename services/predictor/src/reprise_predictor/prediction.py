"""From a request to a prediction: read the states, finish them, ask the model."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from reprise_online.codec import ViewCodec
from reprise_online.exceptions import CorruptRowError, OnlineError

from reprise_predictor.contract import PredictionRequest
from reprise_predictor.exceptions import DeadlineExceededError, ForeignStateError, PredictorError
from reprise_predictor.metrics import STAGES, PredictorMetrics
from reprise_predictor.reader import StateReader
from reprise_predictor.served import ServedModel, State
from reprise_predictor.settings import PredictorSettings

BASELINE = "baseline"
_PURCHASE = "purchase"
_ENTITIES = ("user", "product", "pair")
_UNREADABLE = (CorruptRowError, ForeignStateError)


class InstantOutOfRangeError(PredictorError):
    """A request's timestamp is too far from now for the state, which is of the present, to answer it."""

    def __init__(self, timestamp_us: int, limit_seconds: float) -> None:
        self.timestamp_us = timestamp_us
        super().__init__(
            f"Expected an instant within {limit_seconds:g} s of now: the online store holds the state of the "
            "present; leave timestamp out to ask for now"
        )


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one request.

    Attributes:
        user_id: Of the request.
        product_id: Of the request.
        timestamp_us: The instant it is answered for, microseconds since 1970-01-01 UTC.
        probability: P(the user buys the product within the horizon).
        inputs: Everything that the model saw, in the plan's order; NaN where missing.
        promised: Those of them that every answer shows.
        known: Whether the store has seen the user, the product and the pair.
        model: The model that answered.
        arm: Arm of the rollout that the user is in.
    """

    user_id: str
    product_id: str
    timestamp_us: int
    probability: float
    inputs: Sequence[float] | NDArray[np.float64]
    promised: Sequence[float]
    known: tuple[bool, bool, bool]
    model: ServedModel
    arm: str = BASELINE

    def by_name(self) -> dict[str, float]:
        """Return everything that the model saw, by name."""
        inputs = self.inputs.tolist() if isinstance(self.inputs, np.ndarray) else self.inputs
        return dict(zip(self.model.plan.input_names, inputs, strict=True))


Outcome = Prediction | PredictorError | OnlineError
"""What a batch has for one request: its prediction, or what stood in its way."""


class PredictionService:
    """Predicts; knows nothing of HTTP.

    Args:
        reader: Reads the online store.
        metrics: Where stages, scores and unknown entities are counted.
        settings: Its deadlines, and how far a request's timestamp may be from now.
        clock: Now, in nanoseconds since 1970-01-01 UTC.
    """

    def __init__(
        self,
        reader: StateReader,
        metrics: PredictorMetrics,
        settings: PredictorSettings,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._reader = reader
        self._max_skew_seconds = settings.max_skew_seconds
        self._max_skew_us = round(settings.max_skew_seconds * 1e6)
        self._deadline = settings.deadline_seconds
        self._read_deadline = min(settings.redis_deadline_seconds, settings.deadline_seconds)
        self._batch_deadline = settings.batch_deadline_seconds
        self._clock = clock
        _, self._took_read, self._took_finish, self._took_infer, _ = map(metrics.stages.of, STAGES)
        self._score = metrics.scores.of(BASELINE)
        self._count = metrics.predictions.labels(BASELINE)
        self._unknown = tuple(metrics.unknown.labels(entity) for entity in _ENTITIES)

    async def predict(self, model: ServedModel, request: PredictionRequest) -> Prediction:
        """Return the prediction for one request.

        Raises:
            InstantOutOfRangeError: The request is not about the present.
            DeadlineExceededError: The states came too late for an answer in time.
            StoreError: The online store is away or refuses.
            StoreHeldOffError: The online store keeps failing.
            CorruptRowError: A row does not hold what its view says.
            ForeignStateError: A row was written for another plan.
        """
        timestamp_us = self.instant(request.timestamp)
        start = time.perf_counter()
        user_id, product_id = request.user_id, request.product_id
        user, product, pair = await self._reader.read(_rows(model, user_id, product_id), self._read_deadline)
        read = time.perf_counter()
        # A process with more to do than it can do comes back here late; what it does now, nobody waits for.
        if read - start > self._deadline:
            raise DeadlineExceededError(self._deadline)
        inputs = model.finisher.one(
            model.user.one(user),
            model.product.one(product),
            model.pair.one(pair),
            timestamp_us,
            request.amount,
            request.event_type,
        )
        finished = time.perf_counter()
        probability = model.model.predict_one(inputs)
        self._took_read(read - start)
        self._took_finish(finished - read)
        self._took_infer(time.perf_counter() - finished)
        known = (user.known, product.known, pair.known)
        self._count.inc()
        self._note(probability, known)
        promised = [inputs[at] for at in model.promised]
        return Prediction(user_id, product_id, timestamp_us, probability, inputs, promised, known, model)

    async def predict_many(self, model: ServedModel, requests: Sequence[PredictionRequest]) -> list[Outcome]:
        """Return the outcome of each request, in order, from one read and one run of the model.

        Raises:
            DeadlineExceededError: The states came too late for an answer in time.
            StoreError: The online store is away or refuses.
            StoreHeldOffError: The online store keeps failing.
        """
        outcomes: list[Outcome | None] = []
        asked: list[PredictionRequest] = []
        instants: list[int] = []
        now_us = self.instant(None)
        for request in requests:
            try:
                instants.append(now_us if request.timestamp is None else self.instant(request.timestamp))
            except InstantOutOfRangeError as error:
                outcomes.append(error)
            else:
                asked.append(request)
                outcomes.append(None)
        if asked:
            try:
                found: Sequence[Outcome] = await self._predict_block(model, asked, instants)
            except _UNREADABLE:
                # One bad row must not fail the others; which one it is shows when each is read alone.
                found = await asyncio.gather(*(self._outcome(model, request) for request in asked))
            rest = iter(found)
            return [next(rest) if outcome is None else outcome for outcome in outcomes]
        return [outcome for outcome in outcomes if outcome is not None]

    async def features(
        self, model: ServedModel, user_id: str, product_id: str | None
    ) -> tuple[dict[str, float], dict[str, bool], int]:
        """Return the features of a user, or of a user and a product, now.

        Returns:
            The features by name, NaN where missing; whether the entities are known; the instant in
            microseconds since 1970-01-01 UTC. Without a product there are the user's own features only.

        Raises:
            StoreError: The online store is away or refuses.
            StoreHeldOffError: The online store keeps failing.
            CorruptRowError: A row does not hold what its view says.
            ForeignStateError: A row was written for another plan.
        """
        now = self.instant(None)
        product: State
        pair: State
        if product_id is None:
            rows = await self._reader.read([(model.user.codec, model.user.codec.key(user_id))])
            user, product, pair = model.user.one(rows[0]), model.plan.product.empty, model.plan.pair.empty
        else:
            rows = await self._reader.read(_rows(model, user_id, product_id))
            user, product, pair = model.user.one(rows[0]), model.product.one(rows[1]), model.pair.one(rows[2])
        inputs = model.finisher.one(user, product, pair, now)
        entities = _ENTITIES[: len(rows)]
        features = {
            described.name: value
            for described, value in zip(model.plan.inputs, inputs, strict=True)
            if described.entity in entities
        }
        known = {entity: row.known for entity, row in zip(entities, rows, strict=True)}
        return features, known, now

    def instant(self, asked_us: int | None) -> int:
        """Return the instant to answer for, microseconds since 1970-01-01 UTC.

        Raises:
            InstantOutOfRangeError: It is too far from now.
        """
        now_us = self._clock() // 1000
        if asked_us is None:
            return now_us
        if abs(asked_us - now_us) > self._max_skew_us:
            raise InstantOutOfRangeError(asked_us, self._max_skew_seconds)
        return asked_us

    async def _predict_block(
        self, model: ServedModel, requests: Sequence[PredictionRequest], instants: Sequence[int]
    ) -> list[Prediction]:
        start = time.perf_counter()
        user_key, product_key, pair_key = model.user.codec.key, model.product.codec.key, model.pair.codec.key
        blocks = await self._reader.read_blocks(
            [
                (model.user.codec, [user_key(r.user_id) for r in requests]),
                (model.product.codec, [product_key(r.product_id) for r in requests]),
                (model.pair.codec, [pair_key(r.user_id, r.product_id) for r in requests]),
            ],
            self._batch_deadline,
        )
        user, product, pair = blocks
        read = time.perf_counter()
        if read - start > self._batch_deadline:
            raise DeadlineExceededError(self._batch_deadline)
        inputs = model.finisher.many(
            model.user.many(user),
            model.product.many(product),
            model.pair.many(pair),
            np.array(instants, np.float64),
            np.array([np.nan if r.amount is None else r.amount for r in requests], np.float64),
            np.array([_is_purchase(r.event_type) for r in requests], np.float64),
        )
        finished = time.perf_counter()
        scores = model.model.predict_many(inputs).tolist()
        self._took_read(read - start)
        self._took_finish(finished - read)
        self._took_infer(time.perf_counter() - finished)
        known = list(zip(*(block.known.tolist() for block in blocks), strict=True))
        self._count.inc(len(requests))
        for score, seen in zip(scores, known, strict=True):
            self._note(score, seen)
        # Numbers of Python are made of the few inputs that are shown only: it is most of the work to make them.
        promised = inputs[:, model.promised].tolist()
        return [
            Prediction(request.user_id, request.product_id, instant, score, row, shown, seen, model)
            for request, instant, score, row, shown, seen in zip(
                requests, instants, scores, inputs, promised, known, strict=True
            )
        ]

    async def _outcome(self, model: ServedModel, request: PredictionRequest) -> Outcome:
        try:
            return await self.predict(model, request)
        except (*_UNREADABLE, InstantOutOfRangeError) as error:
            return error

    def _note(self, probability: float, known: tuple[bool, bool, bool]) -> None:
        self._score(probability)
        if not all(known):
            for seen, unknown in zip(known, self._unknown, strict=True):
                if not seen:
                    unknown.inc()


def _rows(model: ServedModel, user_id: str, product_id: str) -> list[tuple[ViewCodec, bytes]]:
    user, product, pair = model.user.codec, model.product.codec, model.pair.codec
    return [
        (user, user.key(user_id)),
        (product, product.key(product_id)),
        (pair, pair.key(user_id, product_id)),
    ]


def _is_purchase(event_type: str | None) -> float:
    return np.nan if event_type is None else float(event_type == _PURCHASE)
