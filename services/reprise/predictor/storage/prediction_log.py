"""Keeping every answer in the event log, without an answer ever waiting for it."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge

from reprise.log import (
    PREDICTIONS,
    BufferFullError,
    EventLogError,
    LogProducer,
    LogUnavailableError,
    Position,
)
from reprise.predictor.handlers.request_decoder import Asked
from reprise.predictor.models.prediction import BatchPrediction, Prediction
from reprise.predictor.models.prediction_record import encode_record
from reprise.runtime.logs import get_logger

_log = get_logger(__name__)
_POLL_SECONDS = 0.02
_AT_ONCE = 16
_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 30.0
_COMPLAIN_SECONDS = 10.0


class _Answered(NamedTuple):
    request: Asked
    prediction: Prediction
    answered_us: int
    trace_id: str | None
    shadow: bool


class PredictionLog:
    """Appends answers from a thread of its own, from a queue that is bounded.

    What does not fit is dropped and counted: the queue is full because the log is slow or away, or the log's
    own buffer is. The event loop only ever puts a tuple into the queue.

    Args:
        open_producer: Opens the log; tried again, ever more slowly, while the log is away.
        capacity: How many answers may wait.
        registry: Where it counts.
        clock: Now, in nanoseconds since 1970-01-01 UTC.
    """

    def __init__(
        self,
        open_producer: Callable[[], LogProducer],
        capacity: int,
        registry: CollectorRegistry,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._open_producer = open_producer
        self._capacity = capacity
        self._clock = clock
        self._queue: deque[_Answered] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._grace = 0.0
        self._complained_at = -_COMPLAIN_SECONDS
        outcomes = Counter(
            "reprise_predictor_logged",
            "Answers by what became of them in the log.",
            ("outcome",),
            registry=registry,
        )
        self._written = outcomes.labels("written")
        self._failed = outcomes.labels("failed")
        self._dropped = outcomes.labels("dropped")
        waiting = Gauge(
            "reprise_predictor_log_waiting", "Answers that wait to be appended.", registry=registry
        )
        waiting.set_function(lambda: len(self._queue))

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def note(
        self, request: Asked, prediction: Prediction, trace_id: str | None, *, shadow: bool = False
    ) -> None:
        """Hand an answer, or what a shadow said, over; never waits."""
        if len(self._queue) >= self._capacity:
            self._dropped.inc()
            return
        self._queue.append(_Answered(request, prediction, self._clock() // 1000, trace_id, shadow))

    def note_batch(self, requests: Sequence[Asked], batch: BatchPrediction, trace_id: str | None) -> None:
        """Hand the answers of a batch over; never waits."""
        for block in batch.blocks:
            for request, prediction in zip(block.requests, block.predictions(), strict=True):
                self.note(request, prediction, trace_id)
        for position, outcome in batch.others.items():
            if isinstance(outcome, Prediction):
                self.note(requests[position], outcome, trace_id)

    def close(self, seconds: float) -> None:
        """Append what waits, for so many seconds at most, and end the thread; the rest is dropped."""
        self._grace = seconds
        self._stopping.set()
        self._thread.join(seconds)
        left = len(self._queue)
        if self._thread.is_alive() or left:
            self._dropped.inc(left)
            _log.warning("prediction_log_abandoned", answers=left, waited_seconds=seconds)

    def _run(self) -> None:
        try:
            producer = self._opened()
            if producer is None:
                return
            try:
                self._append_all(producer)
            finally:
                producer.close(self._grace)
        except BaseException:
            # Answers go on being given; those that are not logged are counted as dropped.
            _log.critical("prediction_log_failed", exc_info=True)
            raise

    def _opened(self) -> LogProducer | None:
        backoff = _FIRST_BACKOFF
        while True:
            try:
                return self._open_producer()
            except LogUnavailableError as error:
                self._complain("prediction_log_away", str(error))
            if self._stopping.wait(backoff):
                return None
            backoff = min(2 * backoff, _LONGEST_BACKOFF)

    def _append_all(self, producer: LogProducer) -> None:
        while True:
            # What comes meanwhile is for the next turn: asked less often, a log writes more at once, and every
            # change between threads costs as much as a record.
            for number in range(1, len(self._queue) + 1):
                self._append(producer, self._queue.popleft())
                if number % _AT_ONCE == 0:
                    # Hands the interpreter back to the event loop, which would else wait for it up to 5 ms.
                    time.sleep(0)
            if self._stopping.wait(_POLL_SECONDS) and not self._queue:
                return

    def _append(self, producer: LogProducer, answered: _Answered) -> None:
        value = encode_record(*answered)
        try:
            future = producer.append(PREDICTIONS.name, answered.prediction.user_id.encode(), value)
        except BufferFullError as error:
            self._dropped.inc()
            self._complain("prediction_log_full", str(error))
        except EventLogError as error:
            self._failed.inc()
            self._complain("prediction_log_refuses", str(error))
        else:
            future.add_done_callback(self._settled)

    def _settled(self, future: Future[Position]) -> None:
        error = future.exception()
        if error is None:
            self._written.inc()
        else:
            self._failed.inc()
            self._complain("prediction_log_fails", str(error))

    def _complain(self, event: str, reason: str) -> None:
        now = time.monotonic()
        if now - self._complained_at >= _COMPLAIN_SECONDS:
            self._complained_at = now
            _log.warning(event, reason=reason)
