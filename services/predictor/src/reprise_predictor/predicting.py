"""From a request to a prediction: read the states, finish them, ask the model."""

import asyncio
import time
from collections.abc import Callable, Sequence

import numpy as np
from reprise_online.codec import ViewCodec
from reprise_online.exceptions import CorruptRowError

from reprise_predictor.arms import Routes, ServedArm
from reprise_predictor.exceptions import DeadlineExceededError, ForeignStateError, InstantOutOfRangeError
from reprise_predictor.metrics import STAGES, PredictorMetrics
from reprise_predictor.prediction import BatchPrediction, Outcome, Prediction, PredictionBlock
from reprise_predictor.reader import StateReader
from reprise_predictor.requests import Asked
from reprise_predictor.served import ServedModel, State
from reprise_predictor.settings import PredictorSettings

_PURCHASE = "purchase"
_ENTITIES = ("user", "product", "pair")
_UNREADABLE = (CorruptRowError, ForeignStateError)


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
        self._metrics = metrics
        self._max_skew_seconds = settings.max_skew_seconds
        self._max_skew_us = round(settings.max_skew_seconds * 1e6)
        self._deadline = settings.deadline_seconds
        self._read_deadline = min(settings.redis_deadline_seconds, settings.deadline_seconds)
        self._batch_deadline = settings.batch_deadline_seconds
        self._clock = clock
        _, self._took_read, self._took_finish, self._took_infer, _ = map(metrics.stages.of, STAGES)

    async def predict(self, routes: Routes, request: Asked) -> Prediction:
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
        arm = routes.arm(request.user_id)
        try:
            return await self._predict(arm, request, timestamp_us)
        except Exception:
            arm.metrics.errors.inc()
            raise

    async def predict_many(self, routes: Routes, requests: Sequence[Asked]) -> BatchPrediction:
        """Return what the models say of a batch, from one read and one run of the model for each arm.

        Raises:
            DeadlineExceededError: The states came too late for an answer in time.
            StoreError: The online store is away or refuses.
            StoreHeldOffError: The online store keeps failing.
        """
        now_us = self.instant(None)
        others: dict[int, Outcome] = {}
        instants: list[int] = []
        for position, request in enumerate(requests):
            try:
                instants.append(now_us if request.timestamp is None else self.instant(request.timestamp))
            except InstantOutOfRangeError as error:
                others[position] = error
                instants.append(now_us)
        blocks = []
        for arm, members in routes.groups([request.user_id for request in requests]):
            positions = [at for at in members if at not in others] if others else members
            if positions:
                blocks.append(
                    self._counted_block(
                        arm, positions, [requests[at] for at in positions], [instants[at] for at in positions]
                    )
                )
        found: list[PredictionBlock] = []
        for outcome in await asyncio.gather(*blocks):
            if isinstance(outcome, PredictionBlock):
                found.append(outcome)
            else:
                others.update(outcome)
        return BatchPrediction(found, others)

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

    async def _predict(self, arm: ServedArm, request: Asked, timestamp_us: int) -> Prediction:
        start = time.perf_counter()
        model, user_id, product_id = arm.model, request.user_id, request.product_id
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
        end = time.perf_counter()
        self._took_read(read - start)
        self._took_finish(finished - read)
        self._took_infer(end - finished)
        known = (user.known, product.known, pair.known)
        if not all(known):
            self._metrics.unknown(*known)
        counted = arm.metrics
        counted.answers.inc()
        counted.score(probability)
        counted.seconds(end - start)
        promised = [inputs[at] for at in model.promised]
        return Prediction(user_id, product_id, timestamp_us, probability, inputs, promised, known, arm)

    async def _counted_block(
        self, arm: ServedArm, positions: Sequence[int], requests: Sequence[Asked], instants: Sequence[int]
    ) -> PredictionBlock | dict[int, Outcome]:
        try:
            return await self._predict_block(arm, positions, requests, instants)
        except _UNREADABLE:
            # One bad row must not fail the others; which one it is shows when each is read alone.
            outcomes = await asyncio.gather(
                *(self._outcome(arm, *asked) for asked in zip(requests, instants, strict=True))
            )
            return dict(zip(positions, outcomes, strict=True))
        except Exception:
            arm.metrics.errors.inc(len(requests))
            raise

    async def _predict_block(
        self, arm: ServedArm, positions: Sequence[int], requests: Sequence[Asked], instants: Sequence[int]
    ) -> PredictionBlock:
        start = time.perf_counter()
        model = arm.model
        users, products = [asked.user_id for asked in requests], [asked.product_id for asked in requests]
        user, product, pair = await self._reader.read_blocks(
            [
                (model.user.codec, model.user.codec.keys(users)),
                (model.product.codec, model.product.codec.keys(products)),
                (model.pair.codec, model.pair.codec.keys(users, products)),
            ],
            self._batch_deadline,
        )
        read = time.perf_counter()
        if read - start > self._batch_deadline:
            raise DeadlineExceededError(self._batch_deadline)
        inputs = model.finisher.many(
            model.user.many(user),
            model.product.many(product),
            model.pair.many(pair),
            np.array(instants, np.float64),
            np.array([np.nan if asked.amount is None else asked.amount for asked in requests], np.float64),
            np.array([_is_purchase(asked.event_type) for asked in requests], np.float64),
        )
        finished = time.perf_counter()
        probabilities = model.model.predict_many(inputs)
        end = time.perf_counter()
        self._took_read(read - start)
        self._took_finish(finished - read)
        self._took_infer(end - finished)
        known = np.stack((user.known, product.known, pair.known))
        self._metrics.unknown_of_many(*known.sum(axis=1).tolist(), among=len(requests))
        counted = arm.metrics
        counted.answers.inc(len(requests))
        counted.scores(probabilities.tolist())
        return PredictionBlock(arm, positions, requests, instants, probabilities, inputs, known)

    async def _outcome(self, arm: ServedArm, request: Asked, timestamp_us: int) -> Outcome:
        try:
            return await self._predict(arm, request, timestamp_us)
        except _UNREADABLE as error:
            arm.metrics.errors.inc()
            return error


def _rows(model: ServedModel, user_id: str, product_id: str) -> list[tuple[ViewCodec, bytes]]:
    user, product, pair = model.user.codec, model.product.codec, model.pair.codec
    return [
        (user, user.key(user_id)),
        (product, product.key(product_id)),
        (pair, pair.key(user_id, product_id)),
    ]


def _is_purchase(event_type: str | None) -> float:
    return np.nan if event_type is None else float(event_type == _PURCHASE)
