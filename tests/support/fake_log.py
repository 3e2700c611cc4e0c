"""A log producer in memory that fails when a test says so."""

from collections.abc import Callable
from concurrent.futures import Future

from reprise.log import (
    TOPICS,
    BufferFullError,
    ClosedError,
    EventLogError,
    LogTimeoutError,
    Position,
    RecordTooLargeError,
)
from reprise.log.partitioner import partition_of


class FakeLogProducer:
    """Acknowledges at once unless it is told to hold, to fail, or to be full.

    Attributes:
        appended: Topic, key and value of every record that was handed over.
        hold: While true, records wait until ``acknowledge`` is called.
        failure: Returns the error of the numbered record (from 0), or ``None``.
        capacity: How many records may wait; more are refused.
        problem_now: What ``problem`` returns.
    """

    def __init__(self) -> None:
        self.appended: list[tuple[str, bytes, bytes]] = []
        self.hold = False
        self.failure: Callable[[int], EventLogError | None] = lambda _: None
        self.capacity = 1 << 30
        self.problem_now: str | None = None
        self.flushes = 0
        self._ends: dict[tuple[str, int], int] = {}
        self._waiting: list[tuple[int, Position, Future[Position]]] = []
        self._closed = False

    def append(self, topic: str, key: bytes, value: bytes) -> Future[Position]:
        partitions = {declared.name: declared.partitions for declared in TOPICS}
        if len(key) + len(value) > 1024 * 1024:
            raise RecordTooLargeError("too large")
        if self._closed:
            raise ClosedError("closed")
        if len(self._waiting) >= self.capacity:
            raise BufferFullError(f"{len(self._waiting)} records wait already")
        partition = partition_of(key, partitions[topic])
        offset = self._ends.get((topic, partition), 0)
        self._ends[topic, partition] = offset + 1
        future: Future[Position] = Future()
        future.set_running_or_notify_cancel()
        self._waiting.append((len(self.appended), Position(partition, offset), future))
        self.appended.append((topic, key, value))
        if not self.hold:
            self.acknowledge()
        return future

    def acknowledge(self) -> None:
        """Settle what waits."""
        waiting, self._waiting = self._waiting, []
        for number, position, future in waiting:
            error = self.failure(number)
            if error is None:
                future.set_result(position)
            else:
                future.set_exception(error)

    def buffered(self) -> int:
        return len(self._waiting)

    def problem(self) -> str | None:
        return self.problem_now

    def flush(self, timeout: float) -> None:
        self.flushes += 1
        if self._waiting:
            raise LogTimeoutError(f"{len(self._waiting)} records still wait after {timeout:g} s")

    def close(self, timeout: float) -> None:
        self.acknowledge()
        self._closed = True
