"""The unacknowledged records of a producer, up to a maximum size."""

import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future

from reprise.log.exceptions import (
    BufferFullError,
    EventLogError,
    LogTimeoutError,
    RecordTooLargeError,
)
from reprise.log.interface import MAX_RECORD_BYTES, Position

_OVERHEAD_BYTES = 100
_FAILURE_SECONDS = 5.0


class PendingRecords:
    """Futures of records that wait for their acknowledgement; thread-safe."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._sizes: dict[Future[Position], int] = {}
        self._bytes = 0
        self.changed = threading.Condition()  # Notified when records are resolved; its lock is reentrant
        self.unresolved = 0  # Number of records whose futures are not done
        self._last_progress = 0.0
        self._failure: EventLogError | None = None
        self._failed_at = 0.0

    def add(self, key: bytes, value: bytes) -> Future[Position]:
        """Return the future of a record.

        Raises:
            RecordTooLargeError: The record exceeds the maximum size.
            BufferFullError: The buffer is full.
        """
        size = len(key) + len(value) + _OVERHEAD_BYTES
        if size > MAX_RECORD_BYTES:
            raise RecordTooLargeError(f"a record of {size:,} bytes; the maximum is {MAX_RECORD_BYTES:,}")
        future: Future[Position] = Future()
        # a queued record will be written, so its future cannot be cancelled
        future.set_running_or_notify_cancel()
        with self.changed:
            if self._sizes and self._bytes + size > self._max_bytes:
                raise BufferFullError(
                    f"the buffer is full: {self.unresolved:,} records of {self._bytes:,} bytes"
                )
            if not self._sizes:
                self._last_progress = time.monotonic()
            self._sizes[future] = size
            self._bytes += size
            self.unresolved += 1
        return future

    def discard(self, future: Future[Position]) -> None:
        """Forget a record that was not queued."""
        with self.changed:
            if self._pop(future):
                self._resolved(1)

    def resolve(self, outcomes: Iterable[tuple[Future[Position], Position | EventLogError]]) -> None:
        """Set positions or errors; records that were abandoned before are skipped."""
        with self.changed:
            claimed = [(future, outcome) for future, outcome in outcomes if self._pop(future)]
            if claimed:
                self._last_progress = time.monotonic()
                last = claimed[-1][1]
                self._failure = last if isinstance(last, EventLogError) else None
                self._failed_at = self._last_progress
        for future, outcome in claimed:
            if isinstance(outcome, Position):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)
        self._resolved(len(claimed))

    def abandon(self, error: EventLogError) -> None:
        """Fail all waiting records; the error is no ``failure``."""
        with self.changed:
            futures = list(self._sizes)
        self.resolve((future, error) for future in futures)
        self._failure = None

    @property
    def failure(self) -> str | None:
        """The error of the last resolved record for a few seconds, ``None`` if it was written.

        An unready process gets no requests and so would never write again: an error has to expire.
        """
        is_recent = time.monotonic() - self._failed_at < _FAILURE_SECONDS
        return str(self._failure) if self._failure is not None and is_recent else None

    def silent_seconds(self) -> float:
        """Return the time since a record was resolved, or the first one was added; 0 if none waits."""
        with self.changed:
            return time.monotonic() - self._last_progress if self._sizes else 0.0

    def wait(self, timeout: float, *, elapsed: float = 0.0) -> None:
        """Wait until no record is unresolved, up to ``timeout`` seconds, of which some have elapsed.

        Raises:
            LogTimeoutError: Records are still unacknowledged.
        """
        with self.changed:
            if not self.changed.wait_for(lambda: self.unresolved == 0, max(0.0, timeout - elapsed)):
                raise LogTimeoutError(f"{self.unresolved:,} records are unacknowledged after {timeout:g} s")

    def _pop(self, future: Future[Position]) -> bool:
        size = self._sizes.pop(future, None)
        self._bytes -= size or 0
        return size is not None

    def _resolved(self, count: int) -> None:
        with self.changed:
            self.unresolved -= count
            self.changed.notify_all()
