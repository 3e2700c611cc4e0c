"""The prediction log: appends every prediction to the event log from a thread, without delaying a response."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Annotated, Literal, NamedTuple

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge
from pydantic import BaseModel, ConfigDict, Field

from reprise.events import format_timestamp
from reprise.log import (
    PREDICTIONS,
    BufferFullError,
    EventLogError,
    LogProducer,
    LogRefusedError,
    LogUnavailableError,
    Position,
)
from reprise.predictor.models.api import FeatureValue, Known, PredictionRequest
from reprise.predictor.models.prediction import BatchPrediction, Prediction
from reprise.runtime.logs import get_logger

_log = get_logger(__name__)
_POLL_SECONDS = 0.02
_YIELD_EVERY = 16
_FIRST_BACKOFF = 0.5
_MAX_BACKOFF = 30.0
_WARNING_INTERVAL_SECONDS = 10.0


_Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class PredictionRecord(BaseModel):
    """A record of the topic ``ecommerce-predictions``; its key is the ``user_id``.

    Records of one version may gain members. A member that is removed or changes its meaning makes a new version.
    """

    model_config = ConfigDict(extra="allow")

    schema_version: Literal[1]
    answered_at: _Timestamp = Field(description="When the predictor responded, by its clock.")
    timestamp: _Timestamp = Field(description="Request time that the features were computed for.")
    user_id: str
    product_id: str
    event_type: str | None = Field(description="Event type of the request.")
    amount: float | None = Field(description="Amount of the request, in the shop's currency.")
    event_id: str | None = Field(default=None, description="Id of the event at hand, if the request had it.")
    probability: float = Field(ge=0, le=1)
    prediction: bool
    threshold: float | None = Field(
        description="Of its kind of request; null where a purchase is never predicted."
    )
    model_version: str = Field(description="Digest of the model.")
    arm: str = Field(description="Arm of the rollout that scored the request.")
    shadow: bool = Field(
        default=False, description="Whether the arm scored shadow traffic while another arm responded."
    )
    horizon_seconds: int | None = Field(
        default=None, description="The further horizon that was asked for; null for the model's own."
    )
    known: Known
    features: dict[str, FeatureValue] = Field(description="Every input of the model, by name.")
    trace_id: str | None = Field(description="W3C trace id of the request.")


def encode_record(
    request: PredictionRequest,
    prediction: Prediction,
    answered_us: int,
    trace_id: str | None,
    shadow: bool = False,
) -> bytes:
    """Return the record as JSON; ``answered_us`` is in microseconds since 1970-01-01 UTC."""
    model = prediction.model
    predicted, _, threshold = model.verdicts.of(prediction.probability, prediction.inputs)
    user, product, pair = prediction.known
    return orjson.dumps(
        {
            "schema_version": 1,
            "answered_at": format_timestamp(answered_us),
            "timestamp": format_timestamp(prediction.timestamp_us),
            "user_id": prediction.user_id,
            "product_id": prediction.product_id,
            "event_type": request.event_type,
            "amount": request.amount,
            "event_id": request.event_id,
            "probability": prediction.probability,
            "prediction": predicted,
            "threshold": threshold,
            "model_version": model.digest,
            "arm": prediction.arm.name,
            "shadow": shadow,
            "horizon_seconds": model.further_horizon_seconds,
            "known": {"user": user, "product": product, "pair": pair},
            "features": prediction.inputs_by_name(),  # orjson writes NaN as null
            "trace_id": trace_id,
        }
    )


class _Entry(NamedTuple):
    request: PredictionRequest
    prediction: Prediction
    answered_us: int
    trace_id: str | None
    shadow: bool


class PredictionLog:
    """A bounded queue of predictions, and the thread that appends them to the event log.

    A prediction is dropped and counted if the queue of ``capacity`` predictions or the producer's buffer is full. The
    event loop only puts a tuple into the queue. ``open_producer`` is retried with backoff while the log is
    unavailable. ``clock`` returns nanoseconds since 1970-01-01 UTC.
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
        self._queue: deque[_Entry] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._flush_seconds = 0.0
        self._warned_at = -_WARNING_INTERVAL_SECONDS
        outcomes = Counter(
            "reprise_predictor_logged",
            "Predictions by outcome in the log: written, failed or dropped.",
            ("outcome",),
            registry=registry,
        )
        self._written, self._failed, self._dropped = map(outcomes.labels, ("written", "failed", "dropped"))
        waiting = Gauge(
            "reprise_predictor_log_waiting",
            "Predictions waiting to be appended to the log.",
            registry=registry,
        )
        waiting.set_function(lambda: len(self._queue))

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def append(
        self,
        request: PredictionRequest,
        prediction: Prediction,
        trace_id: str | None,
        *,
        shadow: bool = False,
    ) -> None:
        """Queue a prediction; never blocks."""
        if len(self._queue) >= self._capacity:
            self._dropped.inc()
            return
        self._queue.append(_Entry(request, prediction, self._clock() // 1000, trace_id, shadow))

    def append_batch(
        self, requests: Sequence[PredictionRequest], batch: BatchPrediction, trace_id: str | None
    ) -> None:
        """Queue the predictions of a batch; never blocks."""
        for block in batch.blocks:
            for request, prediction in zip(block.requests, block.predictions(), strict=True):
                self.append(request, prediction, trace_id)
        for position, outcome in batch.outcomes.items():
            if isinstance(outcome, Prediction):
                self.append(requests[position], outcome, trace_id)

    def close(self, seconds: float) -> None:
        """Flush the queue for at most ``seconds`` seconds and end the thread; the rest is dropped."""
        self._flush_seconds = seconds
        self._stopping.set()
        self._thread.join(seconds)
        left = len(self._queue)
        if self._thread.is_alive() or left:
            self._dropped.inc(left)
            _log.warning("prediction_log_abandoned", answers=left, waited_seconds=seconds)

    def _run(self) -> None:
        try:
            if (producer := self._connect()) is not None:
                try:
                    self._drain_queue(producer)
                finally:
                    producer.close(self._flush_seconds)
        except BaseException:
            # The process goes on serving; predictions that are not logged are counted as dropped.
            _log.critical("prediction_log_failed", exc_info=True)
            raise

    def _connect(self) -> LogProducer | None:
        backoff = _FIRST_BACKOFF
        while True:
            try:
                return self._open_producer()
            except (LogUnavailableError, LogRefusedError) as error:
                self._warn("prediction_log_away", error)
            if self._stopping.wait(backoff):
                return None
            backoff = min(2 * backoff, _MAX_BACKOFF)

    def _drain_queue(self, producer: LogProducer) -> None:
        while True:
            # What is queued meanwhile waits for the next round: larger batches cost the log less, and every switch
            # between threads costs as much as a record.
            for number in range(1, len(self._queue) + 1):
                self._append_record(producer, self._queue.popleft())
                if number % _YIELD_EVERY == 0:
                    # Releases the GIL, for which the event loop would otherwise wait up to 5 ms.
                    time.sleep(0)
            if self._stopping.wait(_POLL_SECONDS) and not self._queue:
                return

    def _append_record(self, producer: LogProducer, entry: _Entry) -> None:
        value = encode_record(*entry)
        try:
            future = producer.append(PREDICTIONS.name, entry.prediction.user_id.encode(), value)
        except BufferFullError as error:
            self._dropped.inc()
            self._warn("prediction_log_full", error)
        except EventLogError as error:
            self._failed.inc()
            self._warn("prediction_log_refuses", error)
        else:
            future.add_done_callback(self._count)

    def _count(self, future: Future[Position]) -> None:
        error = future.exception()
        if error is None:
            self._written.inc()
        else:
            self._failed.inc()
            self._warn("prediction_log_fails", error)

    def _warn(self, event: str, error: BaseException) -> None:
        now = time.monotonic()
        if now - self._warned_at >= _WARNING_INTERVAL_SECONDS:
            self._warned_at = now
            _log.warning(event, reason=str(error))
