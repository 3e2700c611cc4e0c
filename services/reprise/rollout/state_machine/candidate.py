"""The state machine of a candidate: the table of its phases, and the rules that move it between them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from reprise.rollout.exceptions import InvalidTransitionError
from reprise.rollout.resource.annotations import PROMOTE, RETRY, ROLLBACK
from reprise.rollout.resource.spec import Candidate, RolloutSpec, TrafficStep
from reprise.rollout.resource.status import (
    CandidatePhase,
    CandidateStatus,
    DecidedBy,
    EvidenceStatus,
    HistoryEntry,
    ResourceEvent,
    at,
)
from reprise.rollout.state_machine.analysis import analyse
from reprise.rollout.state_machine.observed_state import ObservedState
from reprise.runtime.durations import parse_duration

TRANSITIONS: Mapping[CandidatePhase, frozenset[CandidatePhase]] = {
    "Loading": frozenset({"Progressing", "Measuring", "Shadowing", "RolledBack", "Promoted"}),
    "Progressing": frozenset({"Measuring", "Loading", "RolledBack", "Promoted"}),
    "Measuring": frozenset({"Progressing", "Loading", "RolledBack", "Promoted"}),
    "Shadowing": frozenset({"Loading", "RolledBack", "Promoted"}),
    "RolledBack": frozenset({"Loading"}),
    "Promoted": frozenset({"RolledBack"}),
}
"""The phases that follow each phase; a candidate may also stay in its phase."""

ACTIVE_PHASES = frozenset({"Loading", "Progressing", "Measuring", "Shadowing"})
"""Phases in which the predictors hold the candidate's model."""

_ANALYSIS_SLACK = timedelta(seconds=10)
_LOAD_FAILURE_GRACE = timedelta(seconds=15)
"""A model store that is briefly unavailable looks like a broken bundle, and does no harm meanwhile."""

_NOT_LOADED = "not every predictor has loaded it yet"
_LOADING = "predictors are loading it"
_IS_BASELINE = "it is the baseline"
_REQUESTED = "requested by annotation"
_APPROVAL = "AwaitingApproval"


@dataclass(frozen=True, slots=True)
class Transition:
    """A candidate's next status, with the event and the history entry that it causes."""

    status: CandidateStatus
    event: ResourceEvent | None = None
    history: HistoryEntry | None = None

    @property
    def promotes(self) -> bool:
        """Whether it makes the candidate the baseline."""
        return self.history is not None and self.history.event == "Promoted"


@dataclass(frozen=True, slots=True)
class Case:
    """A candidate with everything that its next transition depends on.

    ``requests`` has the candidate that each annotation names, ``acknowledged`` whether every predictor has applied the
    document of the previous status, ``may_promote`` whether no other candidate is promoted at the same time.
    """

    candidate: Candidate
    status: CandidateStatus
    spec: RolloutSpec
    observed: ObservedState
    requests: Mapping[str, str]
    baseline: str
    acknowledged: bool
    may_promote: bool
    now: datetime

    @property
    def steps(self) -> tuple[TrafficStep, ...]:
        """The candidate's traffic steps."""
        return self.spec.steps_of(self.candidate)

    @property
    def is_baseline(self) -> bool:
        """Whether its model is the baseline."""
        return self.candidate.digest == self.baseline

    def requested(self, annotation: str) -> bool:
        """Return whether an annotation names the candidate."""
        return self.requests.get(annotation) == self.candidate.name

    def update(self, **fields: Any) -> "Case":
        """Return the case with other fields of the status."""
        return replace(self, status=self.status.model_copy(update=fields))

    def move(
        self,
        to: CandidatePhase,
        reason: str,
        message: str,
        *,
        by: DecidedBy | None = None,
        event: tuple[str, str] | None = None,
        step: int | None = None,
    ) -> Transition:
        """Return the transition to a phase; outside the active phases a candidate has no traffic.

        ``by`` is the cause of a rollback or promotion, which has an event and a history entry; ``event`` has reason and
        message of another event; ``step`` is the traffic step to start.

        Raises:
            InvalidTransitionError: ``TRANSITIONS`` does not allow it.
        """
        status, time = self.status, at(self.now)
        if to != status.phase and to not in TRANSITIONS[status.phase]:
            raise InvalidTransitionError(status.name, status.phase, to)
        fields: dict[str, Any] = {"phase": to, "reason": reason, "message": message}
        if to == "Loading" != status.phase:
            status = CandidateStatus(name=status.name, digest=status.digest, phase=to, step_time=time)
        if to not in ACTIVE_PHASES:
            fields |= {"weight": 0, "buckets": ()}
        if step is not None:
            fields |= {"step": step, "step_time": time, "weight": self.steps[step].weight}
        history = None
        if by is not None:
            event = (to, f" is the baseline: {message}" if to == "Promoted" else f": {message}")
            entry = {"time": time, "event": to, "candidate": status.name, "digest": status.digest}
            history = HistoryEntry.model_validate(
                {**entry, "baseline": self.baseline, "by": by, "message": message}
            )
        emitted = None
        if event is not None:
            message = f"candidate {status.name}{event[1]}"
            emitted = ResourceEvent("Warning" if to == "RolledBack" else "Normal", event[0], message)
        return Transition(status.model_copy(update=fields), emitted, history)


