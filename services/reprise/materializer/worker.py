"""The materializer's loop: poll, fold, send invalid records to the dead letters, commit."""

import base64
import threading
import time
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import nullcontext

import orjson

from reprise.log import (
    DEAD_LETTERS,
    EVENTS,
    BufferFullError,
    EventLogError,
    LogConsumer,
    LogProducer,
    LogTimeoutError,
    LogUnavailableError,
    NotAssignedError,
    Record,
    UnreadablePartitions,
    UnreadableRecordsError,
    acknowledged,
)
from reprise.log.idle import run_until_idle
from reprise.materializer.batch_fold import BatchFold, InvalidRecord
from reprise.materializer.checkpoints import Checkpoints
from reprise.materializer.metrics import MaterializerMetrics
from reprise.materializer.row_writer import ContendedRowError
from reprise.materializer.settings import MaterializerSettings
from reprise.runtime.logs import get_logger
from reprise.store.exceptions import StoreUnavailableError

_log = get_logger(__name__)
_LAG_SECONDS = 1.0
_DEAD_LETTER_SECONDS = 10.0
_LETTERS_IN_FLIGHT = 16
_MAX_KEY_BYTES = 1024
# JSON escapes a byte as at most six, so that a letter stays below the maximum size of a record, 1 MiB.
_MAX_VALUE_BYTES = 128 * 1024
_TRANSIENT = (
    StoreUnavailableError,
    LogUnavailableError,
    LogTimeoutError,
    BufferFullError,
    ContendedRowError,
)


class Worker:
    """Folds the event log until it is stopped.

    Offsets are committed only once everything before them is in the store. A batch that fails because the store or
    the log is unavailable is retried before anything else.
    """

    def __init__(
        self,
        consumer: LogConsumer,
        fold: BatchFold,
        metrics: MaterializerMetrics,
        settings: MaterializerSettings,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self._consumer = consumer
        self._checkpoints = checkpoints
        self._fold = fold
        self._metrics = metrics
        self._settings = settings
        self._lag_due = 0.0
        self._problem: str | None = "nothing was polled yet"
        self._unreadable = UnreadablePartitions(metrics.unreadable.show)

    @property
    def problem(self) -> str | None:
        """Why nothing, or not everything, is being folded; ``None`` if there is no known problem."""
        return self._unreadable.problem or self._problem

    def run(self, stop: threading.Event) -> None:
        """Fold until ``stop`` is set; finishes the current batch. A partition that cannot be read waits alone."""
        while not stop.is_set():
            try:
                self._step(stop, self._settings.poll_seconds)
            except UnreadableRecordsError as error:
                self._unreadable.add(error)

    def run_until_idle(self, stop: threading.Event, idle_seconds: float) -> None:
        """Fold until no record has come for ``idle_seconds``, or ``stop`` is set.

        Raises:
            UnreadableRecordsError: Records cannot be decoded.
        """
        poll_seconds = min(self._settings.poll_seconds, idle_seconds)
        run_until_idle(lambda: self._step(stop, poll_seconds) > 0, self._consumer, stop, idle_seconds)

    def _step(self, stop: threading.Event, poll_seconds: float) -> int:
        """Poll once and fold the batch; return the number of records."""
        try:
            polled = self._consumer.poll(self._settings.batch_records, poll_seconds)
        except LogUnavailableError as error:
            self._metrics.event_log.failed(error)
            self._report_delay(error)
            stop.wait(self._settings.retry_seconds)
            return 0
        while polled and not self._fold_polled(polled):
            # the lag keeps growing meanwhile
            self._observe_lag_when_due(delay=self._problem)
            if stop.wait(self._settings.retry_seconds):
                return 0
        self._observe_lag_when_due()
        return sum(len(records) for records in polled.values())

    def _fold_polled(self, polled: Mapping[int, Sequence[Record]]) -> bool:
        """Fold and commit the batch; return False if it has to be retried."""
        try:
            topic_id = self._consumer.topic_id
            read_again = self._read_again(topic_id, polled)
            folded = {p: records for p, records in polled.items() if p not in read_again}
            if not folded:
                return True
            offsets = {partition: records[-1].offset + 1 for partition, records in folded.items()}
            with nullcontext() if self._checkpoints is None else self._checkpoints.advance(topic_id, offsets):
                self._fold.fold(topic_id, folded)
            with self._metrics.event_log.timed():
                self._consumer.commit(offsets)
        except NotAssignedError as error:
            # the partitions' new owners fold these records again from their committed offsets
            self._report_delay(error)
            return True
        except _TRANSIENT as error:
            self._report_delay(error)
            return False
        self._problem = None
        return True

    def _read_again(self, topic_id: bytes, polled: Mapping[int, Sequence[Record]]) -> AbstractSet[int]:
        """Go back to what the store has lost since it was folded; return the partitions that continue there."""
        if self._checkpoints is None:
            return frozenset()
        lost = self._checkpoints.lost(topic_id, polled)
        if lost:
            beginnings = self._consumer.beginning_offsets()
            lost = {p: span[max(0, beginnings[p] - span.start) :] for p, span in lost.items()}
            lost = {p: span for p, span in lost.items() if span}
            self._consumer.seek({p: span.start for p, span in lost.items()})
            for partition, span in lost.items():
                _log.error(
                    "store_lost_writes", partition=partition, read_from=span.start, read_until=span.stop
                )
        return lost.keys()

    def _report_delay(self, error: Exception) -> None:
        self._problem = str(error)
        _log.warning("folding_delayed", reason=str(error), error=type(error).__name__)

    def _observe_lag_when_due(self, delay: str | None = None) -> None:
        """Update the lag gauge once a second; ``delay`` remains the problem even if the log answers."""
        now = time.monotonic()
        if now < self._lag_due:
            return
        self._lag_due = now + _LAG_SECONDS
        try:
            ends, positions = self._consumer.end_offsets(), self._consumer.positions()
        except EventLogError as error:
            self._metrics.event_log.failed(error)
            self._problem = str(error)
            _log.warning("lag_unknown", reason=str(error))
            return
        self._unreadable.update(positions)
        self._metrics.lag.show({p: end - positions.get(p, end) for p, end in ends.items()})
        self._problem = delay


def send_dead_letters(
    producer: LogProducer, metrics: MaterializerMetrics, invalid: Sequence[InvalidRecord]
) -> None:
    """Append records to the dead-letter topic; a replay may append them again.

    Raises:
        EventLogError: The log did not acknowledge them in time.
    """
    if not invalid:
        return
    with metrics.event_log.timed():
        for at in range(0, len(invalid), _LETTERS_IN_FLIGHT):
            futures = [
                producer.append(DEAD_LETTERS.name, each.record.key[:_MAX_KEY_BYTES], _letter(each))
                for each in invalid[at : at + _LETTERS_IN_FLIGHT]
            ]
            for future in futures:
                acknowledged(future, DEAD_LETTERS.name, _DEAD_LETTER_SECONDS)


def _letter(invalid: InvalidRecord) -> bytes:
    """Return JSON with the error's class and text, the record's position, and its value as text or base64."""
    record = invalid.record
    letter: dict[str, object] = {
        "reason": str(invalid.error),
        "error": type(invalid.error).__name__,
        "topic": EVENTS.name,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
    }
    value = record.value[:_MAX_VALUE_BYTES]
    if len(value) < len(record.value):
        letter["truncated_from_bytes"] = len(record.value)
    try:
        letter["value"] = value.decode()
    except UnicodeDecodeError:
        letter["value_base64"] = base64.b64encode(value).decode()
    return orjson.dumps(letter)
