"""Whether the online store answers."""

import asyncio

from reprise.predictor.metrics import PredictorMetrics
from reprise.predictor.storage.guarded_reader import GuardedReader
from reprise.runtime.logs import get_logger
from reprise.store.exceptions import StoreError

_log = get_logger(__name__)
_SILENT = "the online store does not answer"


class StoreWatch:
    """Asks the online store for a sign of life, and knows whether reads keep failing."""

    def __init__(self, store: GuardedReader, metrics: PredictorMetrics) -> None:
        self._store = store
        self._silent: str | None = "the online store has not answered yet"
        metrics.store_up.set_function(lambda: float(self.reason is None))

    @property
    def reason(self) -> str | None:
        """Why the process should not be sent requests; ``None`` while the store answers.

        A single read that fails is no reason: taking the process away would help nobody.
        """
        return _SILENT if self._silent is None and self._store.holds_off else self._silent

    async def ask(self) -> None:
        """Ask once."""
        try:
            await self._store.ping()
        except StoreError as error:
            if self._silent is None:
                _log.warning("store_fails", error=type(error).__name__, reason=str(error))
            self._silent = _SILENT
        else:
            if self._silent is not None:
                _log.info("store_answers")
            self._silent = None

    async def keep_asking(self, seconds: float) -> None:
        """Ask every so many seconds, until cancelled."""
        while True:
            await self.ask()
            await asyncio.sleep(seconds)
