"""A circuit breaker around the online store, so that requests fail at once while it keeps failing."""

import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self, TypeVar

from reprise.predictor.exceptions import CircuitOpenError
from reprise.predictor.metrics import PredictorMetrics
from reprise.predictor.storage.state_reader import StateReader
from reprise.runtime.logs import get_logger
from reprise.store.exceptions import OnlineStoreError, StoreError
from reprise.store.feast.codec import ViewCodec
from reprise.store.reader import Ids, OnlineRow, RowBlock

_log = get_logger(__name__)
_Rows = TypeVar("_Rows")


class CircuitBreaker:
    """Opens after consecutive failures; while open it admits one trial per interval.

    A trial that never reports back blocks nothing: the next one is admitted when it is due. ``clock`` is monotonic, in
    seconds.
    """

    def __init__(
        self, failures: int, open_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = failures
        self._open_seconds = open_seconds
        self._clock = clock
        self._failures = 0
        self._trial_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether only trials are admitted."""
        return self._failures >= self._limit

    def admit(self) -> None:
        """Admit a call.

        Raises:
            CircuitOpenError: It is open, and the next trial is not due.
        """
        if self._failures < self._limit:
            return
        now = self._clock()
        if now < self._trial_at:
            raise CircuitOpenError(self._trial_at - now)
        self._trial_at = now + self._open_seconds

    def record_success(self) -> None:
        """Close it."""
        self._failures = 0

    def record_failure(self) -> None:
        """Count a failure, which may open it."""
        self._failures += 1
        if self._failures >= self._limit:
            self._trial_at = self._clock() + self._open_seconds

    def half_open(self) -> None:
        """Admit calls until the first failure, after a ping was answered.

        An open circuit makes the process unready. Without this, a process that gets no requests would stay open.
        """
        self._failures = min(self._failures, self._limit - 1)


class CircuitBreakingReader:
    """A :class:`StateReader` behind a circuit breaker."""

    def __init__(self, reader: StateReader, circuit: CircuitBreaker, metrics: PredictorMetrics) -> None:
        self._reader = reader
        self._circuit = circuit
        self._metrics = metrics

    async def __aenter__(self) -> Self:
        await self._reader.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._reader.__aexit__(kind, error, trace)

    @property
    def is_open(self) -> bool:
        """Whether the circuit is open."""
        return self._circuit.is_open

    async def ping(self) -> None:
        """Return once the store responds. The ping is sent even while the circuit is open.

        Raises:
            StoreError: The store does not respond in time, or refuses.
        """
        try:
            await self._reader.ping()
        except StoreError:
            self._circuit.record_failure()
            raise
        self._circuit.half_open()

    async def read(
        self, rows: Sequence[tuple[ViewCodec, bytes]], deadline: float | None = None
    ) -> list[OnlineRow]:
        """Return the rows of these keys.

        Raises:
            CircuitOpenError: The store keeps failing.
            OnlineStoreError: The read failed, or a row cannot be decoded.
        """
        self._circuit.admit()
        return await self._record(self._reader.read(rows, deadline))

    async def read_blocks(
        self, blocks: Sequence[tuple[ViewCodec, Ids]], deadline: float | None = None
    ) -> list[RowBlock]:
        """Return the rows of several views; raises as ``read``."""
        self._circuit.admit()
        return await self._record(self._reader.read_blocks(blocks, deadline))

    async def _record(self, read: Awaitable[_Rows]) -> _Rows:
        try:
            with self._metrics.online_store.timed():
                rows = await read
        except StoreError as error:
            was_open = self._circuit.is_open
            self._circuit.record_failure()
            if self._circuit.is_open and not was_open:
                _log.warning("store_held_off", error=type(error).__name__, reason=str(error))
            raise
        except OnlineStoreError:
            # The response cannot be decoded, but the store did respond.
            self._circuit.record_success()
            raise
        self._circuit.record_success()
        return rows
