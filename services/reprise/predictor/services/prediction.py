"""The prediction service: reads state, scores it within the deadline, and falls back to the baseline."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from reprise.features.latest_products import unpack_list
from reprise.predictor.exceptions import (
    DeadlineExceededError,
    ModelFailedError,
    NoProductListError,
    OverloadedError,
    PlanMismatchError,
    TimestampOutOfRangeError,
)
from reprise.predictor.metrics import PredictorMetrics
from reprise.predictor.models.api import PredictionRequest
from reprise.predictor.models.loaded_model import ENTITIES, LoadedArm, LoadedModel, RoutingTable, State
from reprise.predictor.models.prediction import BatchPrediction, Outcome, Prediction, PredictionBlock
from reprise.predictor.services.scorer import score_batch, score_request
from reprise.predictor.services.shadow_traffic import ShadowTraffic
from reprise.predictor.settings import PredictorSettings
from reprise.predictor.storage.state_reader import CircuitBreakingReader
from reprise.runtime.logs import get_logger
from reprise.store.exceptions import CorruptRowError

_log = get_logger(__name__)
_WARNING_INTERVAL_SECONDS = 10.0
_UNREADABLE = (CorruptRowError, PlanMismatchError)


class AdmissionControl:
    """Load shedding: a context manager around each request, which refuses one beyond the limit at once."""

    def __init__(self, kind: str, limit: int) -> None:
        self._kind = kind
        self._limit = limit
        self.in_flight = 0

    def __enter__(self) -> None:
        if self.in_flight >= self._limit:
            raise OverloadedError(f"{self._limit} {self._kind} are in flight, which is the limit")
        self.in_flight += 1

    def __exit__(self, *_: object) -> None:
        self.in_flight -= 1


class _Part(NamedTuple):
    positions: Sequence[int]
    requests: Sequence[PredictionRequest]
    timestamps_us: Sequence[int]
    trace_id: str | None


class PredictionService:
    """Makes predictions; ``clock`` returns nanoseconds since 1970-01-01 UTC."""

    def __init__(
        self,
        reader: CircuitBreakingReader,
        metrics: PredictorMetrics,
        shadow_traffic: ShadowTraffic,
        settings: PredictorSettings,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._reader = reader
        self._metrics = metrics
        self._shadow_traffic = shadow_traffic
        self._max_skew_seconds = settings.max_skew_seconds
        self._max_skew_us = round(settings.max_skew_seconds * 1e6)
        self._deadline = settings.deadline_seconds
        self._read_deadline = min(settings.redis_deadline_seconds, settings.deadline_seconds)
        self._batch_deadline = settings.batch_deadline_seconds
        self._clock = clock
        self._warned_at = -_WARNING_INTERVAL_SECONDS
        self._observe_read, self._observe_finish, self._observe_infer = map(
            metrics.stage, ("read", "finish", "infer")
        )

    async def predict(
        self, table: RoutingTable, request: PredictionRequest, trace_id: str | None = None
    ) -> Prediction:
        """Return the prediction for one request. If another arm fails, the baseline answers.

        Raises:
            TimestampOutOfRangeError: The request time is too far from now.
            DeadlineExceededError: The state arrived after the deadline.
            CircuitOpenError: The online store keeps failing.
            StoreError: The online store is unavailable, or refuses.
            CorruptRowError: A row cannot be decoded.
            PlanMismatchError: A row was written by another plan.
            ModelFailedError: The baseline's model returns no probability.
        """
        timestamp_us = self._request_time(request.timestamp)
        return await self._predict(table, table.arm_of(request.user_id), request, timestamp_us, trace_id)

    async def predict_batch(
        self, table: RoutingTable, requests: Sequence[PredictionRequest], trace_id: str | None = None
    ) -> BatchPrediction:
        """Return the predictions for a batch, from one read and one inference for each arm.

        It raises ``DeadlineExceededError``, ``CircuitOpenError`` and ``StoreError`` as ``predict`` does.
        """
        now_us = self._request_time(None)
        outcomes: dict[int, Outcome] = {}
        timestamps_us = [now_us] * len(requests)
        for position, request in enumerate(requests):
            if request.timestamp is not None:
                try:
                    timestamps_us[position] = self._request_time(request.timestamp)
                except TimestampOutOfRangeError as error:
                    outcomes[position] = error
        parts = []
        for arm, members in table.group_by_arm([request.user_id for request in requests]):
            positions = [at for at in members if at not in outcomes] if outcomes else members
            if positions:
                own = [requests[at] for at in positions]
                part = _Part(positions, own, [timestamps_us[at] for at in positions], trace_id)
                parts.append(self._predict_part(table, arm, part))
        blocks: list[PredictionBlock] = []
        for result in await asyncio.gather(*parts):
            if isinstance(result, PredictionBlock):
                blocks.append(result)
            else:
                outcomes.update(result)
        return BatchPrediction(blocks, outcomes)

    async def purchased_products(self, model: LoadedModel, user_id: str) -> list[str]:
        """Return the products that a user bought last, the latest first; raises as ``predict`` does.

        Raises:
            NoProductListError: The model's plan keeps no list.
        """
        kept = model.products
        if kept is None:
            raise NoProductListError("the model's plan keeps no list of a user's products")
        start = time.perf_counter()
        (row,) = await self._reader.read([(kept.codec, kept.codec.key(user_id))], self._read_deadline)
        self._finish_read(start, self._batch_deadline)
        return [product for _, product in unpack_list(kept.of_row(row)[0])]

    async def features(
        self, model: LoadedModel, user_id: str, product_id: str | None
    ) -> tuple[dict[str, float], dict[str, bool], int]:
        """Return the present features of a user, or of a user and a product.

        It raises the errors of the store and of its rows as ``predict`` does.

        Returns:
            The features by name, NaN where missing; whether each entity is known; the time in microseconds since
            1970-01-01 UTC. Without a product only the user's own features.
        """
        now_us = self._request_time(None)
        product: State = model.product.empty
        pair: State = model.pair.empty
        if product_id is None:
            codec = model.user.codec
            rows = await self._reader.read([(codec, codec.key(user_id))])
        else:
            rows = await self._reader.read(model.row_keys(user_id, product_id))
            product, pair = model.product.of_row(rows[1]), model.pair.of_row(rows[2])
        inputs = model.vectorizer.vector(model.user.of_row(rows[0]), product, pair, now_us)
        known = {entity: row.known for entity, row in zip(ENTITIES, rows, strict=False)}
        columns = zip(model.plan.inputs, inputs, strict=True)
        return {column.name: value for column, value in columns if column.entity in known}, known, now_us

    def _request_time(self, timestamp_us: int | None) -> int:
        """Return the time to compute features for, by default now, microseconds since 1970-01-01 UTC."""
        now_us = self._clock() // 1000
        if timestamp_us is None:
            return now_us
        if abs(timestamp_us - now_us) > self._max_skew_us:
            raise TimestampOutOfRangeError(timestamp_us, self._max_skew_seconds)
        return timestamp_us

    async def _predict(
        self,
        table: RoutingTable,
        arm: LoadedArm,
        request: PredictionRequest,
        timestamp_us: int,
        trace_id: str | None,
    ) -> Prediction:
        start = time.perf_counter()
        keys = arm.model.row_keys(request.user_id, request.product_id)
        rows = await self._reader.read(keys, self._read_deadline)
        self._finish_read(start, self._deadline)
        try:
            prediction = score_request(
                arm, request, timestamp_us, rows, self._observe_finish, self._observe_infer
            )
        except (PlanMismatchError, ModelFailedError) as error:
            arm.meter.failed.inc()
            if arm is table.baseline:
                raise
            self._warn(arm, error)
            return await self._predict(table, table.baseline, request, timestamp_us, trace_id)
        if not all(prediction.known):
            self._metrics.count_unknown(*prediction.known)
        if table.shadows:
            self._shadow_traffic.submit(table.shadows, arm, request, timestamp_us, rows, trace_id)
        return prediction

    async def _predict_part(
        self, table: RoutingTable, arm: LoadedArm, part: _Part
    ) -> PredictionBlock | dict[int, Outcome]:
        try:
            return await self._predict_block(table, arm, part)
        except ModelFailedError as error:
            if arm is not table.baseline:
                arm.meter.failed.inc(len(part.requests))
                self._warn(arm, error)
                return await self._predict_part(table, table.baseline, part)
        except _UNREADABLE:
            pass
        # One unreadable row must not fail the other requests, so each is read and scored on its own.
        singly = (
            self._predict(table, arm, request, timestamp_us, part.trace_id)
            for request, timestamp_us in zip(part.requests, part.timestamps_us, strict=True)
        )
        outcomes: dict[int, Outcome] = {}
        for position, outcome in zip(
            part.positions, await asyncio.gather(*singly, return_exceptions=True), strict=True
        ):
            if not isinstance(outcome, (Prediction, ModelFailedError, *_UNREADABLE)):
                raise outcome
            outcomes[position] = outcome
        return outcomes

    async def _predict_block(self, table: RoutingTable, arm: LoadedArm, part: _Part) -> PredictionBlock:
        start = time.perf_counter()
        rows = await self._reader.read_blocks(arm.model.block_ids(part.requests), self._batch_deadline)
        self._finish_read(start, self._batch_deadline)
        block = score_batch(arm, *part[:3], rows, self._observe_finish, self._observe_infer)
        self._metrics.count_unknown(*block.known.sum(axis=1).tolist(), total=len(part.requests))
        if table.shadows:
            self._shadow_traffic.submit_batch(table.shadows, block, rows, part.trace_id)
        return block

    def _finish_read(self, start: float, deadline: float) -> None:
        """Observe the duration of a read, and raise ``DeadlineExceededError`` if it took longer than the deadline."""
        seconds = time.perf_counter() - start
        self._observe_read(seconds)
        # Under overload we resume after the deadline; the client has already given up.
        if seconds > deadline:
            raise DeadlineExceededError(f"no prediction within {deadline:g} s")

    def _warn(self, arm: LoadedArm, error: Exception) -> None:
        now = time.monotonic()
        if now - self._warned_at >= _WARNING_INTERVAL_SECONDS:
            self._warned_at = now
            _log.warning("arm_fails", arm=arm.name, digest=arm.model.digest, reason=str(error))