def start(case: Case) -> Transition:
    """Return the first transition of a new candidate."""
    if case.is_baseline:
        return case.move("Promoted", "IsBaseline", _IS_BASELINE)
    event = ("Loading", f": loading {case.candidate.digest}")
    return case.update(step_time=at(case.now)).move("Loading", "New", _LOADING, event=event)


def advance(case: Case) -> Transition:
    """Return the next transition of a known candidate: that of the first rule that applies.

    A reason to roll back takes precedence over everything else.
    """
    return next(_transitions(case))


def _transitions(case: Case) -> Iterator[Transition]:
    yield from _stops(case)
    if case.status.phase in ACTIVE_PHASES:
        case = _observe(case)
        yield from _failures(case)
        if case.requested(PROMOTE) and case.may_promote and case.observed.all_loaded(case.candidate.digest):
            yield case.move("Promoted", "Promoted", _REQUESTED, by="Annotation")
        case = _follow_spec(case)
        yield from _RULES[case.status.phase](case)
    yield Transition(case.status)


def analysis_due(status: CandidateStatus | None, spec: RolloutSpec, now: datetime) -> bool:
    """Return whether it is time to measure a candidate."""
    if status is None or status.phase not in ACTIVE_PHASES - {"Loading"}:
        return False
    return status.analysis is None or now - status.analysis.time >= parse_duration(spec.analysis.interval)


def _stops(case: Case) -> Iterator[Transition]:
    if case.status.phase == "RolledBack":
        if case.requested(RETRY):
            yield case.move("Loading", "Retried", _LOADING, event=("Retrying", ": restarts"))
    elif case.status.phase == "Promoted":
        if not case.is_baseline:
            yield case.move("RolledBack", "BaselineMoved", "another model is the baseline now")
    elif case.requested(ROLLBACK):
        yield case.move("RolledBack", "Requested", _REQUESTED, by="Annotation")
    elif case.is_baseline:
        yield case.move("Promoted", "IsBaseline", _IS_BASELINE)


def _failures(case: Case) -> Iterator[Transition]:
    status = case.status
    load_failure, since = case.observed.load_failure(status.digest), status.refused_time
    if load_failure is not None and since is not None and case.now - since >= _LOAD_FAILURE_GRACE:
        message = f"a predictor cannot load the bundle: {load_failure}"
        yield case.move("RolledBack", "BundleRefused", message, by="Predictor")
    limit = case.spec.analysis.failure_limit
    if status.analysis is not None and (metric := status.analysis.breach(limit)) is not None:
        message = f"{metric.message}, in {metric.failures} analyses in a row"
        yield case.move("RolledBack", f"{metric.type}Breached", message, by="Analysis")
    if status.evidence is not None and status.evidence.verdict == "worse":
        message = f"its users' outcomes are worse: {status.evidence.interval}"
        yield case.move("RolledBack", "OutcomesWorse", message, by="Outcomes")


def _loading(case: Case) -> Iterator[Transition]:
    observed, digest = case.observed, case.candidate.digest
    if not observed.pods:
        yield case.move("Loading", "NoPredictors", "no predictor is ready")
    if (failure := observed.load_failure(digest)) is not None:
        yield case.move("Loading", "Loading", f"cannot be loaded: {failure}")
    if not (case.acknowledged and observed.all_loaded(digest)):
        yield case.move("Loading", "Loading", _NOT_LOADED)
    if case.candidate.shadow:
        event = ("Shadowing", ": scores every request, answers none")
        yield case.move("Shadowing", "Shadowing", "scores without answering", event=event, step=0)
    if case.spec.suspend:
        yield case.move("Loading", "Suspended", "loaded; the rollout is suspended")
    yield _step(case, 0)


def _progressing(case: Case) -> Iterator[Transition]:
    yield from _shadow_change(case)
    step, last = case.status.step, len(case.steps) - 1
    if step >= last:
        yield _step(case, last)
    for reason, message in _waits(case, case.steps[step].hold):
        yield case.move("Progressing", reason, message)
    yield _step(case, step + 1)


