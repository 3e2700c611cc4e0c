"""The loop: poll, fold what came, send broken records away, commit."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reprise.log import (
    EVENTS,
    BufferFullError,
    EventLogError,
    LogConsumer,
    LogTimeoutError,
    LogUnavailableError,
    NotAssignedError,
    Record,
)
from reprise.materializer.batch_fold import BatchFold
from reprise.materializer.dead_letters import DeadLetters
from reprise.materializer.metrics import MaterializerMetrics
from reprise.materializer.row_writer import ContendedRowError
from reprise.runtime.logs import get_logger
from reprise.store.exceptions import StoreUnavailableError

_log = get_logger(__name__)
_LAG_SECONDS = 1.0
_ASSIGNMENT_SECONDS = 30.0
_PASSING = (
    StoreUnavailableError,
    LogUnavailableError,
    LogTimeoutError,
    BufferFullError,
    ContendedRowError,
)


@dataclass(frozen=True, slots=True)
class Pace:
    """How much the worker takes at a time, and how long it waits."""

    batch_records: int
    poll_seconds: float
    retry_seconds: float


class Worker:
    """Folds the event log until it is told to stop.

    What was polled but not folded, because the store or the log was away, is folded again before anything
    else: offsets are committed only after everything before them is in the store.
    """

    def __init__(
        self,
        consumer: LogConsumer,
        fold: BatchFold,
        dead_letters: DeadLetters,
        metrics: MaterializerMetrics,
        pace: Pace,
    ) -> None:
        self._consumer = consumer
        self._fold = fold
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._pace = pace
        self._lag_due = 0.0
        self.problem: str | None = "nothing was polled yet"

    def run(self, stop: threading.Event) -> None:
        """Fold until ``stop`` is set; the batch under way is finished."""
        while not stop.is_set():
            self._step(stop, self._pace.poll_seconds)

    def run_until_idle(self, stop: threading.Event, idle_seconds: float) -> None:
        """Fold until nothing has come for a while, or ``stop`` is set.

        The while begins with the first partitions, which a group may take some seconds to assign.
        """
        started = last = time.monotonic()
        while not stop.is_set() and time.monotonic() - last < idle_seconds:
            records = self._step(stop, min(self._pace.poll_seconds, idle_seconds))
            now = time.monotonic()
            awaits_partitions = not self._consumer.assignment and now - started < _ASSIGNMENT_SECONDS
            if records or awaits_partitions:
                last = now

    def _step(self, stop: threading.Event, poll_seconds: float) -> int:
        """Poll once and fold what came; return the number of records."""
        try:
            polled = self._consumer.poll(self._pace.batch_records, poll_seconds)
        except LogUnavailableError as error:
            self._metrics.event_log.failed(error)
            self._delayed(error)
            stop.wait(self._pace.retry_seconds)
            return 0
        while polled and not self._fold_polled(polled):
            # what waits becomes more meanwhile, and somebody is to see that
            self._observe_lag_when_due(delayed=self.problem)
            if stop.wait(self._pace.retry_seconds):
                return 0
        self._observe_lag_when_due()
        return sum(len(records) for records in polled.values())

    def _fold_polled(self, polled: Mapping[int, Sequence[Record]]) -> bool:
        """Fold and commit what was polled; return whether that is settled."""
        try:
            invalid = self._fold.fold_partitions(self._consumer.topic_id, polled)
            with self._metrics.event_log.timed():
                self._dead_letters.send(EVENTS.name, invalid)
                self._consumer.commit(
                    {partition: records[-1].offset + 1 for partition, records in polled.items()}
                )
        except NotAssignedError as error:
            # others have these partitions by now, and fold them again from their own offsets
            self._delayed(error)
            return True
        except _PASSING as error:
            self._delayed(error)
            return False
        self.problem = None
        return True

    def _delayed(self, error: Exception) -> None:
        self.problem = str(error)
        _log.warning("folding_delayed", reason=str(error), error=type(error).__name__)

    def _observe_lag_when_due(self, delayed: str | None = None) -> None:
        """Ask the log for its ends, not more often than somebody would look; a log that is away shows here too.

        Args:
            delayed: Why folding waits, which an answer of the log does not settle.
        """
        now = time.monotonic()
        if now < self._lag_due:
            return
        self._lag_due = now + _LAG_SECONDS
        try:
            ends, positions = self._consumer.end_offsets(), self._consumer.positions()
        except EventLogError as error:
            self._metrics.event_log.failed(error)
            self.problem = str(error)
            _log.warning("lag_unknown", reason=str(error))
            return
        self._metrics.show_lag({p: end - positions.get(p, end) for p, end in ends.items()})
        self.problem = delayed
