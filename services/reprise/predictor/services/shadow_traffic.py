"""Shadow traffic: arms that score requests which another arm has answered."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge

from reprise.predictor.exceptions import CircuitOpenError, ModelFailedError, PlanMismatchError
from reprise.predictor.models.arms import LoadedArm
from reprise.predictor.models.prediction import Prediction, PredictionBlock, Request
from reprise.predictor.services.scorer import score_batch, score_request
from reprise.predictor.storage.state_reader import StateReader, block_ids, row_keys
from reprise.runtime.logs import get_logger
from reprise.store.exceptions import OnlineStoreError
from reprise.store.reader import OnlineRow, RowBlock

_log = get_logger(__name__)
_CHUNK = 64
_FAILURES = (OnlineStoreError, CircuitOpenError, PlanMismatchError, ModelFailedError)

RecordPrediction = Callable[[Request, Prediction, str | None], None]
"""Takes the request, the shadow's prediction and the request's trace id."""


class ShadowTraffic:
    """A bounded queue of requests that shadows score on the event loop while it is idle.

    A shadow reuses the rows of the response if its plan reads the same state; otherwise it reads its own. A score
    that does not fit into the queue is dropped and counted.

    Args:
        reader: Reads the online store.
        capacity: Maximum number of scores that wait.
        registry: Registry of the metrics.
        record: Takes each prediction.
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
        self._queue: deque[_SingleJob | _BatchJob] = deque()
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
        request: Request,
        timestamp_us: int,
        rows: Sequence[OnlineRow],
        trace_id: str | None,
    ) -> None:
        """Queue a request for the shadows; never blocks."""
        for arm in shadows:
            shared = rows if _reads_same_state(arm, answered_by) else None
            self._enqueue(_SingleJob(arm, request, timestamp_us, shared, trace_id))

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
                blocks = [RowBlock(each.state[part], each.known[part]) for each in rows] if shared else None
                self._enqueue(
                    _BatchJob(arm, answered.requests[part], answered.timestamps_us[part], blocks, trace_id)
                )

    async def run(self) -> None:
        """Score what is queued, until cancelled."""
        while True:
            while self._queue:
                job = self._queue.popleft()
                self._waiting -= job.count
                try:
                    await job.run(self._reader, self._record)
                except _FAILURES as error:
                    # No client waits for it, and the metrics of the arm or the store count it.
                    _log.debug("shadow_fails", arm=job.arm.name, reason=str(error))
                # Lets requests that clients wait for go first.
                await asyncio.sleep(0)
            self._wake.clear()
            await self._wake.wait()

    def _enqueue(self, job: "_SingleJob | _BatchJob") -> None:
        if self._waiting + job.count > self._capacity:
            self._dropped.inc(job.count)
            return
        self._waiting += job.count
        self._queue.append(job)
        self._wake.set()


@dataclass(slots=True)
class _SingleJob:
    arm: LoadedArm
    request: Request
    timestamp_us: int
    rows: Sequence[OnlineRow] | None
    trace_id: str | None
    count: int = 1

    async def run(self, reader: StateReader, record: RecordPrediction | None) -> None:
        rows = self.rows
        if rows is None:
            keys = row_keys(self.arm.model, self.request.user_id, self.request.product_id)
            rows = await reader.read(keys)
        prediction, _, _ = score_request(self.arm, self.request, self.timestamp_us, rows)
        if record is not None:
            record(self.request, prediction, self.trace_id)


@dataclass(slots=True)
class _BatchJob:
    arm: LoadedArm
    requests: Sequence[Request]
    timestamps_us: Sequence[int]
    blocks: Sequence[RowBlock] | None
    trace_id: str | None

    @property
    def count(self) -> int:
        return len(self.requests)

    async def run(self, reader: StateReader, record: RecordPrediction | None) -> None:
        blocks = self.blocks
        if blocks is None:
            blocks = await reader.read_blocks(block_ids(self.arm.model, self.requests))
        positions = range(self.count)
        try:
            block, _, _ = score_batch(self.arm, positions, self.requests, self.timestamps_us, blocks)
        except (PlanMismatchError, ModelFailedError):
            # Scoring each request on its own is not worth the time for a shadow.
            self.arm.meter.failed.inc(self.count)
            raise
        if record is not None:
            for request, prediction in zip(self.requests, block.predictions(), strict=True):
                record(request, prediction, self.trace_id)


def _reads_same_state(arm: LoadedArm, other: LoadedArm) -> bool:
    views, other_views = (
        [state.codec.view for state in (model.user, model.product, model.pair)]
        for model in (arm.model, other.model)
    )
    return views == other_views
