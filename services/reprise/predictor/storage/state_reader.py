"""The reader of online state, behind a circuit breaker: requests fail at once while the store keeps failing."""

import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Protocol, Self, TypeVar

from reprise.predictor.exceptions import CircuitOpenError
from reprise.predictor.metrics import PredictorMetrics
from reprise.runtime.logs import get_logger
from reprise.store.exceptions import OnlineStoreError, StoreError
from reprise.store.feast.codec import ViewCodec
from reprise.store.reader import Ids, OnlineRow, RowBlock

_log = get_logger(__name__)
_Rows = TypeVar("_Rows")
_DOWN = "the online store does not answer"


class StateReader(Protocol):
    """The part of ``reprise.store.reader.OnlineReader`` that is used; it documents the errors."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def ping(self) -> None:
        """Return once the store responds."""

    async def read(
        self, rows: Sequence[tuple[ViewCodec, bytes]], deadline: float | None = None
    ) -> list[OnlineRow]:
        """Return the rows of these keys, in order, in one round trip, within ``deadline`` seconds."""

    async def read_blocks(
        self, blocks: Sequence[tuple[ViewCodec, Ids]], deadline: float | None = None
    ) -> list[RowBlock]:
        """Return the rows of several views, in one round trip, within ``deadline`` seconds."""


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
        """Admit a call, or raise ``CircuitOpenError`` if it is open and the next trial is not due."""
        if self._failures < self._limit:
            return
        now = self._clock()
        if now < self._trial_at:
            seconds = self._trial_at - now
            raise CircuitOpenError(f"the online store keeps failing; the next attempt is in {seconds:.3g} s")
        self._trial_at = now + self._open_seconds

    def record_success(self) -> None:
        """Close it."""
        self._failures = 0

    def record_failure(self) -> None:
        """Count a failure, which may open it."""
        self._failures += 1
        if self.is_open:
            self._trial_at = self._clock() + self._open_seconds

    def half_open(self) -> None:
        """Admit calls until the first failure, after a ping was answered: without requests nothing else closes it."""
        self._failures = min(self._failures, self._limit - 1)


class CircuitBreakingReader:
    """Reads behind a circuit breaker, and knows whether the store is healthy."""

    def __init__(self, store: StateReader, circuit: CircuitBreaker, metrics: PredictorMetrics) -> None:
        self._store = store
        self._circuit = circuit
        self._metrics = metrics
        self._ping_failure: str | None = "the online store has not answered yet"
        metrics.store_up.set_function(lambda: float(self.problem is None))

    @property
    def problem(self) -> str | None:
        """Why the process is unready, ``None`` while the store is healthy; a single failed read is no reason."""
        return _DOWN if self._ping_failure is None and self._circuit.is_open else self._ping_failure

    async def check(self) -> None:
        """Ping once, even while the circuit is open."""
        try:
            await self._store.ping()
        except StoreError as error:
            self._circuit.record_failure()
            if self._ping_failure is None:
                _log.warning("store_fails", error=type(error).__name__, reason=str(error))
            self._ping_failure = _DOWN
        else:
            self._circuit.half_open()
            if self._ping_failure is not None:
                _log.info("store_answers")
            self._ping_failure = None

    async def read(
        self, rows: Sequence[tuple[ViewCodec, bytes]], deadline: float | None = None
    ) -> list[OnlineRow]:
        """Return the rows of these keys.

        Raises:
            CircuitOpenError: The store keeps failing.
            OnlineStoreError: The read failed, or a row cannot be decoded.
        """
        self._circuit.admit()
        return await self._record(self._store.read(rows, deadline))

    async def read_blocks(
        self, blocks: Sequence[tuple[ViewCodec, Ids]], deadline: float | None = None
    ) -> list[RowBlock]:
        """Return the rows of several views; raises as ``read``."""
        self._circuit.admit()
        return await self._record(self._store.read_blocks(blocks, deadline))

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
