"""What happens next: a pure function of what is asked, remembered, seen, and the time."""

from dataclasses import dataclass, field
from datetime import datetime

from reprise.rollout.resource.annotations import PROMOTE, RETRY, ROLLBACK, Requests, as_entry, requests_of
from reprise.rollout.resource.events import Note
from reprise.rollout.resource.spec import Candidate, RolloutSpec
from reprise.rollout.resource.status import (
    HISTORY,
    BaselineStatus,
    CandidateStatus,
    HistoryEntry,
    PodsStatus,
    RolloutStatus,
    RoutingStatus,
    at,
)
from reprise.rollout.state_machine import baseline as baselines
from reprise.rollout.state_machine.candidate import (
    UNDER_WAY,
    Moment,
    as_promoted,
    begin,
    hindrance,
    proceed,
    restart,
    roll_back,
)
from reprise.rollout.state_machine.conditions import stopped, summarised
from reprise.rollout.state_machine.observed_state import Observation
from reprise.rollout.state_machine.routing_plan import arms_of, document_of, write_buckets
from reprise.routing import RoutingDocument

BASELINE_REQUEST = "baseline"


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be written.

    Attributes:
        status: The next status.
        document: What is to be published; ``None`` where the predictors are another rollout's.
        notes: What is to be told as events.
        remove_annotations: Requests that have been acted on.
    """

    status: RolloutStatus
    document: RoutingDocument | None
    notes: tuple[Note, ...] = ()
    remove_annotations: tuple[str, ...] = ()


@dataclass(slots=True)
class _Draft:
    """A decision as it comes about."""

    baseline: BaselineStatus
    candidates: dict[str, CandidateStatus]
    handled: list[str]
    notes: list[Note] = field(default_factory=list)
    history: list[HistoryEntry] = field(default_factory=list)
    promoted: HistoryEntry | None = None


def decide(spec: RolloutSpec, status: RolloutStatus, seen: Observation, now: datetime) -> Decision:
    """Return what is to be written, for a rollout that the predictors follow.

    The same arguments give the same decision, and deciding again on its outcome, with nothing new seen, changes
    nothing.
    """
    if seen.rival is not None:
        return _blocked(status, seen, now)
    requests = requests_of(seen.annotations, status.handled_requests)
    base, notes, history = baselines.follow_spec(spec, status, now)
    draft = _Draft(base, {}, list(requests.handled), list(notes), list(history))
    moment = _moment(spec, status, seen, base, now)
    if requests.rollback == BASELINE_REQUEST:
        _restore_baseline(draft, moment)
        moment = _moment(spec, status, seen, draft.baseline, now)
    for candidate in spec.candidates:
        _advance(draft, candidate, status, requests, moment)
    _promote(draft, spec, requests, moment)
    _refuse_the_rest(draft, requests)
    return _written(draft, spec, status, seen, now)


def _moment(
    spec: RolloutSpec, status: RolloutStatus, seen: Observation, base: BaselineStatus, now: datetime
) -> Moment:
    served = status.routing is not None and seen.all_acknowledge(status.routing.fingerprint)
    return Moment(spec, seen, base.digest, served, now)


def _restore_baseline(draft: _Draft, moment: Moment) -> None:
    draft.baseline, notes, history = baselines.restored(draft.baseline, moment)
    draft.notes.extend(notes)
    draft.history.extend(history)
    draft.handled.append(as_entry(ROLLBACK, BASELINE_REQUEST))


def _advance(
    draft: _Draft, candidate: Candidate, status: RolloutStatus, requests: Requests, moment: Moment
) -> None:
    known = status.candidate(candidate.name, candidate.digest)
    if known is None:
        outcome = begin(candidate, moment)
    elif requests.retry == candidate.name and known.phase == "RolledBack":
        outcome = restart(known, moment)
    elif requests.rollback == candidate.name and known.phase in UNDER_WAY:
        outcome = roll_back(known, moment, "Requested", "Annotation", "a person asked for it")
    else:
        outcome = proceed(candidate, known, moment)
    for annotation, name in ((RETRY, requests.retry), (ROLLBACK, requests.rollback)):
        if name == candidate.name:
            draft.handled.append(as_entry(annotation, candidate.name))
    draft.candidates[candidate.name] = outcome.status
    draft.notes.extend(outcome.notes)
    draft.history.extend(outcome.history)


def _promote(draft: _Draft, spec: RolloutSpec, requests: Requests, moment: Moment) -> None:
    for candidate in spec.candidates:
        known = draft.candidates[candidate.name]
        asked = requests.promote == candidate.name
        if asked and known.phase not in UNDER_WAY:
            message = f"promote={candidate.name}: it is {known.phase}"
            if known.phase == "RolledBack":
                message += f"; annotate {RETRY}={candidate.name} first"
            draft.notes.append(Note("Warning", "RequestRefused", message))
            draft.handled.append(as_entry(PROMOTE, candidate.name))
            continue
        if known.phase not in UNDER_WAY or draft.promoted is not None:
            continue
        if asked:
            # every predictor has to hold the model before all users are given to it
            if moment.seen.all_hold(candidate.digest):
                _make_baseline(draft, known, moment, "Annotation", "a person asked for it")
                draft.handled.append(as_entry(PROMOTE, candidate.name))
        elif hindrance(candidate, known, moment) is None and known.evidence is not None:
            said = known.evidence
            message = (
                f"{said.metric} {said.estimate:.4g} [{said.lower:.4g}, {said.upper:.4g}]: {said.verdict}"
            )
            _make_baseline(draft, known, moment, "Rule", message)


def _make_baseline(draft: _Draft, known: CandidateStatus, moment: Moment, by: str, message: str) -> None:
    entry = HistoryEntry.model_validate(
        {
            "time": at(moment.now),
            "event": "Promoted",
            "candidate": known.name,
            "digest": known.digest,
            "baseline": draft.baseline.digest,
            "by": by,
            "message": message,
        }
    )
    draft.baseline = baselines.promoted(draft.baseline, known.digest, moment.now)
    draft.candidates[known.name] = as_promoted(known, message)
    draft.promoted = entry
    draft.history.append(entry)
    draft.notes.append(Note("Normal", "Promoted", f"candidate {known.name} is the baseline: {message}"))


def _refuse_the_rest(draft: _Draft, requests: Requests) -> None:
    named = ((PROMOTE, requests.promote), (ROLLBACK, requests.rollback), (RETRY, requests.retry))
    for annotation, name in named:
        if name is None or name in draft.candidates or (annotation, name) == (ROLLBACK, BASELINE_REQUEST):
            continue
        message = f"{as_entry(annotation, name)}: there is no candidate of this name"
        draft.notes.append(Note("Warning", "RequestRefused", message))
        draft.handled.append(as_entry(annotation, name))


def _written(
    draft: _Draft, spec: RolloutSpec, status: RolloutStatus, seen: Observation, now: datetime
) -> Decision:
    arms = arms_of(draft.baseline.digest, list(draft.candidates.values()), status.candidates)
    buckets = {arm.name: write_buckets(arm.buckets) for arm in arms}
    candidates = tuple(
        candidate.model_copy(update={"buckets": buckets[candidate.name] if candidate.weight else ()})
        for candidate in draft.candidates.values()
    )
    following = status.model_copy(
        update={
            "observed_generation": seen.generation,
            "baseline": draft.baseline,
            "candidates": candidates,
            "history": (*reversed(draft.history), *status.history)[:HISTORY],
            "handled_requests": tuple(dict.fromkeys(draft.handled))[:8],
        }
    )
    if draft.promoted is not None:
        following = following.model_copy(
            update={"last_promoted_digest": draft.promoted.digest, "last_promoted_time": draft.promoted.time}
        )
    following = _numbered(following, spec, status, seen)
    following = _acknowledged(following, seen, now)
    document = document_of(seen.rollout, following)
    removed = tuple(dict.fromkeys(entry.partition("=")[0] for entry in following.handled_requests))
    return Decision(summarised(spec, following, seen, now), document, tuple(draft.notes), removed)


def _numbered(
    following: RolloutStatus, spec: RolloutSpec, status: RolloutStatus, seen: Observation
) -> RolloutStatus:
    """Give the document a new number if it is another one."""
    salt = spec.assignment.salt or seen.rollout.rpartition("/")[2]
    if status.routing is not None and any(candidate.weight for candidate in status.candidates):
        salt = status.routing.salt
    before = document_of(seen.rollout, status)
    generation = before.generation if before is not None else 0
    routing = RoutingStatus(generation=max(1, generation), salt=salt)
    document = document_of(seen.rollout, following.model_copy(update={"routing": routing}))
    if document is None or document == before:
        return following
    published = seen.published.generation if seen.published is not None else 0
    document = document.model_copy(update={"generation": max(generation, published) + 1})
    routing = RoutingStatus(generation=document.generation, salt=salt, fingerprint=document.fingerprint)
    return following.model_copy(update={"routing": routing})


def _acknowledged(following: RolloutStatus, seen: Observation, now: datetime) -> RolloutStatus:
    routing = following.routing
    if routing is None:
        return following
    acknowledged = seen.acknowledged(routing.fingerprint)
    since = routing.acknowledged_time
    if not seen.all_acknowledge(routing.fingerprint):
        since = None
    elif since is None:
        since = at(now)
    return following.model_copy(
        update={
            "routing": routing.model_copy(update={"acknowledged_time": since}),
            "pods": PodsStatus(total=len(seen.pods), acknowledged=acknowledged),
        }
    )


def _blocked(status: RolloutStatus, seen: Observation, now: datetime) -> Decision:
    message = f"the predictors follow {seen.rival}; delete it first"
    return Decision(stopped(status, seen.generation, "Blocked", message, now), None)
