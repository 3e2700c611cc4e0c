"""The decision of one reconciliation: a pure function of spec, status, observed state and time."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from reprise.rollout.resource.annotations import PROMOTE, RETRY, ROLLBACK, read_requests, request_entry
from reprise.rollout.resource.events import ResourceEvent
from reprise.rollout.resource.spec import Candidate, RolloutSpec
from reprise.rollout.resource.status import (
    HISTORY,
    BaselineStatus,
    CandidateStatus,
    HistoryEntry,
    PodsStatus,
    RolloutStatus,
    at,
)
from reprise.rollout.state_machine.candidate import (
    ACTIVE_PHASES,
    RolloutContext,
    Transition,
    advance,
    promote,
    promotion_blocker,
    restart,
    roll_back,
    start,
)
from reprise.rollout.state_machine.conditions import failed_status, summarise
from reprise.rollout.state_machine.observed_state import ObservedState
from reprise.rollout.state_machine.routing_plan import assign_buckets, build_document, plan_routing
from reprise.routing import BASELINE, RoutingDocument

_REQUESTED = "requested by annotation"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a reconciliation writes.

    Attributes:
        status: The next status.
        document: The document to publish; ``None`` if another rollout owns the predictors.
        events: The events to emit.
        remove_annotations: The annotations that were handled.
    """

    status: RolloutStatus
    document: RoutingDocument | None
    events: tuple[ResourceEvent, ...] = ()
    remove_annotations: tuple[str, ...] = ()


def decide(spec: RolloutSpec, status: RolloutStatus, observed: ObservedState, now: datetime) -> Decision:
    """Return the decision for a rollout.

    Deciding again on its outcome, with nothing new observed, changes nothing.
    """
    if observed.rival is not None:
        message = f"the predictors follow {observed.rival}; delete it first"
        return Decision(failed_status(status, observed.generation, "Blocked", message, now), None)
    return _Reconciliation(spec, status, observed, now).decide()


