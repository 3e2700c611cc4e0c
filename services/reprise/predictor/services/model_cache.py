"""The model that answers now, and how another takes its place."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from reprise.bundle import BundleNotFoundError, BundleStore
from reprise.predictor.exceptions import ModelRefusedError, NoModelError
from reprise.predictor.models.loaded_model import ServedModel, make_ready
from reprise.predictor.settings import LATEST
from reprise.runtime.logs import get_logger

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A model that was to be loaded and was not.

    Attributes:
        digest: Which, ``latest`` where not even that could be found out.
        reason: Why.
        at: When it was first refused.
    """

    digest: str
    reason: str
    at: datetime


class ModelHolder:
    """Holds the model that answers, and exchanges it while requests go on.

    A request takes ``current`` once and uses that one throughout, so the exchange is a single assignment.
    A model that cannot be fetched, or does not fit, leaves the old one in place.

    Args:
        store: Where bundles are.
        wanted: The digest to hold, or ``latest`` to follow the store's pointer.
        project: The Feast project whose rows the model reads.
        on_change: Called after every exchange and every refusal.
    """

    def __init__(
        self,
        store: BundleStore,
        wanted: str,
        project: str,
        on_change: Callable[["ModelHolder"], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._wanted = wanted
        self._project = project
        self._on_change = on_change
        self._current: ServedModel | None = None
        self.refusal: Refusal | None = None
        self._refused_for_good: str | None = None

    @property
    def loaded(self) -> ServedModel | None:
        """The model that answers, if there is one yet."""
        return self._current

    @property
    def current(self) -> ServedModel:
        """The model that answers.

        Raises:
            NoModelError: None has been loaded yet.
        """
        if self._current is None:
            raise NoModelError(self.refusal.reason if self.refusal else "no model has been loaded yet")
        return self._current

    async def refresh(self) -> None:
        """Look for the wanted model and exchange the one that answers if it is another.

        Fetching and preparing run on a thread of their own, so that requests go on.
        """
        digest = self._wanted
        try:
            if digest == LATEST:
                digest = await asyncio.to_thread(self._store.latest)
            if digest == self._refused_for_good:
                return
            if self._current is not None and digest == self._current.digest:
                self._withdraw_refusal()
                return
            served = await asyncio.to_thread(self._prepare, digest)
        except Exception as error:  # noqa: BLE001
            # The drivers of stores raise classes of their own; whatever it is, the old model goes on.
            self._refuse(digest, error)
        else:
            self._exchange(served)

    async def keep_fresh(self, seconds: float) -> None:
        """Refresh every so many seconds, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await self.refresh()

    def _prepare(self, digest: str) -> ServedModel:
        return make_ready(self._store.fetch(digest), self._project)

    def _exchange(self, served: ServedModel) -> None:
        before = self._current.digest if self._current else None
        self._current = served
        self.refusal = None
        self._refused_for_good = None
        _log.info("model_loaded", digest=served.digest, instead_of=before)
        self._on_change(self)

    def _refuse(self, digest: str, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        # A bundle is what its digest says, so one that does not fit never will; a store may come back.
        if isinstance(error, ModelRefusedError):
            self._refused_for_good = digest
        if self.refusal is None or (self.refusal.digest, self.refusal.reason) != (digest, reason):
            self.refusal = Refusal(digest, reason, datetime.now(UTC))
            event = "no_model_yet" if isinstance(error, BundleNotFoundError) else "model_refused"
            answering = self._current.digest if self._current else None
            _log.warning(event, digest=digest, reason=reason, still_answering=answering)
            self._on_change(self)

    def _withdraw_refusal(self) -> None:
        if self.refusal is not None:
            self.refusal = None
            self._on_change(self)
