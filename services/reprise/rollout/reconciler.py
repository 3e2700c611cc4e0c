"""One reconciliation of one rollout: observe, decide, write."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

from reprise.rollout.clients.kubernetes import KubernetesApi, Resource
from reprise.rollout.clients.predictors import PredictorClient
from reprise.rollout.clients.prometheus import MeasurementQuery, MetricsProvider
from reprise.rollout.exceptions import ClusterError, InvalidResourceError, MetricsError
from reprise.rollout.metrics import RolloutMetrics
from reprise.rollout.resource.spec import RolloutSpec, seconds
from reprise.rollout.resource.status import RolloutStatus
from reprise.rollout.state_machine.candidate import analysis_due
from reprise.rollout.state_machine.conditions import failed_status
from reprise.rollout.state_machine.decision import Decision, decide
from reprise.rollout.state_machine.observed_state import Measurement, ObservedState
from reprise.routing import BASELINE, InvalidRoutingError, RolloutEvidence, RoutingDocument
from reprise.runtime.logs import get_logger
from reprise.store.exceptions import StoreError

_log = get_logger(__name__)
_RELEASE_EXPIRES = timedelta(minutes=10)


class RoutingStore(Protocol):
    """The documents in Redis that a reconciliation needs."""

    def document(self) -> RoutingDocument | None:
        """Return the published routing document, ``None`` if there is none."""

    def publish_document(self, document: RoutingDocument, expires: timedelta | None = None) -> None:
        """Replace the routing document."""

    def evidence(self) -> RolloutEvidence | None:
        """Return the newest evidence, ``None`` if there is none."""


@dataclass(frozen=True, slots=True)
class OperatorContext:
    """What a reconciliation reads and writes.

    Attributes:
        kubernetes: The Kubernetes API.
        store: The routing document and the evidence.
        predictors: Reports what each predictor has applied.
        metrics_provider: Measures the arms.
        clock: Returns the time, with a time zone.
        dry_run: Whether to write nothing.
    """

    kubernetes: KubernetesApi
    store: RoutingStore
    predictors: PredictorClient
    metrics_provider: MetricsProvider
    clock: Callable[[], datetime]
    dry_run: bool = False


class ReconcileResult(Enum):
    """What a reconciliation found."""

    SETTLED = "settled"
    """Every predictor has loaded and applied everything."""
    UNSETTLED = "unsettled"
    """A predictor has yet to load or apply something."""
    GONE = "gone"
    """The resource does not exist any more."""


class Reconciler:
    """Brings routing in line with the resources, and the resources' status in line with what is observed.

    It has no state of its own. The status is written before the document is published, and the document follows from
    the status alone: after a crash in between, the next reconciliation publishes the same document.
    """

    def __init__(self, context: OperatorContext, metrics: RolloutMetrics) -> None:
        self._context = context
        self._metrics = metrics

    def reconcile(self, namespace: str, name: str) -> ReconcileResult:
        """Observe one rollout, and write what is decided.

        Raises:
            ClusterError: The API server is unavailable or refuses, or another client wrote the resource meanwhile.
            StoreError: Redis is unavailable, or refuses.
        """
        resource = self._context.kubernetes.rollout(namespace, name)
        if resource is None or resource.deleting:
            self.release(namespace, name)
            return ReconcileResult.GONE
        try:
            spec, status = RolloutSpec.parse(resource.spec), RolloutStatus.parse(resource.status)
        except InvalidResourceError as error:
            self._reject(resource, str(error))
            return ReconcileResult.SETTLED
        observed = self._observe(resource, spec, status)
        decision = decide(spec, status, observed, self._context.clock())
        self._write(resource, status, observed, decision)
        self._metrics.show(resource.key, decision.status, decision.document)
        return ReconcileResult.SETTLED if _is_settled(decision.status) else ReconcileResult.UNSETTLED

    def release(self, namespace: str, name: str) -> None:
        """Release the predictors, if they follow a rollout that does not exist any more.

        Raises:
            StoreError: Redis is unavailable, or refuses.
        """
        key = f"{namespace}/{name}"
        self._metrics.forget(key)
        published = self._published()
        if published is None or published.rollout != key or published.released:
            return
        generation, dry_run = published.generation + 1, self._context.dry_run
        document = RoutingDocument(generation=generation, rollout=key, salt=published.salt, arms=())
        _log.info("released", rollout=key, generation=generation, dry_run=dry_run)
        if not dry_run:
            self._context.store.publish_document(document, expires=_RELEASE_EXPIRES)

    def sweep(self) -> None:
        """Release the predictors from a rollout that was deleted while no operator ran.

        Raises:
            ClusterError: The API server is unavailable, or refuses.
            StoreError: Redis is unavailable, or refuses.
        """
        published = self._published()
        if published is None or published.released:
            return
        namespace, _, name = published.rollout.partition("/")
        if self._context.kubernetes.rollout(namespace, name) is None:
            self.release(namespace, name)

    def _observe(self, resource: Resource, spec: RolloutSpec, status: RolloutStatus) -> ObservedState:
        published = self._published()
        return ObservedState(
            rollout=resource.key,
            generation=resource.generation,
            annotations=resource.annotations,
            published=published,
            pods=self._context.predictors.get_reports(self._context.kubernetes.pods()),
            measurements=self._measurements(spec, status),
            evidence=self._evidence(),
            rival=self._rival(resource, published),
        )

    def _published(self) -> RoutingDocument | None:
        try:
            return self._context.store.document()
        except InvalidRoutingError:
            # Predictors refuse it as well, and it is about to be replaced.
            return None

    def _evidence(self) -> RolloutEvidence | None:
        try:
            return self._context.store.evidence()
        except (StoreError, InvalidRoutingError) as error:
            # Evidence only promotes by rule or adds a reason to roll back: without it every candidate holds.
            _log.warning("evidence_unreadable", reason=str(error))
            return None

    def _rival(self, resource: Resource, published: RoutingDocument | None) -> str | None:
        if published is None or published.released or published.rollout == resource.key:
            return None
        namespace, _, name = published.rollout.partition("/")
        other = self._context.kubernetes.rollout(namespace, name)
        return published.rollout if other is not None and not other.deleting else None

    def _measurements(self, spec: RolloutSpec, status: RolloutStatus) -> dict[str, Measurement | None]:
        measurements: dict[str, Measurement | None] = {}
        now = self._context.clock()
        for candidate in spec.candidates:
            known = status.candidate(candidate.name, candidate.digest)
            if status.baseline is None or not analysis_due(candidate, known, spec, now):
                continue
            query = MeasurementQuery(
                candidate=(candidate.name, candidate.digest),
                baseline=(BASELINE, status.baseline.digest),
                window=seconds(spec.analysis.window),
                users_window=_users_window(spec, status, now),
            )
            try:
                measurements[candidate.name] = self._context.metrics_provider.measure(query)
            except MetricsError as error:
                _log.warning("no_measurement", candidate=candidate.name, reason=str(error))
                measurements[candidate.name] = None
        return measurements

    def _write(
        self, resource: Resource, before: RolloutStatus, observed: ObservedState, decision: Decision
    ) -> None:
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
        if decision.document is not None and observed.published != decision.document:
            self._context.store.publish_document(decision.document)
        new_entries = tuple(entry for entry in status.history if entry not in before.history)
        self._metrics.count(resource.key, new_entries)
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


def _users_window(spec: RolloutSpec, status: RolloutStatus, now: datetime) -> timedelta | None:
    """Return the time since every user is assigned by the present weights, ``None`` below the analysis window."""
    since = status.routing.acknowledged_time if status.routing is not None else None
    if since is None or now - since < seconds(spec.analysis.window):
        return None
    return now - since


def _is_settled(status: RolloutStatus) -> bool:
    all_acknowledged = status.pods.acknowledged >= status.pods.total
    return all_acknowledged and all(candidate.phase != "Loading" for candidate in status.candidates)
