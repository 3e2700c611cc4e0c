"""Which models answer whom: the routing document, as it is applied here."""

import asyncio
from collections.abc import Awaitable, Callable

from reprise.predictor.arm_metrics import ArmMetrics
from reprise.predictor.exceptions import NoModelError
from reprise.predictor.models.arms import Assignment, Routes, ServedArm, only
from reprise.predictor.models.loaded_model import ServedModel
from reprise.predictor.services.bundle_loader import Shelf
from reprise.predictor.services.model_cache import ModelHolder
from reprise.routing import (
    BASELINE,
    Arm,
    ArmReport,
    InvalidRoutingError,
    RoutingDocument,
    RoutingReport,
    assign,
)
from reprise.routing.distinct_users import SeenUsers
from reprise.runtime.logs import get_logger
from reprise.store.exceptions import StoreError

_log = get_logger(__name__)

Source = Callable[[], Awaitable[bytes | None]]
"""Brings the routing document that is published, ``None`` where there is none; raises ``StoreError``."""


class Routing:
    """Applies the routing document that is published, all of it at once, and reports what is applied.

    A document is applied as soon as its baseline is loaded. The users of an arm that is not loaded, or cannot be,
    are answered by the baseline. One that breaks its format, or whose baseline cannot be loaded, is refused, and
    what was applied before goes on. Without a document, or with one that releases the predictors, the model that
    is configured answers everybody.

    Args:
        models: The model that is configured.
        shelf: Holds the models of the arms.
        source: Brings the document.
        metrics: Where arms are measured.
    """

    def __init__(self, models: ModelHolder, shelf: Shelf, source: Source, metrics: ArmMetrics) -> None:
        self._models = models
        self._shelf = shelf
        self._source = source
        self._metrics = metrics
        self._seen = SeenUsers()
        self._read: bytes | None = None
        self._newest: RoutingDocument | None = None
        self._applied: RoutingDocument | None = None
        self._routes: Routes | None = None
        self._configured: Routes | None = None
        self._refused: str | None = None
        self._away = False
        self._served_digests: tuple[str, ...] = ()
        self._loading: dict[str, asyncio.Task[None]] = {}

    @property
    def current(self) -> Routes:
        """Who is answered by which arm.

        Raises:
            NoModelError: There is no model yet.
        """
        if self._routes is not None:
            return self._routes
        model = self._models.current
        routes = self._configured
        if routes is None or routes.baseline.model is not model:
            routes = self._configured = only(model, self._metrics.meter(BASELINE, model.digest))
            self._metrics.keep_only({(BASELINE, model.digest)})
        return routes

    @property
    def baseline(self) -> ServedModel | None:
        """The model that answers wherever no other does, if there is one yet."""
        try:
            return self.current.baseline.model
        except NoModelError:
            return None

    async def refresh(self) -> None:
        """Look at what is published, begin to load what is not loaded, and apply what can be."""
        try:
            data = await self._source()
        except StoreError as error:
            if not self._away:
                _log.warning("routing_unread", reason=str(error))
            self._away = True
        else:
            self._away = False
            if data is not None and data != self._read:
                self._read = data
                self._take(data)
        if self._newest is not None:
            self._begin_to_load(self._newest)
            self._apply(self._newest)

    async def settle(self, seconds: float) -> None:
        """Return once nothing is loading any more, after so many seconds at most."""
        if self._loading:
            await asyncio.wait(list(self._loading.values()), timeout=seconds)

    async def keep_fresh(self, seconds: float) -> None:
        """Refresh every so many seconds, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await self.refresh()

    def report(self) -> RoutingReport:
        """Return what is applied, and how each arm stands."""
        applied = self._applied
        return RoutingReport(
            generation=applied.generation if applied else None,
            fingerprint=applied.fingerprint if applied else None,
            rollout=applied.rollout if applied else None,
            arms=tuple(self._report_of(arm) for arm in applied.arms) if applied else (),
            refused=self._refused,
        )

    def _take(self, data: bytes) -> None:
        try:
            self._newest = RoutingDocument.from_bytes(data)
        except InvalidRoutingError as error:
            self._refuse(str(error))

    def _begin_to_load(self, document: RoutingDocument) -> None:
        configured = self._models.loaded
        for digest in dict.fromkeys(arm.digest for arm in document.arms):
            if self._shelf.model(digest) is not None or digest in self._loading:
                continue
            if configured is not None and configured.digest == digest:
                self._shelf.put(configured)
            elif self._shelf.may_try(digest):
                self._loading[digest] = asyncio.create_task(self._load(digest))

    async def _load(self, digest: str) -> None:
        # Each on its own, so that none waits for a store that is slow about another.
        try:
            await self._shelf.load(digest)
        finally:
            del self._loading[digest]
        if self._newest is not None:
            self._apply(self._newest)

    def _apply(self, document: RoutingDocument) -> None:
        """Exchange all routes at once, where anything differs from those that are there."""
        if not document.released:
            baseline = document.arms[0].digest
            if self._shelf.model(baseline) is None:
                if (failure := self._shelf.failure(baseline)) is not None:
                    self._refuse(
                        f"generation {document.generation}: the baseline cannot be loaded: {failure}"
                    )
                return
        if document != self._applied:
            self._seen.reset()
            _log.info("routing_applied", generation=document.generation, rollout=document.rollout)
        elif self._models_of(document) == self._served_digests:
            return
        self._applied, self._refused = document, None
        self._served_digests = self._models_of(document)
        self._routes = None if document.released else self._routes_of(document)
        self._show(document)

    def _models_of(self, document: RoutingDocument) -> tuple[str, ...]:
        return tuple(arm.digest for arm in document.arms if self._shelf.model(arm.digest) is not None)

    def _routes_of(self, document: RoutingDocument) -> Routes:
        served = [self._served(arm) for arm in document.arms]
        baseline = served[0]
        assert baseline is not None
        return Routes(
            arms=tuple(baseline if arm is None else arm for arm in served),
            assignment=Assignment(
                assign(document),
                self._seen,
                tuple(self._metrics.meter(arm.name, arm.digest).users for arm in document.arms),
            ),
            shadows=tuple(
                served_arm
                for arm, served_arm in zip(document.arms, served, strict=True)
                if arm.shadow and served_arm is not None
            ),
        )

    def _served(self, arm: Arm) -> ServedArm | None:
        model = self._shelf.model(arm.digest)
        if model is None:
            return None
        return ServedArm(arm.name, model, self._metrics.meter(arm.name, arm.digest))

    def _show(self, document: RoutingDocument) -> None:
        self._configured = None
        self._shelf.keep_only(arm.digest for arm in document.arms)
        self._metrics.keep_only({(arm.name, arm.digest) for arm in document.arms})
        for arm in document.arms:
            loaded = self._shelf.model(arm.digest) is not None
            self._metrics.show(arm.name, arm.digest, arm.weight, loaded=loaded)
        self._metrics.generation.set(document.generation)
        self._metrics.refused.set(0)

    def _refuse(self, reason: str) -> None:
        if reason != self._refused:
            _log.warning("routing_refused", reason=reason)
        self._refused = reason
        self._metrics.refused.set(1)

    def _report_of(self, arm: Arm) -> ArmReport:
        failure = self._shelf.failure(arm.digest)
        loaded = self._shelf.model(arm.digest) is not None
        return ArmReport(
            name=arm.name,
            digest=arm.digest,
            weight=arm.weight,
            shadow=arm.shadow,
            state="loaded" if loaded else "failed" if failure else "loading",
            reason=None if loaded else failure,
        )
