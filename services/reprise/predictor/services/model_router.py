"""The model router: applies the published routing document, which says which model answers which user."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from reprise.predictor.exceptions import NoModelError
from reprise.predictor.metrics import ArmMetrics
from reprise.predictor.models.loaded_model import LoadedArm, LoadedModel, RoutingTable
from reprise.predictor.services.bundle_loader import RETRY_SECONDS, BundleLoader, LoadFailure
from reprise.predictor.services.configured_model import ConfiguredModel
from reprise.routing import (
    BASELINE,
    Arm,
    ArmReport,
    DistinctUsers,
    DocumentKeys,
    InvalidRoutingError,
    RoutingDocument,
    RoutingReport,
    assign,
    signature_key,
)
from reprise.runtime.logs import get_logger
from reprise.store.exceptions import StoreError

_log = get_logger(__name__)

FetchDocument = Callable[[str], Awaitable[bytes | None]]
"""Returns the document under a key of the online store, ``None`` if there is none; raises ``StoreError``."""


class ModelRouter:
    """Applies the published routing document as a whole, and reports what is applied.

    A document is applied once its baseline is loaded. The baseline answers the users of an arm that is not loaded.
    A document that breaks the format, or whose baseline cannot be loaded, is refused, and the previous one stays. With
    trusted keys so is one that none of them signed, or that is older than one before it.
    Without a document, or with one that releases the predictors, the configured model answers everybody. A model of
    an arm is refused if scoring a row takes longer than ``max_row_seconds``.
    """

    def __init__(
        self,
        configured: ConfiguredModel,
        loader: BundleLoader,
        max_row_seconds: float,
        fetch: FetchDocument,
        key: str,
        keys: DocumentKeys,
        metrics: ArmMetrics,
    ) -> None:
        self._configured = configured
        self._loader = loader
        self._max_row_seconds = max_row_seconds
        self._fetch = fetch
        self._key = key
        self._keys = keys
        self._metrics = metrics
        self._counted_users = DistinctUsers()
        self._data: bytes | None = None
        self._newest: RoutingDocument | None = None
        self._applied: RoutingDocument | None = None
        self._routed: RoutingTable | None = None
        self._unrouted: RoutingTable | None = None
        self._refused: str | None = None
        self._refused_baseline: str | None = None
        self._store_failed = False
        self._models: dict[str, LoadedModel] = {}
        self._failures: dict[str, LoadFailure] = {}
        self._loads: dict[str, asyncio.Task[None]] = {}
        self._loaded_digests: list[str] = []

    @property
    def table(self) -> RoutingTable:
        """Which arm answers which user; raises ``NoModelError`` if no model is loaded yet."""
        if self._routed is not None:
            return self._routed
        model = self._configured.current
        table = self._unrouted
        if table is None or table.baseline.model is not model:
            meter = self._metrics.meter(BASELINE, model.digest)
            table = self._unrouted = RoutingTable((LoadedArm(BASELINE, model, meter),))
            self._metrics.keep_only({(BASELINE, model.digest)})
        return table

    @property
    def baseline(self) -> LoadedModel | None:
        """The model of the baseline, if it is loaded."""
        try:
            return self.table.baseline.model
        except NoModelError:
            return None

    async def refresh(self) -> None:
        """Fetch the document, start to load its models, and apply it if its baseline is loaded."""
        try:
            await self._read()
            self._store_failed = False
        except StoreError as error:
            if not self._store_failed:
                _log.warning("routing_unread", reason=str(error))
            self._store_failed = True
        except InvalidRoutingError as error:
            self._store_failed = False
            self._refuse(str(error))
        if self._newest is not None:
            self._start_loads(self._newest)
            self._apply(self._newest)

    async def _read(self) -> None:
        data, signed = await self._fetch(self._key), self._keys.trusted is not None
        if data is None or data == self._data:
            if self._newest == self._applied:
                self._accept()
            return
        kind = RoutingDocument.KIND
        if signed:
            # What is refused here may be read before its signature, or before the file has a new key: it is read again.
            self._keys.verify(kind, self._key, data, await self._fetch(signature_key(self._key)))
        document, newest = RoutingDocument.from_bytes(data), self._newest
        if signed and newest is not None and document.generation < newest.generation:
            older = f"generation: {document.generation} is older than {newest.generation}"
            raise InvalidRoutingError(kind, [older])
        self._data, self._newest = data, document
        if document == self._applied:
            self._accept()

    async def wait_for_loads(self, seconds: float) -> None:
        """Return once no model is loading, after ``seconds`` seconds at most."""
        if self._loads:
            await asyncio.wait(list(self._loads.values()), timeout=seconds)

    def report(self) -> RoutingReport:
        """Return the applied document and the state of its arms."""
        applied = self._applied
        return RoutingReport(
            generation=applied.generation if applied else None,
            fingerprint=applied.fingerprint if applied else None,
            rollout=applied.rollout if applied else None,
            arms=tuple(self._report_arm(arm) for arm in applied.arms) if applied else (),
            refused=self._refused,
            refused_baseline=self._refused_baseline,
        )

    def _report_arm(self, arm: Arm) -> ArmReport:
        loaded, failure = arm.digest in self._models, self._failures.get(arm.digest)
        return ArmReport(
            **arm.model_dump(exclude={"buckets"}),
            state="loaded" if loaded else "failed" if failure and not failure.may_pass else "loading",
            reason=failure.reason if failure else None,
        )

    def _start_loads(self, document: RoutingDocument) -> None:
        configured = self._configured.loaded
        for digest in dict.fromkeys(arm.digest for arm in document.arms):
            if digest in self._models or digest in self._loads:
                continue
            failure = self._failures.get(digest)
            if configured is not None and configured.digest == digest:
                self._add(configured)
            elif failure is None or time.monotonic() >= failure.retry_at:
                # One task per model, so that a slow download of one does not delay the others.
                self._loads[digest] = asyncio.create_task(self._load(digest))

    async def _load(self, digest: str) -> None:
        try:
            self._add(await asyncio.to_thread(self._loader.load, digest, self._max_row_seconds))
        except Exception as error:  # noqa: BLE001
            # Storage drivers raise classes of their own. Whatever it is, the other models stay.
            before = self._failures.get(digest)
            failure = self._failures[digest] = LoadFailure.of(error, before, RETRY_SECONDS)
            if before is None or before.reason != failure.reason:
                _log.warning("arm_not_loaded", digest=digest, reason=failure.reason)
        finally:
            del self._loads[digest]
        if self._newest is not None:
            self._apply(self._newest)

    def _add(self, model: LoadedModel) -> None:
        self._models[model.digest] = model
        self._failures.pop(model.digest, None)

    def _apply(self, document: RoutingDocument) -> None:
        if not document.released and document.arms[0].digest not in self._models:
            failure = self._failures.get(document.arms[0].digest)
            if failure is not None and not failure.may_pass:
                reason = f"generation {document.generation}: the baseline cannot be loaded: {failure.reason}"
                self._refuse(reason, document.arms[0].digest)
            return
        digests = {arm.digest for arm in document.arms}
        loaded_digests = sorted(digests & self._models.keys())
        if document != self._applied:
            self._counted_users.reset()
            _log.info("routing_applied", generation=document.generation, rollout=document.rollout)
        elif loaded_digests == self._loaded_digests:
            return
        self._applied = document
        self._accept()
        self._loaded_digests = loaded_digests
        self._routed = None if document.released else self._build_table(document)
        self._unrouted = None
        self._models = {digest: self._models[digest] for digest in loaded_digests}
        self._failures = {digest: why for digest, why in self._failures.items() if digest in digests}
        self._metrics.keep_only({(arm.name, arm.digest) for arm in document.arms})
        for arm in document.arms:
            self._metrics.set_arm(arm.name, arm.digest, arm.weight, loaded=arm.digest in self._models)
        self._metrics.generation.set(document.generation)

    def _build_table(self, document: RoutingDocument) -> RoutingTable:
        index_of, is_new = assign(document), self._counted_users.is_new
        meters = [self._metrics.meter(arm.name, arm.digest) for arm in document.arms]

        def assign_and_count(user_id: str) -> int:
            index = index_of(user_id)
            if is_new(user_id):
                meters[index].users.inc()
            return index

        loaded = [
            LoadedArm(arm.name, self._models[arm.digest], meter) if arm.digest in self._models else None
            for arm, meter in zip(document.arms, meters, strict=True)
        ]
        baseline = loaded[0]
        assert baseline is not None
        shadows = (arm for planned, arm in zip(document.arms, loaded, strict=True) if planned.shadow and arm)
        return RoutingTable(tuple(arm or baseline for arm in loaded), assign_and_count, tuple(shadows))

    def _accept(self) -> None:
        self._refused = self._refused_baseline = None
        self._metrics.refused.set(0)

    def _refuse(self, reason: str, baseline: str | None = None) -> None:
        if reason != self._refused:
            _log.warning("routing_refused", reason=reason)
        self._refused, self._refused_baseline = reason, baseline
        self._metrics.refused.set(1)
