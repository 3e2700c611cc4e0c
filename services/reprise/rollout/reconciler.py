"""One reconciliation of one rollout: parse, observe, decide, apply."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from reprise.bundle import BundleError, BundleStore, UntrustedBundleError
from reprise.rollout.clients.kubernetes import KubernetesClient, Pod, Resource
from reprise.rollout.clients.prometheus import MeasurementQuery
from reprise.rollout.exceptions import ClusterError, InvalidResourceError, MetricsError
from reprise.rollout.metrics import RolloutMetrics
from reprise.rollout.resource.spec import RolloutSpec
from reprise.rollout.resource.status import RolloutStatus
from reprise.rollout.state_machine.candidate import ACTIVE_PHASES, analysis_due
from reprise.rollout.state_machine.conditions import failed_status
from reprise.rollout.state_machine.decision import Decision, decide
from reprise.rollout.state_machine.observed_state import Measurement, ObservedState, PodReport
from reprise.routing import BASELINE, InvalidRoutingError, RolloutEvidence, RoutingDocument
from reprise.routing.store import RoutingStore
from reprise.runtime.durations import parse_duration
from reprise.runtime.logs import get_logger
from reprise.runtime.storage import StorageError
from reprise.store.exceptions import StoreError

_log = get_logger(__name__)
_RELEASE_EXPIRES = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class OperatorContext:
    """What a reconciliation reads and writes; nothing is written in a dry run.

    ``get_reports`` returns what each predictor has applied, ``measure`` measures a candidate beside the baseline or
    raises ``MetricsError``, ``clock`` returns the time with a time zone. ``models`` is the model store, if configured.
    """

    kubernetes: KubernetesClient
    store: RoutingStore
    get_reports: Callable[[Sequence[Pod]], tuple[PodReport, ...]]
    measure: Callable[[MeasurementQuery], Measurement]
    clock: Callable[[], datetime]
    models: BundleStore | None = None
    dry_run: bool = False


class Reconciler:
    """Brings routing in line with the resources, and the resources' status in line with what is observed.

    The status is written before the document is published, and the document follows from the status alone: after a
    crash in between, the next reconciliation publishes the same document. What is kept in memory only saves reads and
    writes of the model store.

    Every method raises ``ClusterError`` if the API server is unavailable or refuses, ``StoreError`` if Redis does, and
    ``InvalidKeyFileError`` if the private key has become unreadable.
    """

    def __init__(self, context: OperatorContext, metrics: RolloutMetrics) -> None:
        self._context = context
        self._metrics = metrics
        self._trusted: set[str] = set()
        self._latest: str | None = None

    def rollouts(self) -> tuple[Resource, ...]:
        """Return all rollouts that are not being deleted."""
        return tuple(resource for resource in self._context.kubernetes.rollouts() if not resource.deleting)

    def release_deleted(self, rollouts: Sequence[Resource]) -> None:
        """Release the predictors if they follow a rollout that does not exist any more."""
        keys = {resource.key for resource in rollouts}
        self._metrics.retain(keys)
        published = self._published()
        if published is None or published.released or published.rollout in keys or self._exists(published):
            return
        generation, dry_run = published.generation + 1, self._context.dry_run
        document = published.model_copy(update={"generation": generation, "arms": ()})
        _log.info("released", rollout=published.rollout, generation=generation, dry_run=dry_run)
        if not dry_run:
            self._context.store.publish_document(document, expires=_RELEASE_EXPIRES)

    def reconcile(self, resource: Resource) -> bool:
        """Observe one rollout, and write what is decided; return whether every predictor has applied everything.

        Raises:
            ConflictError: Another client has written the resource meanwhile.
            BundleError: The model store has no such bundle, or no trusted one.
            StorageError: The model store is unavailable.
        """
        try:
            spec, status = RolloutSpec.parse(resource.spec), RolloutStatus.parse(resource.status)
        except InvalidResourceError as error:
            self._reject(resource, str(error))
            return True
        observed = self._observe(resource, spec, status)
        decision = decide(spec, status, observed, self._context.clock())
        self._apply(resource, status, decision)
        self._metrics.show(resource.key, decision.status, decision.document)
        if observed.rival is None:
            self._follow_baseline(decision.status)
        pods, candidates = decision.status.pods, decision.status.candidates
        return pods.acknowledged >= pods.total and all(each.phase != "Loading" for each in candidates)

    def _observe(self, resource: Resource, spec: RolloutSpec, status: RolloutStatus) -> ObservedState:
        published = self._published()
        return ObservedState(
            rollout=resource.key,
            generation=resource.generation,
            annotations=resource.annotations,
            published=published,
            pods=self._context.get_reports(self._context.kubernetes.pods()),
            measurements=self._measurements(spec, status),
            evidence=self._evidence(),
            rival=self._rival(resource, status, published),
            untrusted=self._untrusted(status),
        )

    def _rival(
        self, resource: Resource, status: RolloutStatus, published: RoutingDocument | None
    ) -> str | None:
        if published is not None:
            other = published.rollout != resource.key and self._exists(published)
            return published.rollout if other else None
        if status.routing is not None:
            return None
        # The document is lost or cannot be verified: the predictors are of the rollout that has routed them.
        others = (other for other in self.rollouts() if other.key != resource.key)
        return next((other.key for other in others if (other.status or {}).get("routing")), None)

    def _untrusted(self, status: RolloutStatus) -> dict[str, str]:
        untrusted: dict[str, str] = {}
        models = self._context.models
        if models is None:
            return untrusted
        active = {each.digest for each in status.candidates if each.phase in ACTIVE_PHASES}
        for digest in active - self._trusted:
            try:
                models.verify(digest)
            except UntrustedBundleError as error:
                untrusted[digest] = str(error)
            except (BundleError, StorageError) as error:
                # Predictors report it as well, and a store that is away for a moment is no reason to roll back.
                _log.warning("bundle_unverified", digest=digest, reason=str(error))
            else:
                self._trusted.add(digest)
        return untrusted

    def _follow_baseline(self, status: RolloutStatus) -> None:
        """Make the baseline the store's latest after a promotion, and once again when the operator starts.

        So predictors serve the same model without the rollout, and a new cluster does.
        """
        models, baseline = self._context.models, status.baseline
        if models is None or baseline is None or status.last_promoted_digest is None or self._context.dry_run:
            return
        if baseline.digest != self._latest:
            models.set_latest(baseline.digest)
            self._latest = baseline.digest
            _log.info("latest_set", digest=baseline.digest)

    def _published(self) -> RoutingDocument | None:
        try:
            return self._context.store.document()
        except InvalidRoutingError:
            # Predictors refuse it as well, and the rollout that they follow is about to replace it.
            return None

    def _exists(self, published: RoutingDocument) -> bool:
        if published.released:
            return False
        namespace, _, name = published.rollout.partition("/")
        found = self._context.kubernetes.rollout(namespace, name)
        return found is not None and not found.deleting

    def _evidence(self) -> RolloutEvidence | None:
        try:
            return self._context.store.evidence()
        except (StoreError, InvalidRoutingError) as error:
            # Evidence only promotes by rule or adds a reason to roll back: without it every candidate holds.
            _log.warning("evidence_unreadable", reason=str(error))
            return None

    def _measurements(self, spec: RolloutSpec, status: RolloutStatus) -> dict[str, Measurement | None]:
        measurements: dict[str, Measurement | None] = {}
        now, window = self._context.clock(), parse_duration(spec.analysis.window)
        # Users are counted since every one of them is assigned by the present weights.
        since = status.routing.acknowledged_time if status.routing is not None else None
        users_window = now - since if since is not None and now - since >= window else None
        for candidate in spec.candidates:
            known = status.candidate(candidate.name, candidate.digest)
            if status.baseline is None or not analysis_due(known, spec, now):
                continue
            arms = (candidate.name, candidate.digest), (BASELINE, status.baseline.digest)
            try:
                measured = self._context.measure(MeasurementQuery(*arms, window, users_window))
            except MetricsError as error:
                _log.warning("no_measurement", candidate=candidate.name, reason=str(error))
                measured = None
            measurements[candidate.name] = measured
        return measurements

    def _apply(self, resource: Resource, before: RolloutStatus, decision: Decision) -> None:
        kubernetes, dry_run = self._context.kubernetes, self._context.dry_run
        for event in decision.events:
            _log.info(
                "decided", rollout=resource.key, reason=event.reason, message=event.message, dry_run=dry_run
            )
        if dry_run:
            return
        status = decision.status
        if changed := status != before:
            kubernetes.write_status(resource, status.as_json())
        store = self._context.store
        if decision.document is not None and not store.is_published(decision.document):
            store.publish_document(decision.document)
        self._metrics.count(resource.key, [entry for entry in status.history if entry not in before.history])
        for event in decision.events:
            try:
                kubernetes.emit_event(resource, event)
            except ClusterError as error:
                # The status has it too; a lost event must not delay a rollback.
                _log.warning("event_lost", rollout=resource.key, reason=event.reason, error=str(error))
        if decision.remove_annotations:
            kubernetes.remove_annotations(resource, decision.remove_annotations)
        self._metrics.reconciliations.labels("changed" if changed else "unchanged").inc()

    def _reject(self, resource: Resource, problem: str) -> None:
        _log.error("invalid_resource", rollout=resource.key, problem=problem)
        try:
            before = RolloutStatus.parse(resource.status)
        except InvalidResourceError:
            # An unreadable status is left for a person to inspect.
            return
        status = failed_status(before, resource.generation, "Invalid", problem, self._context.clock())
        if status != before and not self._context.dry_run:
            self._context.kubernetes.write_status(resource, status.as_json())