def _measuring(case: Case) -> Iterator[Transition]:
    yield from _shadow_change(case)
    if case.status.step < len(case.steps) - 1:  # The spec has further steps now
        yield _step(case, case.status.step)
    wanted = {"Better": {"better"}, "NotWorse": {"better", "not_worse"}}.get(case.spec.promotion.rule)
    evidence = case.status.evidence
    if wanted is None:
        yield case.move("Measuring", "Measuring", "waits for manual promotion")
    for _, message in _waits(case, case.steps[-1].hold):
        yield case.move("Measuring", "Measuring", message)
    if evidence is None:
        yield case.move("Measuring", "Measuring", "waits for the outcomes of its users")
    elif wanted is None or evidence.verdict not in wanted:
        yield case.move("Measuring", "Measuring", f"the outcomes of its users are {evidence.verdict}")
    elif not case.observed.all_loaded(case.candidate.digest):
        # A predictor that has just started must load the model before it answers all users.
        yield case.move("Measuring", "Measuring", _NOT_LOADED)
    elif case.spec.promotion.require_approval:
        yield _await_approval(case, evidence)
    elif case.may_promote and not case.requested(PROMOTE):
        message = f"{evidence.interval}: {evidence.verdict}"
        yield case.move("Promoted", "Promoted", message, by="Rule")


def _await_approval(case: Case, evidence: EvidenceStatus) -> Transition:
    asks = f"waits for approval by the annotation {PROMOTE}={case.candidate.name}"
    message = f"{evidence.interval}: {evidence.verdict}; {asks}"
    event = None if case.status.reason == _APPROVAL else (_APPROVAL, f": {message}")
    return case.move("Measuring", _APPROVAL, message, event=event)


def _shadow_change(case: Case) -> Iterator[Transition]:
    if case.candidate.shadow != (case.status.phase == "Shadowing"):
        yield case.move("Loading", "ShadowChanged", _LOADING)


_RULES: Mapping[CandidatePhase, Callable[[Case], Iterator[Transition]]] = {
    "Loading": _loading,
    "Progressing": _progressing,
    "Measuring": _measuring,
    "Shadowing": _shadow_change,
}


def _waits(case: Case, hold: timedelta) -> Iterator[tuple[str, str]]:
    """Yield reason and message of everything that keeps a candidate at its weight."""
    status = case.status
    if case.spec.suspend:
        yield "Suspended", "the rollout is suspended"
    if not case.acknowledged:
        yield "Unacknowledged", "not every predictor has applied its weight yet"
    if case.now - (status.step_time or case.now) < hold:
        yield "Holding", f"holds {_percent(status.weight)} for {hold}"
    if not _is_healthy(case):
        metrics = status.analysis.metrics if status.analysis is not None else ()
        failing = [f"{metric.type}: {metric.message}" for metric in metrics if metric.verdict != "Good"]
        yield "AnalysisPending", "; ".join(failing) or "waits for an analysis of its present weight"


def _is_healthy(case: Case) -> bool:
    analysis, since = case.status.analysis, case.status.step_time
    if analysis is None or not analysis.good or (since is not None and analysis.time <= since):
        return False
    return case.now - analysis.time <= 3 * parse_duration(case.spec.analysis.interval) + _ANALYSIS_SLACK


def _observe(case: Case) -> Case:
    """Return the case with the latest evidence, load failure and analysis."""
    observed, status = case.observed, case.status
    fields: dict[str, Any] = {"evidence": _evidence(case)}
    failed = observed.load_failure(status.digest) is not None
    if failed != (status.refused_time is not None):
        fields["refused_time"] = at(case.now) if failed else None
    if status.name in observed.measurements and status.phase != "Loading":
        fields["analysis"] = analyse(
            case.spec.analysis,
            observed.measurements[status.name],
            status.analysis,
            weight=status.weight,
            held=case.now - (status.step_time or case.now),
            now=case.now,
        )
    return case.update(**fields)


def _evidence(case: Case) -> EvidenceStatus | None:
    found = case.observed.evidence
    if found is None or found.rollout != case.observed.rollout:
        return None
    if case.now - found.computed_at > parse_duration(case.spec.promotion.max_evidence_age):
        return None
    wanted = (case.candidate.name, case.candidate.digest, case.baseline)
    for entry in found.candidates:
        if (entry.candidate, entry.candidate_digest, entry.baseline_digest) == wanted:
            fields = entry.model_dump(include={"verdict", "metric", "estimate", "lower", "upper"})
            return EvidenceStatus(**fields, time=at(found.computed_at))
    return None


def _follow_spec(case: Case) -> Case:
    """Return the case with the weight of its step: a changed spec takes effect at once."""
    weight = case.steps[min(case.status.step, len(case.steps) - 1)].weight
    if case.status.phase == "Loading" or weight == case.status.weight:
        return case
    return case.update(weight=weight, step_time=at(case.now))


def _step(case: Case, step: int) -> Transition:
    count = len(case.steps)
    message = f"has {_percent(case.steps[step].weight)} of the users"
    phase: CandidatePhase = "Measuring"
    if step < count - 1:
        phase, message = "Progressing", f"{message}, step {step + 1} of {count}"
    return case.move(phase, phase, message, event=("StepStarted", f": {message}"), step=step)


def _percent(weight: int) -> str:
    return f"{weight / 100:g} %"
