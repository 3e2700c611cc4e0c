"""Shadow traffic: arms that score requests which another arm has answered."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge

from reprise.predictor.exceptions import CircuitOpenError, ModelFailedError, PlanMismatchError
from reprise.predictor.models.api import PredictionRequest
from reprise.predictor.models.loaded_model import LoadedArm
from reprise.predictor.models.prediction import Prediction, PredictionBlock
from reprise.predictor.services.scorer import score_batch, score_request
from reprise.predictor.storage.state_reader import CircuitBreakingReader
from reprise.runtime.logs import get_logger
from reprise.store.exceptions import OnlineStoreError
from reprise.store.reader import OnlineRow, RowBlock

_log = get_logger(__name__)
_CHUNK = 64

RecordPrediction = Callable[[PredictionRequest, Prediction, str | None], None]
"""Takes the request, the shadow's prediction and the request's trace id."""


class _Task(NamedTuple):
    """Requests for an arm to score; ``rows`` or ``blocks`` where the arm reads the same state as the response."""

    arm: LoadedArm
    requests: Sequence[PredictionRequest]
    timestamps_us: Sequence[int]
    trace_id: str | None
    rows: Sequence[OnlineRow] | None = None
    blocks: Sequence[RowBlock] | None = None


class ShadowTraffic:
    """A bounded queue of requests that shadows score on the event loop while it is idle.

    A shadow reuses the rows of the response if its plan reads the same state; otherwise it reads its own. A score
    that does not fit into the queue of ``capacity`` scores is dropped and counted. ``record`` takes each prediction.
    """

    def __init__(
        self,
        reader: CircuitBreakingReader,
        capacity: int,
        registry: CollectorRegistry,
        record: RecordPrediction | None = None,
    ) -> None:
        self._reader = reader
        self._capacity = capacity
        self._record = record
        self._queue: deque[_Task] = deque()
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
            self._enqueue(_Task(arm, [request], [timestamp_us], trace_id, rows=shared))

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
                self._enqueue(_Task(arm, requests, timestamps_us, trace_id, blocks=blocks))

    async def run(self) -> None:
        """Score what is queued, until cancelled."""
        while True:
            while self._queue:
                task = self._queue.popleft()
                self._waiting -= len(task.requests)
                await self._handle(task)
                # Lets requests that clients wait for go first.
                await asyncio.sleep(0)
            self._wake.clear()
            await self._wake.wait()

    def _enqueue(self, task: _Task) -> None:
        count = len(task.requests)
        if self._waiting + count > self._capacity:
            self._dropped.inc(count)
            return
        self._waiting += count
        self._queue.append(task)
        self._wake.set()

    async def _handle(self, task: _Task) -> None:
        try:
            predictions = await self._predictions(task)
        except (OnlineStoreError, CircuitOpenError) as error:
            # No client waits for it, and the metrics of the store count it.
            _log.debug("shadow_fails", arm=task.arm.name, reason=str(error))
        except (PlanMismatchError, ModelFailedError) as error:
            # Scoring each request of a batch on its own is not worth the time for a shadow.
            task.arm.meter.failed.inc(len(task.requests))
            _log.debug("shadow_fails", arm=task.arm.name, reason=str(error))
        else:
            if self._record is not None:
                for request, prediction in zip(task.requests, predictions, strict=True):
                    self._record(request, prediction, task.trace_id)

    async def _predictions(self, task: _Task) -> Sequence[Prediction]:
        arm, requests = task.arm, task.requests
        if len(requests) == 1 and task.blocks is None:
            request = requests[0]
            rows = task.rows or await self._reader.read(
                arm.model.row_keys(request.user_id, request.product_id)
            )
            return [score_request(arm, request, task.timestamps_us[0], rows)]
        blocks = task.blocks or await self._reader.read_blocks(arm.model.block_ids(requests))
        block = score_batch(arm, range(len(requests)), requests, task.timestamps_us, blocks)
        return block.predictions()


def _reads_same_state(arm: LoadedArm, other: LoadedArm) -> bool:
    views, other_views = (
        [state.codec.view for state in (model.user, model.product, model.pair)]
        for model in (arm.model, other.model)
    )
    return views == other_views
