"""The configured model, which follows the bundle store while requests are served."""

import asyncio
import time
from datetime import UTC, datetime

from reprise.bundle import BundleNotFoundError
from reprise.predictor.exceptions import NoModelError
from reprise.predictor.metrics import PredictorMetrics
from reprise.predictor.models.api import RefusedModel
from reprise.predictor.models.loaded_model import LoadedModel
from reprise.predictor.services.bundle_loader import BundleLoader, LoadFailure
from reprise.predictor.settings import LATEST
from reprise.runtime.logs import get_logger

_log = get_logger(__name__)


class ConfiguredModel:
    """The model that ``MODEL_DIGEST`` names.

    A request takes ``current`` once and keeps it, so the exchange is a single assignment. A model that cannot be
    loaded leaves the old one in place.
    """

    def __init__(self, loader: BundleLoader, wanted: str, metrics: PredictorMetrics) -> None:
        self._loader = loader
        self._wanted = wanted
        self._metrics = metrics
        self.loaded: LoadedModel | None = None
        self.refusal: RefusedModel | None = None
        self._failures: dict[str, LoadFailure] = {}  # since a model was loaded

    @property
    def current(self) -> LoadedModel:
        """The loaded model; raises ``NoModelError`` if there is none yet."""
        if self.loaded is None:
            raise NoModelError(self.refusal.reason if self.refusal else "no model has been loaded yet")
        return self.loaded

    async def refresh(self) -> None:
        """Load the wanted model on a thread if it is not the loaded one."""
        digest = self._wanted
        try:
            if digest == LATEST:
                digest = await asyncio.to_thread(self._loader.latest)
            if (failure := self._failures.get(digest)) and time.monotonic() < failure.retry_at:
                return
            if self.loaded is None or digest != self.loaded.digest:
                model = await asyncio.to_thread(self._loader.load, digest)
                _log.info("model_loaded", digest=digest, instead_of=self.loaded and self.loaded.digest)
                self.loaded, self._failures = model, {}
                self._metrics.set_model(model.bundle, model.loaded_at)
            self.refusal = None
        except Exception as error:  # noqa: BLE001
            # Storage drivers raise classes of their own. Whatever it is, the old model stays.
            self._refuse(digest, error)
        self._metrics.set_refused_model(self.refusal.digest if self.refusal else None)

    def _refuse(self, digest: str, error: Exception) -> None:
        # A store may recover at any time.
        failure = LoadFailure.of(error, self._failures.get(digest), retry_seconds=0.0)
        self._failures[digest], reason = failure, failure.reason
        if self.refusal is None or (self.refusal.digest, self.refusal.reason) != (digest, reason):
            self.refusal = RefusedModel(digest=digest, reason=reason, at=datetime.now(UTC))
            event = "no_model_yet" if isinstance(error, BundleNotFoundError) else "model_refused"
            answering = self.loaded and self.loaded.digest
            _log.warning(event, digest=digest, reason=reason, still_answering=answering)
