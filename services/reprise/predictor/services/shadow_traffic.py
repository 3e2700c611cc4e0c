"""Shadow traffic: arms that score requests which another arm has answered."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge

from reprise.predictor.exceptions import CircuitOpenError, ModelFailedError, PlanMismatchError
from reprise.predictor.models.api import PredictionRequest
from reprise.predictor.models.arms import LoadedArm
from reprise.predictor.models.prediction import Prediction, PredictionBlock
from reprise.predictor.services.scorer import score_batch, score_request
from reprise.predictor.storage.state_reader import StateReader, block_ids, row_keys
from reprise.runtime.logs import get_logger
from reprise.store.exceptions import OnlineStoreError
from reprise.store.reader import OnlineRow, RowBlock

_log = get_logger(__name__)
_CHUNK = 64
_FAILURES = (OnlineStoreError, CircuitOpenError, PlanMismatchError, ModelFailedError)

RecordPrediction = Callable[[PredictionRequest, Prediction, str | None], None]
"""Takes the request, the shadow's prediction and the request's trace id."""


class ShadowTraffic:
    """A bounded queue of requests that shadows score on the event loop while it is idle.

    A shadow reuses the rows of the response if its plan reads the same state; otherwise it reads its own. A score
    that does not fit into the queue of ``capacity`` scores is dropped and counted. ``record`` takes each prediction.
    """

    def __init__(
        self,
        reader: StateReader,
        capacity: int,
        registry: CollectorRegistry,
        record: RecordPrediction | None = None,
    ) -> None:
        self._reader = reader
        self._capacity = capacity
        self._record = record
        self._queue: deque[tuple[LoadedArm, int, Callable[[], Awaitable[None]]]] = deque()
        self._waiting = 0
        self._wake = asyncio.Event()
        self._dropped = Counter(
            "reprise_predictor_shadow_dropped",
            "Shadow scores dropped because the queue was full.",
            registry=registry,
        )
        waiting = Gauge(
            "reprise_predictor_shadow_waiting", "Shadow scores waiting in the queue.", registry=registry
        )
        waiting.set_function(lambda: self._waiting)

    def submit(
        self,
        shadows: Sequence[LoadedArm],
        answered_by: LoadedArm,
        request: PredictionRequest,
        timestamp_us: int,
        rows: Sequence[OnlineRow],
        trace_id: str | None,
    ) -> None:
        """Queue a request for the shadows; never blocks."""
        for arm in shadows:
            shared = rows if _reads_same_state(arm, answered_by) else None
            self._enqueue(arm, 1, partial(self._score, arm, request, timestamp_us, shared, trace_id))

    def submit_batch(
        self,
        shadows: Sequence[LoadedArm],
        answered: PredictionBlock,
        rows: Sequence[RowBlock],
        trace_id: str | None,
    ) -> None:
        """Queue requests for the shadows, in chunks; never blocks."""
        for arm in shadows:
            shared = _reads_same_state(arm, answered.arm)
            for start in range(0, len(answered.requests), _CHUNK):
                part = slice(start, start + _CHUNK)
                requests, timestamps_us = answered.requests[part], answered.timestamps_us[part]
                blocks = [RowBlock(each.state[part], each.known[part]) for each in rows] if shared else None
                score = partial(self._score_batch, arm, requests, timestamps_us, blocks, trace_id)
                self._enqueue(arm, len(requests), score)

    async def run(self) -> None:
        """Score what is queued, until cancelled."""
        while True:
            while self._queue:
                arm, count, score = self._queue.popleft()
                self._waiting -= count
                try:
                    await score()
                except _FAILURES as error:
                    # No client waits for it, and the metrics of the arm or the store count it.
                    _log.debug("shadow_fails", arm=arm.name, reason=str(error))
                # Lets requests that clients wait for go first.
                await asyncio.sleep(0)
            self._wake.clear()
            await self._wake.wait()

    def _enqueue(self, arm: LoadedArm, count: int, score: Callable[[], Awaitable[None]]) -> None:
        if self._waiting + count > self._capacity:
            self._dropped.inc(count)
            return
        self._waiting += count
        self._queue.append((arm, count, score))
        self._wake.set()

    async def _score(
        self,
        arm: LoadedArm,
        request: PredictionRequest,
        timestamp_us: int,
        rows: Sequence[OnlineRow] | None,
        trace_id: str | None,
    ) -> None:
        if rows is None:
            rows = await self._reader.read(row_keys(arm.model, request.user_id, request.product_id))
        prediction = score_request(arm, request, timestamp_us, rows)
        if self._record is not None:
            self._record(request, prediction, trace_id)

    async def _score_batch(
        self,
        arm: LoadedArm,
        requests: Sequence[PredictionRequest],
        timestamps_us: Sequence[int],
        blocks: Sequence[RowBlock] | None,
        trace_id: str | None,
    ) -> None:
        if blocks is None:
            blocks = await self._reader.read_blocks(block_ids(arm.model, requests))
        try:
            block = score_batch(arm, range(len(requests)), requests, timestamps_us, blocks)
        except (PlanMismatchError, ModelFailedError):
            # Scoring each request on its own is not worth the time for a shadow.
            arm.meter.failed.inc(len(requests))
            raise
        if self._record is not None:
            for request, prediction in zip(requests, block.predictions(), strict=True):
                self._record(request, prediction, trace_id)


def _reads_same_state(arm: LoadedArm, other: LoadedArm) -> bool:
    views, other_views = (
        [state.codec.view for state in (model.user, model.product, model.pair)]
        for model in (arm.model, other.model)
    )
    return views == other_views
