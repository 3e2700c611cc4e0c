"""One look at one rollout: see, decide, write."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

from reprise.rollout.clients.kubernetes import Cluster, Resource
from reprise.rollout.clients.predictors import Predictors
from reprise.rollout.clients.prometheus import MetricsProvider, Question
from reprise.rollout.exceptions import ClusterError, InvalidResourceError, MetricsError
from reprise.rollout.metrics import RolloutMetrics
from reprise.rollout.resource.events import Note
from reprise.rollout.resource.spec import RolloutSpec, seconds
from reprise.rollout.resource.status import HistoryEntry, RolloutStatus
from reprise.rollout.state_machine.candidate import analysis_due
from reprise.rollout.state_machine.conditions import stopped
from reprise.rollout.state_machine.decision import Decision, decide
from reprise.rollout.state_machine.observed_state import Measurement, Observation
from reprise.routing import BASELINE, InvalidRoutingError, RolloutEvidence, RoutingDocument
from reprise.runtime.logs import get_logger
from reprise.store.exceptions import StoreError

_log = get_logger(__name__)
_RELEASE_LASTS = timedelta(minutes=10)


class RoutingStore(Protocol):
    """The documents of the online store that a reconciliation needs."""

    def document(self) -> RoutingDocument | None:
        """Return the published routing document, ``None`` if there is none."""

    def publish_document(self, document: RoutingDocument, expires: timedelta | None = None) -> None:
        """Replace the routing document."""

    def evidence(self) -> RolloutEvidence | None:
        """Return the newest evidence, ``None`` if there is none."""


@dataclass(frozen=True, slots=True)
class World:
    """Everything outside that a reconciliation touches.

    Attributes:
        cluster: The Kubernetes API.
        store: Where the routing document is.
        predictors: Who applies it.
        provider: Who measures.
        clock: The time, with a time zone.
        dry_run: Whether nothing may be written.
    """

    cluster: Cluster
    store: RoutingStore
    predictors: Predictors
    provider: MetricsProvider
    clock: Callable[[], datetime]
    dry_run: bool = False


class Look(Enum):
    """What a look at a rollout found."""

    SETTLED = "settled"
    """All of it is applied everywhere."""
    UNSETTLED = "unsettled"
    """A predictor has yet to load or apply something."""
    GONE = "gone"
    """There is no such resource any more."""


class Reconciler:
    """Brings the world to what the resources say, and the resources' status to what the world is.

    Nothing is remembered between two looks. The status is written before the document is published, and the
    document follows from the status alone: whoever is killed in between, the next look publishes the same.

    Args:
        world: What is outside.
        metrics: Where it counts.
    """

    def __init__(self, world: World, metrics: RolloutMetrics) -> None:
        self._world = world
        self._metrics = metrics

    def reconcile(self, namespace: str, name: str) -> Look:
        """Look at one rollout, write what follows from it, and return what was found.

        Raises:
            ClusterError: The API server is away or refuses, or somebody else wrote meanwhile.
            StoreError: Redis is unavailable, or refuses.
        """
        resource = self._world.cluster.rollout(namespace, name)
        if resource is None or resource.deleting:
            self.release(namespace, name)
            return Look.GONE
        try:
            spec, status = RolloutSpec.parse(resource.spec), RolloutStatus.parse(resource.status)
        except InvalidResourceError as error:
            self._stop(resource, str(error))
            return Look.SETTLED
        seen = self._observe(resource, spec, status)
        decision = decide(spec, status, seen, self._world.clock())
        self._write(resource, status, seen, decision)
        self._metrics.show(resource.key, decision.status, decision.document)
        return Look.SETTLED if _is_settled(decision.status) else Look.UNSETTLED

    def release(self, namespace: str, name: str) -> None:
        """Give the predictors free, if the document is of a rollout that does not exist any more.

        Raises:
            StoreError: Redis is unavailable, or refuses.
        """
        key = f"{namespace}/{name}"
        self._metrics.forget(key)
        published = self._published()
        if published is None or published.rollout != key or published.released:
            return
        document = RoutingDocument(
            generation=published.generation + 1, rollout=key, salt=published.salt, arms=()
        )
        _log.info("released", rollout=key, generation=document.generation, dry_run=self._world.dry_run)
        if not self._world.dry_run:
            self._world.store.publish_document(document, expires=_RELEASE_LASTS)

    def sweep(self) -> None:
        """Release the predictors from a rollout that was deleted while nobody looked.

        Raises:
            ClusterError: The API server is away, or refuses.
            StoreError: Redis is unavailable, or refuses.
        """
        published = self._published()
        if published is None or published.released:
            return
        namespace, _, name = published.rollout.partition("/")
        if self._world.cluster.rollout(namespace, name) is None:
            self.release(namespace, name)

    def _observe(self, resource: Resource, spec: RolloutSpec, status: RolloutStatus) -> Observation:
        published = self._published()
        return Observation(
            rollout=resource.key,
            generation=resource.generation,
            annotations=resource.annotations,
            published=published,
            pods=self._world.predictors.ask(self._world.cluster.pods()),
            measurements=self._measured(spec, status),
            evidence=self._evidence(),
            rival=self._rival(resource, published),
        )

    def _published(self) -> RoutingDocument | None:
        try:
            return self._world.store.document()
        except InvalidRoutingError:
            # Predictors refuse it as well, and it is about to be replaced.
            return None

    def _evidence(self) -> RolloutEvidence | None:
        try:
            return self._world.store.evidence()
        except (StoreError, InvalidRoutingError) as error:
            # Evidence only ever promotes by rule or adds a reason to roll back: without it everything holds.
            _log.warning("evidence_unreadable", reason=str(error))
            return None

    def _rival(self, resource: Resource, published: RoutingDocument | None) -> str | None:
        if published is None or published.released or published.rollout == resource.key:
            return None
        namespace, _, name = published.rollout.partition("/")
        other = self._world.cluster.rollout(namespace, name)
        return published.rollout if other is not None and not other.deleting else None

    def _measured(self, spec: RolloutSpec, status: RolloutStatus) -> dict[str, Measurement | None]:
        measured: dict[str, Measurement | None] = {}
        now = self._world.clock()
        for candidate in spec.candidates:
            known = status.candidate(candidate.name, candidate.digest)
            if status.baseline is None or not analysis_due(candidate, known, spec, now):
                continue
            question = Question(
                candidate=(candidate.name, candidate.digest),
                baseline=(BASELINE, status.baseline.digest),
                window=seconds(spec.analysis.window),
                users_window=_users_window(spec, status, now),
            )
            try:
                measured[candidate.name] = self._world.provider.measure(question)
            except MetricsError as error:
                _log.warning("no_measurement", candidate=candidate.name, reason=str(error))
                measured[candidate.name] = None
        return measured

    def _write(
        self, resource: Resource, before: RolloutStatus, seen: Observation, decision: Decision
    ) -> None:
        cluster, dry_run = self._world.cluster, self._world.dry_run
        changed = decision.status != before
        for note in decision.notes:
            _log.info(
                "decided", rollout=resource.key, reason=note.reason, message=note.message, dry_run=dry_run
            )
        if dry_run:
            return
        if changed:
            cluster.write_status(resource, decision.status.as_json())
        if decision.document is not None and seen.published != decision.document:
            self._world.store.publish_document(decision.document)
        self._metrics.count(resource.key, _new_entries(before, decision.status))
        for note in decision.notes:
            self._tell(resource, note)
        if decision.remove_annotations:
            cluster.remove_annotations(resource, decision.remove_annotations)
        self._metrics.reconciliations.labels("changed" if changed else "unchanged").inc()

    def _tell(self, resource: Resource, note: Note) -> None:
        try:
            self._world.cluster.tell(resource, note)
        except ClusterError as error:
            # What happened is in the status; an event is a courtesy, and must not hold up a rollback.
            _log.warning("event_lost", rollout=resource.key, reason=note.reason, error=str(error))

    def _stop(self, resource: Resource, problem: str) -> None:
        _log.error("invalid_resource", rollout=resource.key, problem=problem)
        try:
            before = RolloutStatus.parse(resource.status)
        except InvalidResourceError:
            # A status that cannot be read is left for a person to look at.
            return
        status = stopped(before, resource.generation, "Invalid", problem, self._world.clock())
        if status != before and not self._world.dry_run:
            self._world.cluster.write_status(resource, status.as_json())


def _new_entries(before: RolloutStatus, after: RolloutStatus) -> tuple[HistoryEntry, ...]:
    return tuple(entry for entry in after.history if entry not in before.history)


def _users_window(spec: RolloutSpec, status: RolloutStatus, now: datetime) -> timedelta | None:
    """Return since when users were assigned by the shares of now, and by no others."""
    since = status.routing.acknowledged_time if status.routing is not None else None
    if since is None or now - since < seconds(spec.analysis.window):
        return None
    return now - since


def _is_settled(status: RolloutStatus) -> bool:
    if status.pods.acknowledged < status.pods.total:
        return False
    return all(candidate.phase != "Loading" for candidate in status.candidates)
