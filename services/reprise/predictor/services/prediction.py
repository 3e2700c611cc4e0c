"""From a request to a prediction: read the states, finish them, ask the model."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reprise.predictor.exceptions import (
    DeadlineExceededError,
    ForeignStateError,
    InstantOutOfRangeError,
    ModelFailedError,
)
from reprise.predictor.handlers.request_decoder import Asked
from reprise.predictor.metrics import STAGES, PredictorMetrics
from reprise.predictor.models.arms import Routes, ServedArm
from reprise.predictor.models.loaded_model import ServedModel, State
from reprise.predictor.models.prediction import BatchPrediction, Outcome, Prediction, PredictionBlock
from reprise.predictor.services.scorer import score_many, score_one
from reprise.predictor.services.shadow_traffic import Shadows
from reprise.predictor.settings import PredictorSettings
from reprise.predictor.storage.rows import blocks_of, rows_of
from reprise.predictor.storage.state_reader import StateReader
from reprise.runtime.logs import get_logger
from reprise.store.exceptions import CorruptRowError

_log = get_logger(__name__)
_COMPLAIN_SECONDS = 10.0
_ENTITIES = ("user", "product", "pair")
_UNREADABLE = (CorruptRowError, ForeignStateError)


class PredictionService:
    """Predicts; knows nothing of HTTP.

    Args:
        reader: Reads the online store.
        metrics: Where stages, scores and unknown entities are counted.
        shadows: Has arms score that do not answer.
        settings: Its deadlines, and how far a request's timestamp may be from now.
        clock: Now, in nanoseconds since 1970-01-01 UTC.
    """

    def __init__(
        self,
        reader: StateReader,
        metrics: PredictorMetrics,
        shadows: Shadows,
        settings: PredictorSettings,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._reader = reader
        self._metrics = metrics
        self._shadows = shadows
        self._max_skew_seconds = settings.max_skew_seconds
        self._max_skew_us = round(settings.max_skew_seconds * 1e6)
        self._deadline = settings.deadline_seconds
        self._read_deadline = min(settings.redis_deadline_seconds, settings.deadline_seconds)
        self._batch_deadline = settings.batch_deadline_seconds
        self._clock = clock
        self._complained_at = -_COMPLAIN_SECONDS
        _, self._took_read, self._took_finish, self._took_infer, _ = map(metrics.stages.of, STAGES)

    async def predict(self, routes: Routes, request: Asked, trace_id: str | None = None) -> Prediction:
        """Return the prediction for one request.

        Where an arm other than the baseline cannot answer, the baseline does.

        Raises:
            InstantOutOfRangeError: The request is not about the present.
            DeadlineExceededError: The states came too late for an answer in time.
            StoreError: The online store is away or refuses.
            StoreHeldOffError: The online store keeps failing.
            CorruptRowError: A row does not hold what its view says.
            ForeignStateError: A row was written for another plan.
            ModelFailedError: The baseline's model gives no probability.
        """
        return await self._predict(
            routes, routes.arm(request.user_id), request, self.instant(request.timestamp), trace_id
        )

    async def predict_many(
        self, routes: Routes, requests: Sequence[Asked], trace_id: str | None = None
    ) -> BatchPrediction:
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
        parts = []
        for arm, members in routes.groups([request.user_id for request in requests]):
            positions = [at for at in members if at not in others] if others else members
            if positions:
                part = _Part(
                    positions,
                    [requests[at] for at in positions],
                    [instants[at] for at in positions],
                    trace_id,
                )
                parts.append(self._part(routes, arm, part))
        blocks: list[PredictionBlock] = []
        for outcome in await asyncio.gather(*parts):
            if isinstance(outcome, PredictionBlock):
                blocks.append(outcome)
            else:
                others.update(outcome)
        return BatchPrediction(blocks, others)

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
            user, product, pair = model.user.one(rows[0]), model.product.empty, model.pair.empty
        else:
            rows = await self._reader.read(
                [
                    (model.user.codec, model.user.codec.key(user_id)),
                    (model.product.codec, model.product.codec.key(product_id)),
                    (model.pair.codec, model.pair.codec.key(user_id, product_id)),
                ]
            )
            user, product, pair = model.user.one(rows[0]), model.product.one(rows[1]), model.pair.one(rows[2])
        inputs = model.vectorizer.vector(user, product, pair, now)
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

    async def _predict(
        self, routes: Routes, arm: ServedArm, request: Asked, timestamp_us: int, trace_id: str | None
    ) -> Prediction:
        start = time.perf_counter()
        rows = await self._reader.read(rows_of(arm.model, request), self._read_deadline)
        read = time.perf_counter()
        # A process with more to do than it can do comes back here late; what it does now, nobody waits for.
        if read - start > self._deadline:
            raise DeadlineExceededError(self._deadline)
        try:
            scored = score_one(arm, request, timestamp_us, rows)
        except (ForeignStateError, ModelFailedError) as error:
            if arm is routes.baseline:
                raise
            self._complain(arm, error)
            return await self._predict(routes, routes.baseline, request, timestamp_us, trace_id)
        self._took_read(read - start)
        self._took_finish(scored.finish_seconds)
        self._took_infer(scored.infer_seconds)
        prediction = Prediction.of(arm, request, timestamp_us, scored, rows)
        if not all(prediction.known):
            self._metrics.unknown(*prediction.known)
        if routes.shadows:
            self._shadows.offer(routes.shadows, arm, request, timestamp_us, rows, trace_id)
        return prediction

    async def _part(
        self, routes: Routes, arm: ServedArm, part: "_Part"
    ) -> PredictionBlock | dict[int, Outcome]:
        try:
            return await self._predict_block(routes, arm, part)
        except ModelFailedError as error:
            if arm is not routes.baseline:
                arm.meter.failed.inc(len(part.requests))
                self._complain(arm, error)
                return await self._part(routes, routes.baseline, part)
        except _UNREADABLE:
            pass
        # One bad row must not fail the others; which one it is shows when each is read alone.
        outcomes = await asyncio.gather(
            *(
                self._outcome(routes, arm, request, instant, part.trace_id)
                for request, instant in zip(part.requests, part.instants, strict=True)
            )
        )
        return dict(zip(part.positions, outcomes, strict=True))

    async def _predict_block(self, routes: Routes, arm: ServedArm, part: "_Part") -> PredictionBlock:
        start = time.perf_counter()
        blocks = await self._reader.read_blocks(blocks_of(arm.model, part.requests), self._batch_deadline)
        read = time.perf_counter()
        if read - start > self._batch_deadline:
            raise DeadlineExceededError(self._batch_deadline)
        scored = score_many(arm, part.requests, part.instants, blocks)
        self._took_read(read - start)
        self._took_finish(scored.finish_seconds)
        self._took_infer(scored.infer_seconds)
        block = PredictionBlock.of(arm, part.positions, part.requests, part.instants, scored, blocks)
        self._metrics.unknown_of_many(*block.known.sum(axis=1).tolist(), among=len(part.requests))
        if routes.shadows:
            self._shadows.offer_many(routes.shadows, arm, part.requests, part.instants, blocks, part.trace_id)
        return block

    async def _outcome(
        self, routes: Routes, arm: ServedArm, request: Asked, timestamp_us: int, trace_id: str | None
    ) -> Outcome:
        try:
            return await self._predict(routes, arm, request, timestamp_us, trace_id)
        except (*_UNREADABLE, ModelFailedError) as error:
            return error

    def _complain(self, arm: ServedArm, error: Exception) -> None:
        now = time.monotonic()
        if now - self._complained_at >= _COMPLAIN_SECONDS:
            self._complained_at = now
            _log.warning("arm_fails", arm=arm.name, digest=arm.model.digest, reason=str(error))


@dataclass(frozen=True, slots=True)
class _Part:
    """The requests of a batch that one arm answers."""

    positions: Sequence[int]
    requests: Sequence[Asked]
    instants: Sequence[int]
    trace_id: str | None
