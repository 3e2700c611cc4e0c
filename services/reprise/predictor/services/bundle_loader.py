"""Bundles in memory by their digest, loaded off the event loop."""

import asyncio
import time
from collections.abc import Callable, Iterable

from reprise.bundle import BundleStore
from reprise.predictor.exceptions import ModelRefusedError
from reprise.predictor.models.loaded_model import ServedModel, make_ready, seconds_for_a_row
from reprise.runtime.logs import get_logger

_log = get_logger(__name__)
_RETRY_SECONDS = 5.0


class Shelf:
    """Holds the models that are wanted, and says of each why it is not there.

    Args:
        store: Where bundles are.
        project: The Feast project whose rows the models read.
        slowest: Longest that a model may take for one row, seconds.
        clock: Seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        store: BundleStore,
        project: str,
        slowest: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._project = project
        self._slowest = slowest
        self._clock = clock
        self._models: dict[str, ServedModel] = {}
        self._failures: dict[str, str] = {}
        self._retry_at: dict[str, float] = {}

    def model(self, digest: str) -> ServedModel | None:
        """Return a model that is loaded."""
        return self._models.get(digest)

    def failure(self, digest: str) -> str | None:
        """Return why a model could not be loaded, ``None`` where it is loaded or has not been tried."""
        return self._failures.get(digest)

    def may_try(self, digest: str) -> bool:
        """Return whether it is time to load a model, for the first time or again.

        What does not fit this predictor never will, since a bundle is what its digest says; a store may come back.
        """
        return self._clock() >= self._retry_at.get(digest, 0.0)

    async def load(self, digest: str) -> None:
        """Load a model on a thread of its own; a failure is kept."""
        try:
            model = await asyncio.to_thread(self._prepare, digest)
        except Exception as error:  # noqa: BLE001
            # The drivers of stores raise classes of their own; whatever it is, the other models go on.
            reason = f"{type(error).__name__}: {error}"
            if self._failures.get(digest) != reason:
                _log.warning("arm_not_loaded", digest=digest, reason=reason)
            self._failures[digest] = reason
            final = isinstance(error, ModelRefusedError)
            self._retry_at[digest] = float("inf") if final else self._clock() + _RETRY_SECONDS
        else:
            self._models[digest] = model
            self._failures.pop(digest, None)

    def put(self, model: ServedModel) -> None:
        """Take a model that was loaded elsewhere."""
        self._models[model.digest] = model
        self._failures.pop(model.digest, None)

    def keep_only(self, digests: Iterable[str]) -> None:
        """Forget all models and failures but these."""
        wanted = set(digests)
        self._models = {digest: model for digest, model in self._models.items() if digest in wanted}
        self._failures = {digest: why for digest, why in self._failures.items() if digest in wanted}
        self._retry_at = {digest: when for digest, when in self._retry_at.items() if digest in wanted}

    def _prepare(self, digest: str) -> ServedModel:
        served = make_ready(self._store.fetch(digest), self._project)
        # All arms answer on one event loop: what holds up the users of one holds up everybody.
        if (taken := seconds_for_a_row(served)) > self._slowest:
            raise ModelRefusedError(f"one row takes it {taken:.3g} s, and {self._slowest:g} s is the most")
        return served
