"""The decision of one reconciliation: a pure function of spec, status, observed state and time."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from reprise.rollout.resource.annotations import PROMOTE, RETRY, ROLLBACK, read_requests, request_entry
from reprise.rollout.resource.spec import Candidate, RolloutSpec
from reprise.rollout.resource.status import (
    HISTORY,
    BaselineStatus,
    CandidateStatus,
    DecidedBy,
    HistoryEntry,
    PodsStatus,
    ResourceEvent,
    RolloutStatus,
    at,
)
from reprise.rollout.state_machine.candidate import ACTIVE_PHASES, Case, Transition, advance, start
from reprise.rollout.state_machine.conditions import failed_status, summarise
from reprise.rollout.state_machine.observed_state import ObservedState
from reprise.rollout.state_machine.routing_plan import assign_buckets, build_document, plan_routing
from reprise.routing import BASELINE, RoutingDocument


@dataclass(frozen=True, slots=True)
class Decision:
    """What a reconciliation writes; no document if another rollout owns the predictors."""

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
    def __init__(
        self, spec: RolloutSpec, status: RolloutStatus, observed: ObservedState, now: datetime
    ) -> None:
        self.spec = spec
        self.status = status
        self.observed = observed
        self.now = now
        self.requests, self.handled = read_requests(observed.annotations, status.handled_requests)
        self.events: list[ResourceEvent] = []
        self.history: list[HistoryEntry] = []
        wanted = spec.baseline.digest
        self.baseline = status.baseline or BaselineStatus(digest=wanted, spec_digest=wanted, since=at(now))

    def decide(self) -> Decision:
        self._follow_spec()
        self._replace_refused_baseline()
        if self.requests.get(ROLLBACK) == BASELINE:
            self._restore_previous_baseline()
        baseline = self.baseline.digest
        candidates: dict[str, CandidateStatus] = {}
        promoted = None
        for candidate in self.spec.candidates:
            transition = self._transition(candidate, baseline, may_promote=promoted is None)
            candidates[candidate.name] = transition.status
            self.events += [transition.event] if transition.event is not None else []
            self.history += [transition.history] if transition.history is not None else []
            if transition.promotes:
                promoted = transition.status
                self.baseline = self._next_baseline(promoted.digest, self.baseline.spec_digest)
        for annotation, name in self.requests.items():
            if name not in candidates and (annotation, name) != (ROLLBACK, BASELINE):
                self._refuse(annotation, name, f"{annotation}={name}: there is no candidate of this name")
        status = self._next_status(tuple(candidates.values()), promoted)
        annotations = dict.fromkeys(entry.partition("=")[0] for entry in status.handled_requests)
        return Decision(
            summarise(self.spec, status, self.observed, self.now),
            build_document(self.observed.rollout, status),
            tuple(self.events),
            tuple(annotations),
        )

    def _follow_spec(self) -> None:
        """Change the baseline if the spec's has changed.

        A promotion takes precedence over the spec that it happened under; a later change of the spec takes precedence
        over the promotion. So a repository of manifests may stay as it is after a promotion, or follow it.
        """
        wanted = self.spec.baseline.digest
        if wanted == self.baseline.digest:
            self.baseline = self.baseline.model_copy(update={"spec_digest": wanted})
        elif wanted != self.baseline.spec_digest:
            message = f"the spec's baseline is {wanted} now"
            self._change_baseline("BaselineChanged", wanted, wanted, message, by="Spec")

    def _replace_refused_baseline(self) -> None:
        """Return to the previous baseline if a predictor cannot load this one.

        Predictors refuse the whole document until then, so no candidate could be rolled back.
        """
        digest, previous = self.baseline.digest, self.baseline.previous
        refusal = self.observed.refusal_of_baseline(digest)
        if refusal is None or previous is None:
            return
        message = f"{previous} is the baseline again, because {digest} cannot be loaded: {refusal}"
        self._change_baseline(
            "BaselineRestored", previous, self.baseline.spec_digest, message, by="Predictor"
        )
        self.baseline = self.baseline.model_copy(update={"previous": None})

    def _restore_previous_baseline(self) -> None:
        previous = self.baseline.previous
        if previous is None:
            self._refuse(ROLLBACK, BASELINE, "rollback=baseline: there is no baseline before this one")
            return
        self.handled.append(request_entry(ROLLBACK, BASELINE))
        message = f"{previous} is the baseline again"
        self._change_baseline(
            "BaselineRestored", previous, self.baseline.spec_digest, message, by="Annotation"
        )

    def _change_baseline(
        self,
        event: Literal["BaselineChanged", "BaselineRestored"],
        digest: str,
        spec_digest: str,
        message: str,
        *,
        by: DecidedBy,
    ) -> None:
        entry = HistoryEntry(
            time=at(self.now),
            event=event,
            digest=digest,
            baseline=self.baseline.digest,
            by=by,
            message=message,
        )
        self.history.append(entry)
        self.events.append(ResourceEvent("Normal" if by == "Spec" else "Warning", event, message))
        self.baseline = self._next_baseline(digest, spec_digest)

    def _next_baseline(self, digest: str, spec_digest: str) -> BaselineStatus:
        return BaselineStatus(
            digest=digest, spec_digest=spec_digest, since=at(self.now), previous=self.baseline.digest
        )

    def _transition(self, candidate: Candidate, baseline: str, *, may_promote: bool) -> Transition:
        routing, known = self.status.routing, self.status.candidate(candidate.name, candidate.digest)
        replaced = next((each for each in self.status.candidates if each.name == candidate.name), None)
        if known is None and replaced is not None and self.requests.get(PROMOTE) == candidate.name:
            message = f"promote={candidate.name}: it was {replaced.digest} when that was asked"
            self._refuse(PROMOTE, candidate.name, message)
            del self.requests[PROMOTE]
        case = Case(
            candidate,
            known or CandidateStatus(name=candidate.name, digest=candidate.digest, phase="Loading"),
            self.spec,
            self.observed,
            self.requests,
            baseline,
            acknowledged=routing is not None and self.observed.all_acknowledge(routing.fingerprint),
            may_promote=may_promote,
            now=self.now,
        )
        transition = start(case) if known is None else advance(case)
        status = transition.status
        for annotation in (RETRY, ROLLBACK):
            if not case.requested(annotation):
                continue
            if status.phase != case.status.phase:
                self.handled.append(request_entry(annotation, candidate.name))
            else:
                of_baseline = (
                    f"; annotate {ROLLBACK}={BASELINE} instead" if status.phase == "Promoted" else ""
                )
                self._refuse(
                    annotation, status.name, f"{annotation}={status.name}: it is {status.phase}{of_baseline}"
                )
        if case.requested(PROMOTE):
            if transition.promotes:
                self.handled.append(request_entry(PROMOTE, candidate.name))
            elif status.phase not in ACTIVE_PHASES:
                retry = f"; annotate {RETRY}={status.name} first" if status.phase == "RolledBack" else ""
                self._refuse(PROMOTE, status.name, f"promote={status.name}: it is {status.phase}{retry}")
        return transition

    def _next_status(
        self, candidates: tuple[CandidateStatus, ...], promoted: CandidateStatus | None
    ) -> RolloutStatus:
        update = {
            "observed_generation": self.observed.generation,
            "baseline": self.baseline,
            "candidates": assign_buckets(self.baseline.digest, candidates, self.status.candidates),
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

    def _refuse(self, annotation: str, name: str, message: str) -> None:
        self.handled.append(request_entry(annotation, name))
        self.events.append(ResourceEvent("Warning", "RequestRefused", message))