class _Reconciliation:
    """One decision while it is being made."""

    def __init__(
        self, spec: RolloutSpec, status: RolloutStatus, observed: ObservedState, now: datetime
    ) -> None:
        self.spec = spec
        self.status = status
        self.observed = observed
        self.now = now
        self.requests = read_requests(observed.annotations, status.handled_requests)
        self.handled = list(self.requests.handled)
        self.events: list[ResourceEvent] = []
        self.history: list[HistoryEntry] = []
        self.candidates: dict[str, CandidateStatus] = {}
        self.baseline = self._follow_spec(status.baseline)
        if self.requests.rollback == BASELINE:
            self._restore_previous_baseline()
        routing = status.routing
        acknowledged = routing is not None and observed.all_acknowledge(routing.fingerprint)
        self.context = RolloutContext(spec, observed, self.baseline.digest, acknowledged, now)

    def decide(self) -> Decision:
        for candidate in self.spec.candidates:
            self._apply(self._transition(candidate))
        promoted = self._promote()
        self._refuse_unknown_candidates()
        status = self._next_status(promoted)
        document = build_document(self.observed.rollout, status)
        annotations = dict.fromkeys(entry.partition("=")[0] for entry in status.handled_requests)
        return Decision(
            summarise(self.spec, status, self.observed, self.now),
            document,
            tuple(self.events),
            tuple(annotations),
        )

    def _follow_spec(self, current: BaselineStatus | None) -> BaselineStatus:
        """Return the baseline after a change of the spec.

        A promotion takes precedence over the spec that it happened under; a later change of the spec takes precedence
        over the promotion. So a repository of manifests may stay as it is after a promotion, or follow it.
        """
        wanted = self.spec.baseline.digest
        if current is None:
            return BaselineStatus(digest=wanted, spec_digest=wanted, since=at(self.now))
        if wanted == current.spec_digest:
            return current
        if wanted == current.digest:
            return current.model_copy(update={"spec_digest": wanted})
        message = f"the spec's baseline is {wanted} now"
        self._record_baseline(
            "Normal",
            HistoryEntry(
                time=at(self.now), event="BaselineChanged", digest=wanted, baseline=current.digest, by="Spec",
                message=message,
            ),
        )  # fmt: skip
        return BaselineStatus(digest=wanted, spec_digest=wanted, since=at(self.now), previous=current.digest)

    def _restore_previous_baseline(self) -> None:
        self.handled.append(request_entry(ROLLBACK, BASELINE))
        current = self.baseline
        if current.previous is None:
            self._refuse("rollback=baseline: there is no baseline before this one")
            return
        self.baseline = self._replaced_baseline(current.previous)
        self._record_baseline(
            "Warning",
            HistoryEntry(
                time=at(self.now), event="BaselineRestored", digest=current.previous, baseline=current.digest,
                by="Annotation", message=f"{current.previous} is the baseline again",
            ),
        )  # fmt: skip

    def _transition(self, candidate: Candidate) -> Transition:
        requests = self.requests
        for annotation, name in ((RETRY, requests.retry), (ROLLBACK, requests.rollback)):
            if name == candidate.name:
                self.handled.append(request_entry(annotation, name))
        status = self.status.candidate(candidate.name, candidate.digest)
        if status is None:
            return start(candidate, self.context)
        if requests.retry == candidate.name and status.phase == "RolledBack":
            return restart(status, self.context)
        if requests.rollback == candidate.name and status.phase in ACTIVE_PHASES:
            return roll_back(status, self.context, "Requested", "Annotation", _REQUESTED)
        return advance(candidate, status, self.context)

    def _promote(self) -> CandidateStatus | None:
        """Promote the first candidate that may be promoted, and return its status."""
        promoted = None
        for candidate in self.spec.candidates:
            status = self.candidates[candidate.name]
            requested = self.requests.promote == candidate.name
            if status.phase not in ACTIVE_PHASES:
                if requested:
                    retry = (
                        f"; annotate {RETRY}={candidate.name} first" if status.phase == "RolledBack" else ""
                    )
                    self._refuse(f"promote={candidate.name}: it is {status.phase}{retry}")
                    self.handled.append(request_entry(PROMOTE, candidate.name))
            elif promoted is None and (transition := self._promotion(candidate, status, requested)):
                if requested:
                    self.handled.append(request_entry(PROMOTE, candidate.name))
                self._apply(transition)
                self.baseline = self._replaced_baseline(candidate.digest)
                promoted = transition.status
        return promoted

    def _promotion(self, candidate: Candidate, status: CandidateStatus, requested: bool) -> Transition | None:
        if requested:
            # Every predictor must have loaded the model before it answers all users.
            loaded = self.observed.all_loaded(candidate.digest)
            return promote(status, self.context, "Annotation", _REQUESTED) if loaded else None
        if status.evidence is None or promotion_blocker(candidate, status, self.context) is not None:
            return None
        message = f"{status.evidence.interval}: {status.evidence.verdict}"
        return promote(status, self.context, "Rule", message)

    def _refuse_unknown_candidates(self) -> None:
        requests = self.requests
        for annotation, name in (
            (PROMOTE, requests.promote),
            (ROLLBACK, requests.rollback),
            (RETRY, requests.retry),
        ):
            known = name is None or name in self.candidates or (annotation, name) == (ROLLBACK, BASELINE)
            if name is not None and not known:
                entry = request_entry(annotation, name)
                self._refuse(f"{entry}: there is no candidate of this name")
                self.handled.append(entry)

    def _next_status(self, promoted: CandidateStatus | None) -> RolloutStatus:
        candidates = assign_buckets(
            self.baseline.digest, tuple(self.candidates.values()), self.status.candidates
        )
        update = {
            "observed_generation": self.observed.generation,
            "baseline": self.baseline,
            "candidates": candidates,
            "history": (*reversed(self.history), *self.status.history)[:HISTORY],
            "handled_requests": tuple(dict.fromkeys(self.handled))[:8],
        }
        if promoted is not None:
            update |= {"last_promoted_digest": promoted.digest, "last_promoted_time": at(self.now)}
        following = self.status.model_copy(update=update)
        routing = plan_routing(self.spec, self.status, following, self.observed, self.now)
        if routing is None:
            return following
        acknowledged = self.observed.acknowledgements(routing.fingerprint)
        pods = PodsStatus(total=len(self.observed.pods), acknowledged=acknowledged)
        return following.model_copy(update={"routing": routing, "pods": pods})

    def _replaced_baseline(self, digest: str) -> BaselineStatus:
        current = self.baseline
        return BaselineStatus(
            digest=digest, spec_digest=current.spec_digest, since=at(self.now), previous=current.digest
        )

    def _record_baseline(self, kind: Literal["Normal", "Warning"], entry: HistoryEntry) -> None:
        self.history.append(entry)
        self.events.append(ResourceEvent(kind, entry.event, entry.message))

    def _refuse(self, message: str) -> None:
        self.events.append(ResourceEvent("Warning", "RequestRefused", message))

    def _apply(self, transition: Transition) -> None:
        self.candidates[transition.status.name] = transition.status
        if transition.event is not None:
            self.events.append(transition.event)
        if transition.history is not None:
            self.history.append(transition.history)
