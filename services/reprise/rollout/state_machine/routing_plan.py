"""The routing document of a status, and the buckets of users in it."""

from collections.abc import Sequence
from datetime import datetime

from reprise.rollout.resource.spec import RolloutSpec
from reprise.rollout.resource.status import CandidateStatus, RolloutStatus, RoutingStatus, at
from reprise.rollout.state_machine.candidate import ACTIVE_PHASES
from reprise.rollout.state_machine.observed_state import ObservedState
from reprise.routing import Arm, Ranges, RoutingDocument, Share, allocate


def build_document(rollout: str, status: RolloutStatus) -> RoutingDocument | None:
    """Return the document that follows from the status of a rollout, namespace/name; ``None`` before there is one."""
    if status.routing is None or status.baseline is None:
        return None
    return RoutingDocument(
        generation=status.routing.generation,
        rollout=rollout,
        salt=status.routing.salt,
        arms=_arms(status.baseline.digest, status.candidates, status.candidates),
    )


def assign_buckets(
    baseline: str, candidates: Sequence[CandidateStatus], previous: Sequence[CandidateStatus]
) -> tuple[CandidateStatus, ...]:
    """Return the candidates with the buckets that their weights give them, moving as few users as possible."""
    ranges = {arm.name: arm.buckets for arm in _arms(baseline, candidates, previous)}
    return tuple(
        candidate.model_copy(
            update={
                "buckets": tuple(f"{first}-{end - 1}" for first, end in ranges[candidate.name])
                if candidate.weight
                else ()
            }
        )
        for candidate in candidates
    )


def plan_routing(
    spec: RolloutSpec, status: RolloutStatus, following: RolloutStatus, observed: ObservedState, now: datetime
) -> RoutingStatus | None:
    """Return the routing of the following status; a document with other content gets the next generation.

    So does one that is older than what a predictor has applied, and would be refused.
    Another salt takes effect once no candidate has traffic.
    """
    salt = spec.assignment.salt or observed.rollout.rpartition("/")[2]
    if status.routing is not None and any(candidate.weight for candidate in status.candidates):
        salt = status.routing.salt
    before = build_document(observed.rollout, status)
    generation = before.generation if before is not None else 0
    draft = RoutingStatus(generation=max(1, generation), salt=salt)
    document = build_document(observed.rollout, following.model_copy(update={"routing": draft}))
    routing = following.routing
    newest = observed.newest_generation
    if document is not None and (document != before or newest > generation):
        document = document.model_copy(update={"generation": max(generation, newest) + 1})
        routing = RoutingStatus(generation=document.generation, salt=salt, fingerprint=document.fingerprint)
    if routing is None:
        return None
    # A predictor that does not answer, or starts later, changes nothing for the users who have been counted.
    if routing.acknowledged_time is None and observed.all_acknowledge(routing.fingerprint):
        return routing.model_copy(update={"acknowledged_time": at(now)})
    return routing


def parse_buckets(texts: Sequence[str]) -> Ranges:
    """Return the half-open ranges of buckets that a candidate's status lists, as ``0-499``."""
    pairs = (text.split("-") for text in texts)
    return tuple((int(first), int(last) + 1) for first, last in pairs)


def _arms(
    baseline: str, candidates: Sequence[CandidateStatus], previous: Sequence[CandidateStatus]
) -> tuple[Arm, ...]:
    held = {candidate.name: parse_buckets(candidate.buckets) for candidate in previous if candidate.weight}
    shares = [
        Share(candidate.name, candidate.digest, candidate.weight, shadow=candidate.phase == "Shadowing")
        for candidate in candidates
        if candidate.phase in ACTIVE_PHASES
    ]
    return allocate(baseline, shares, held)
