"""Whether the online store answers."""

import asyncio

from reprise_online.exceptions import StoreError
from reprise_runtime.logs import get_logger

from reprise_predictor.metrics import PredictorMetrics
from reprise_predictor.reader import StateReader

_log = get_logger(__name__)


class StoreWatch:
    """Asks the online store for a sign of life, and hears of reads that failed.

    Attributes:
        reason: Why the process should not be sent requests; ``None`` while the store answers.
    """

    def __init__(self, store: StateReader, metrics: PredictorMetrics) -> None:
        self._store = store
        self._metrics = metrics
        self.reason: str | None = "the online store has not answered yet"

    async def ask(self) -> None:
        """Ask once."""
        try:
            await self._store.ping()
        except StoreError as error:
            self.failed(error)
        else:
            if self.reason is not None:
                _log.info("store_answers")
            self.reason = None
            self._metrics.store_up.set(1)

    def failed(self, error: StoreError) -> None:
        """Hear of a read that failed."""
        if self.reason is None:
            _log.warning("store_fails", error=type(error).__name__, reason=str(error))
        self.reason = "the online store does not answer"
        self._metrics.store_up.set(0)

    async def keep_asking(self, seconds: float) -> None:
        """Ask every so many seconds, until cancelled."""
        while True:
            await self.ask()
            await asyncio.sleep(seconds)
