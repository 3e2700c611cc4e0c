"""Scoring by arms that do not answer, off the way of the answers."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge

from reprise.predictor.exceptions import ForeignStateError, ModelFailedError, StoreHeldOffError
from reprise.predictor.handlers.request_decoder import Asked
from reprise.predictor.models.arms import ServedArm
from reprise.predictor.models.prediction import Prediction, PredictionBlock
from reprise.predictor.services.scorer import score_many, score_one
from reprise.predictor.storage.rows import blocks_of, rows_of
from reprise.predictor.storage.state_reader import StateReader
from reprise.runtime.logs import get_logger
from reprise.store.exceptions import OnlineStoreError
from reprise.store.reader import OnlineRow, RowBlock

_log = get_logger(__name__)
_AT_ONCE = 64
_FAILURES = (OnlineStoreError, StoreHeldOffError, ForeignStateError, ModelFailedError)

Note = Callable[[Asked, Prediction, str | None], None]
"""Keeps what a shadow said of a request, with the trace that the request belonged to."""


class Shadows:
    """Has shadows score what was answered, on the event loop, whenever it has nothing better to do for a moment.

    A shadow sees the very rows that the answer was made from, where its plan stores what the answering model's
    does; else it reads its own. What does not fit into the queue is dropped and counted.

    Args:
        reader: Reads the online store.
        capacity: How many scores may be waited for.
        registry: Where it counts.
        note: Keeps what a shadow said.
    """

    def __init__(
        self, reader: StateReader, capacity: int, registry: CollectorRegistry, note: Note | None = None
    ) -> None:
        self._reader = reader
        self._capacity = capacity
        self._note = note
        self._queue: deque[_One | _Many] = deque()
        self._waiting = 0
        self._wake = asyncio.Event()
        self._dropped = Counter(
            "reprise_predictor_shadow_dropped",
            "Scores of shadows that were not made because too many waited.",
            registry=registry,
        )
        waiting = Gauge(
            "reprise_predictor_shadow_waiting",
            "Scores of shadows that are yet to be made.",
            registry=registry,
        )
        waiting.set_function(lambda: self._waiting)

    def offer(
        self,
        shadows: Sequence[ServedArm],
        answered: ServedArm,
        asked: Asked,
        timestamp_us: int,
        rows: Sequence[OnlineRow],
        trace_id: str | None,
    ) -> None:
        """Have shadows score a request that was answered; never waits."""
        for arm in shadows:
            self._add(_One(arm, asked, timestamp_us, rows if _reads_alike(arm, answered) else None, trace_id))

    def offer_many(
        self,
        shadows: Sequence[ServedArm],
        answered: ServedArm,
        asked: Sequence[Asked],
        instants: Sequence[int],
        blocks: Sequence[RowBlock],
        trace_id: str | None,
    ) -> None:
        """Have shadows score many requests that were answered, a part at a time; never waits."""
        for arm in shadows:
            alike = _reads_alike(arm, answered)
            for start in range(0, len(asked), _AT_ONCE):
                part = slice(start, start + _AT_ONCE)
                rows = [RowBlock(block.state[part], block.known[part]) for block in blocks] if alike else None
                self._add(_Many(arm, asked[part], instants[part], rows, trace_id))

    async def work(self) -> None:
        """Score what was offered, until cancelled."""
        while True:
            while self._queue:
                job = self._queue.popleft()
                self._waiting -= job.count
                try:
                    await job.run(self._reader, self._note)
                except _FAILURES as error:
                    # Nobody waits for it, and metrics count it: the arm's own, or the store's.
                    _log.debug("shadow_fails", arm=job.arm.name, reason=str(error))
                # Those who are to be answered come first.
                await asyncio.sleep(0)
            self._wake.clear()
            await self._wake.wait()

    def _add(self, job: "_One | _Many") -> None:
        if self._waiting + job.count > self._capacity:
            self._dropped.inc(job.count)
            return
        self._waiting += job.count
        self._queue.append(job)
        self._wake.set()


@dataclass(slots=True)
class _One:
    arm: ServedArm
    asked: Asked
    timestamp_us: int
    rows: Sequence[OnlineRow] | None
    trace_id: str | None
    count: int = 1

    async def run(self, reader: StateReader, note: Note | None) -> None:
        rows = self.rows
        if rows is None:
            rows = await reader.read(rows_of(self.arm.model, self.asked))
        scored = score_one(self.arm, self.asked, self.timestamp_us, rows)
        if note is not None:
            note(
                self.asked,
                Prediction.of(self.arm, self.asked, self.timestamp_us, scored, rows),
                self.trace_id,
            )


@dataclass(slots=True)
class _Many:
    arm: ServedArm
    asked: Sequence[Asked]
    instants: Sequence[int]
    blocks: Sequence[RowBlock] | None
    trace_id: str | None

    @property
    def count(self) -> int:
        return len(self.asked)

    async def run(self, reader: StateReader, note: Note | None) -> None:
        blocks = self.blocks
        if blocks is None:
            blocks = await reader.read_blocks(blocks_of(self.arm.model, self.asked))
        try:
            scored = score_many(self.arm, self.asked, self.instants, blocks)
        except (ForeignStateError, ModelFailedError):
            # Each could be tried alone; a shadow that fails on one of them is not worth the time.
            self.arm.meter.failed.inc(self.count)
            raise
        if note is not None:
            block = PredictionBlock.of(self.arm, range(self.count), self.asked, self.instants, scored, blocks)
            for asked, prediction in zip(self.asked, block.predictions(), strict=True):
                note(asked, prediction, self.trace_id)


def _reads_alike(arm: ServedArm, other: ServedArm) -> bool:
    mine, theirs = (
        [states.codec.view for states in (model.user, model.product, model.pair)]
        for model in (arm.model, other.model)
    )
    return mine == theirs
