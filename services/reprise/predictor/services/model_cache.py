"""The models in memory: the configured one, which follows the bundle store, and those of a rollout's arms."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from reprise.bundle import BundleNotFoundError
from reprise.predictor.exceptions import ModelRefusedError, NoModelError
from reprise.predictor.models.loaded_model import LoadedModel
from reprise.predictor.services.bundle_loader import BundleLoader
from reprise.predictor.settings import LATEST
from reprise.runtime.logs import get_logger

_log = get_logger(__name__)
_RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A model that could not be loaded; its digest is ``latest`` if the store's pointer could not be read."""

    digest: str
    reason: str
    at: datetime


class ConfiguredModel:
    """The model that ``MODEL_DIGEST`` names; it is replaced while requests are served.

    A request takes ``current`` once and keeps it, so the exchange is a single assignment. A model that cannot be
    loaded leaves the old one in place. ``on_change`` is called after every exchange and every refusal.
    """

    def __init__(
        self,
        loader: BundleLoader,
        wanted: str,
        on_change: Callable[["ConfiguredModel"], None] = lambda _: None,
    ) -> None:
        self._loader = loader
        self._wanted = wanted
        self._on_change = on_change
        self.loaded: LoadedModel | None = None
        self.refusal: Refusal | None = None
        self._refused_forever: str | None = None

    @property
    def current(self) -> LoadedModel:
        """The loaded model.

        Raises:
            NoModelError: No model is loaded yet.
        """
        if self.loaded is None:
            raise NoModelError(self.refusal.reason if self.refusal else "no model has been loaded yet")
        return self.loaded

    async def refresh(self) -> None:
        """Load the wanted model on a thread if it is not the loaded one."""
        digest = self._wanted
        try:
            if digest == LATEST:
                digest = await asyncio.to_thread(self._loader.latest)
            if digest == self._refused_forever:
                return
            if self.loaded is not None and digest == self.loaded.digest:
                if self.refusal is not None:
                    self.refusal = None
                    self._on_change(self)
                return
            model = await asyncio.to_thread(self._loader.load, digest)
        except Exception as error:  # noqa: BLE001
            # Storage drivers raise classes of their own. Whatever it is, the old model stays.
            self._refuse(digest, error)
        else:
            self._replace(model)

    def _replace(self, model: LoadedModel) -> None:
        _log.info("model_loaded", digest=model.digest, instead_of=self.loaded and self.loaded.digest)
        self.loaded = model
        self.refusal = self._refused_forever = None
        self._on_change(self)

    def _refuse(self, digest: str, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        # A digest fixes the content of its bundle, so one that does not fit never will. A store may recover.
        if isinstance(error, ModelRefusedError):
            self._refused_forever = digest
        if self.refusal is None or (self.refusal.digest, self.refusal.reason) != (digest, reason):
            self.refusal = Refusal(digest, reason, datetime.now(UTC))
            event = "no_model_yet" if isinstance(error, BundleNotFoundError) else "model_refused"
            answering = self.loaded and self.loaded.digest
            _log.warning(event, digest=digest, reason=reason, still_answering=answering)
            self._on_change(self)


class ModelCache:
    """The models of a rollout's arms by digest, and why the others could not be loaded.

    ``clock`` is monotonic, in seconds.
    """

    def __init__(
        self, loader: BundleLoader, max_row_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._loader = loader
        self._max_row_seconds = max_row_seconds
        self._clock = clock
        self._models: dict[str, LoadedModel] = {}
        self._failures: dict[str, str] = {}
        self._retry_at: dict[str, float] = {}

    def get(self, digest: str) -> LoadedModel | None:
        """Return a model if it is loaded."""
        return self._models.get(digest)

    def failure(self, digest: str) -> str | None:
        """Return why the last attempt to load a model failed, if it did."""
        return self._failures.get(digest)

    def is_due(self, digest: str) -> bool:
        """Return whether to try to load a model now; one that does not fit is never tried again."""
        return self._clock() >= self._retry_at.get(digest, 0.0)

    async def load(self, digest: str) -> None:
        """Load a model on a thread; a failure is kept."""
        try:
            model = await asyncio.to_thread(self._loader.load, digest, self._max_row_seconds)
        except Exception as error:  # noqa: BLE001
            # Storage drivers raise classes of their own. Whatever it is, the other models stay.
            reason = f"{type(error).__name__}: {error}"
            if self._failures.get(digest) != reason:
                _log.warning("arm_not_loaded", digest=digest, reason=reason)
            self._failures[digest] = reason
            final = isinstance(error, ModelRefusedError)
            self._retry_at[digest] = float("inf") if final else self._clock() + _RETRY_SECONDS
        else:
            self.put(model)

    def put(self, model: LoadedModel) -> None:
        """Add a model that is already loaded."""
        self._models[model.digest] = model
        self._failures.pop(model.digest, None)

    def keep_only(self, digests: Iterable[str]) -> None:
        """Drop all models and failures but these."""
        kept = set(digests)
        self._models = {digest: model for digest, model in self._models.items() if digest in kept}
        self._failures = {digest: reason for digest, reason in self._failures.items() if digest in kept}
        self._retry_at = {digest: at for digest, at in self._retry_at.items() if digest in kept}
