"""Health of the online store, which decides whether the process is ready."""

from reprise.predictor.metrics import PredictorMetrics
from reprise.predictor.storage.circuit_breaker import CircuitBreakingReader
from reprise.runtime.logs import get_logger
from reprise.store.exceptions import StoreError

_log = get_logger(__name__)
_DOWN = "the online store does not answer"


class StoreHealth:
    """Pings the online store, and knows whether reads keep failing."""

    def __init__(self, reader: CircuitBreakingReader, metrics: PredictorMetrics) -> None:
        self._reader = reader
        self._ping_failure: str | None = "the online store has not answered yet"
        metrics.store_up.set_function(lambda: float(self.reason is None))

    @property
    def reason(self) -> str | None:
        """Why the process is unready, ``None`` while the store is healthy; a single failed read is no reason."""
        return _DOWN if self._ping_failure is None and self._reader.is_open else self._ping_failure

    async def check(self) -> None:
        """Ping once."""
        try:
            await self._reader.ping()
        except StoreError as error:
            if self._ping_failure is None:
                _log.warning("store_fails", error=type(error).__name__, reason=str(error))
            self._ping_failure = _DOWN
        else:
            if self._ping_failure is not None:
                _log.info("store_answers")
            self._ping_failure = None
