"""The state machine of a candidate: pure transitions between its phases."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from reprise.rollout.exceptions import InvalidTransitionError
from reprise.rollout.resource.events import ResourceEvent
from reprise.rollout.resource.spec import Candidate, RolloutSpec, seconds
from reprise.rollout.resource.status import (
    CandidatePhase,
    CandidateStatus,
    DecidedBy,
    EvidenceStatus,
    HistoryEntry,
    at,
)
from reprise.rollout.state_machine.analysis import analyse
from reprise.rollout.state_machine.observed_state import ObservedState
from reprise.rollout.state_machine.traffic_steps import traffic_steps

ACTIVE_PHASES = frozenset({"Loading", "Progressing", "Measuring", "Shadowing"})
"""Phases in which the predictors hold the candidate's model."""

TRANSITIONS: Mapping[CandidatePhase, frozenset[CandidatePhase]] = {
    "Loading": frozenset({"Progressing", "Measuring", "Shadowing", "RolledBack", "Promoted"}),
    "Progressing": frozenset({"Measuring", "Loading", "RolledBack", "Promoted"}),
    "Measuring": frozenset({"Loading", "RolledBack", "Promoted"}),
    "Shadowing": frozenset({"Loading", "RolledBack", "Promoted"}),
    "RolledBack": frozenset({"Loading"}),
    "Promoted": frozenset({"RolledBack"}),
}
"""The phases that follow each phase; a candidate may also stay in its phase."""

_ANALYSIS_SLACK = timedelta(seconds=10)
_LOAD_FAILURE_GRACE = timedelta(seconds=15)
"""A model store that is briefly unavailable looks like a broken bundle, and does no harm meanwhile."""


@dataclass(frozen=True, slots=True)
class RolloutContext:
    """What the transitions of all candidates of a rollout depend on.

    Attributes:
        spec: The rollout's spec.
        observed: The observed state.
        baseline: Digest of the baseline.
        acknowledged: Whether every predictor has applied the document of the previous status.
        now: The time.
    """

    spec: RolloutSpec
    observed: ObservedState
    baseline: str
    acknowledged: bool
    now: datetime


@dataclass(frozen=True, slots=True)
class Transition:
    """A candidate's next status, with the event and the history entry that it causes."""

    status: CandidateStatus
    event: ResourceEvent | None = None
    history: HistoryEntry | None = None


def start(candidate: Candidate, context: RolloutContext) -> Transition:
    """Return the first transition of a new candidate."""
    status = _loading(candidate, context, "New")
    if candidate.digest == context.baseline:
        return Transition(_stop(status, "Promoted", "IsBaseline", "it is the baseline", step_time=None))
    return Transition(status, _event(status, "Loading", f"loading {candidate.digest}"))


def advance(candidate: Candidate, status: CandidateStatus, context: RolloutContext) -> Transition:
    """Return the next transition of a known candidate, other than its promotion.

    A reason to roll back takes precedence over everything else.
    """
    if status.phase not in ACTIVE_PHASES:
        if status.phase == "Promoted" and candidate.digest != context.baseline:
            status = _stop(status, "RolledBack", "BaselineMoved", "another model is the baseline now")
        return Transition(status)
    if candidate.digest == context.baseline:
        return Transition(_stop(status, "Promoted", "IsBaseline", "it is the baseline"))
    status = _observe(candidate, status, context)
    if (failure := _failure(status, context)) is not None:
        return roll_back(status, context, *failure)
    if status.phase == "Loading":
        return _finish_loading(candidate, status, context)
    return _advance_loaded(candidate, status, context)


def roll_back(
    status: CandidateStatus, context: RolloutContext, reason: str, by: DecidedBy, message: str
) -> Transition:
    """Return the transition that takes all traffic from a candidate."""
    return Transition(
        _stop(status, "RolledBack", reason, message),
        ResourceEvent("Warning", "RolledBack", f"candidate {status.name}: {message}"),
        HistoryEntry(
            time=at(context.now), event="RolledBack", candidate=status.name, digest=status.digest,
            baseline=context.baseline, by=by, message=message,
        ),
    )  # fmt: skip


def promote(status: CandidateStatus, context: RolloutContext, by: DecidedBy, message: str) -> Transition:
    """Return the transition that makes a candidate the baseline."""
    return Transition(
        _stop(status, "Promoted", "Promoted", message),
        ResourceEvent("Normal", "Promoted", f"candidate {status.name} is the baseline: {message}"),
        HistoryEntry(
            time=at(context.now), event="Promoted", candidate=status.name, digest=status.digest,
            baseline=context.baseline, by=by, message=message,
        ),
    )  # fmt: skip


def restart(status: CandidateStatus, context: RolloutContext) -> Transition:
    """Return the transition of a rolled back candidate to its first step."""
    restarted = _loading(status, context, "Retried", previous=status)
    return Transition(restarted, _event(status, "Retrying", "restarts"))


def promotion_blocker(candidate: Candidate, status: CandidateStatus, context: RolloutContext) -> str | None:
    """Return why the promotion rule does not promote a candidate now, ``None`` if it does."""
    wanted = {"Better": {"better"}, "NotWorse": {"better", "not_worse"}}.get(
        context.spec.promotion.rule, set()
    )
    hold = traffic_steps(context.spec, candidate)[-1].hold
    verdict = status.evidence.verdict if status.evidence is not None else None
    blockers = (
        (not wanted, "waits for manual promotion"),
        (context.spec.suspend, "the rollout is suspended"),
        (status.phase != "Measuring", f"it is {status.phase}"),
        (not context.acknowledged, "not every predictor has applied its weight yet"),
        (_held(status, context) < hold, f"holds {_percent(status.weight)} for {hold}"),
        (not _is_healthy(status, context), _unhealthy_metrics(status)),
        (verdict is None, "waits for the outcomes of its users"),
        (verdict not in wanted, f"the outcomes of its users are {verdict}"),
    )
    return next((reason for applies, reason in blockers if applies), None)


def analysis_due(
    candidate: Candidate, status: CandidateStatus | None, spec: RolloutSpec, now: datetime
) -> bool:
    """Return whether it is time to measure a candidate."""
    if status is None or status.phase not in ACTIVE_PHASES - {"Loading"} or status.digest != candidate.digest:
        return False
    return status.analysis is None or now - status.analysis.time >= seconds(spec.analysis.interval)


def _observe(candidate: Candidate, status: CandidateStatus, context: RolloutContext) -> CandidateStatus:
    """Return the status with the latest evidence, load failure and analysis."""
    observed = context.observed
    failed = observed.load_failure(candidate.digest) is not None
    update: dict[str, Any] = {"evidence": _evidence(candidate, context)}
    if failed != (status.refused_time is not None):
        update["refused_time"] = at(context.now) if failed else None
    if candidate.name in observed.measurements and status.phase != "Loading":
        update["analysis"] = analyse(
            context.spec.analysis,
            observed.measurements[candidate.name],
            status.analysis,
            weight=status.weight,
            pods=len(observed.pods),
            now=context.now,
        )
    return status.model_copy(update=update)


def _evidence(candidate: Candidate, context: RolloutContext) -> EvidenceStatus | None:
    found = context.observed.evidence
    if found is None or found.rollout != context.observed.rollout:
        return None
    if context.now - found.computed_at > seconds(context.spec.promotion.max_evidence_age):
        return None
    for entry in found.candidates:
        models = (entry.candidate, entry.candidate_digest, entry.baseline_digest)
        if models == (candidate.name, candidate.digest, context.baseline):
            fields = entry.model_dump(include={"verdict", "metric", "estimate", "lower", "upper"})
            return EvidenceStatus(**fields, time=at(found.computed_at))
    return None


def _failure(status: CandidateStatus, context: RolloutContext) -> tuple[str, DecidedBy, str] | None:
    """Return why a candidate has to be rolled back: reason, what decided, message."""
    load_failure, since = context.observed.load_failure(status.digest), status.refused_time
    if load_failure is not None and since is not None and context.now - since >= _LOAD_FAILURE_GRACE:
        return "BundleRefused", "Predictor", f"a predictor cannot load the bundle: {load_failure}"
    limit = context.spec.analysis.failure_limit
    if status.analysis is not None and (metric := status.analysis.breach(limit)) is not None:
        message = f"{metric.message}, in {metric.failures} analyses in a row"
        return f"{metric.type}Breached", "Analysis", message
    if status.evidence is not None and status.evidence.verdict == "worse":
        return "OutcomesWorse", "Outcomes", f"its users' outcomes are worse: {status.evidence.interval}"
    return None


def _finish_loading(candidate: Candidate, status: CandidateStatus, context: RolloutContext) -> Transition:
    observed = context.observed
    if not observed.pods:
        return Transition(_enter(status, "Loading", "NoPredictors", "no predictor is ready"))
    if not (context.acknowledged and observed.all_loaded(candidate.digest)):
        failure = observed.load_failure(candidate.digest)
        message = (
            "not every predictor has loaded it yet" if failure is None else f"cannot be loaded: {failure}"
        )
        return Transition(_enter(status, "Loading", "Loading", message))
    if candidate.shadow:
        status = _enter(
            status, "Shadowing", "Shadowing", "scores without answering", step=0, step_time=at(context.now), weight=0
        )  # fmt: skip
        return Transition(status, _event(status, "Shadowing", "scores every request, answers none"))
    if context.spec.suspend:
        return Transition(_enter(status, "Loading", "Suspended", "loaded; the rollout is suspended"))
    return _start_step(candidate, status, context, 0)


def _advance_loaded(candidate: Candidate, status: CandidateStatus, context: RolloutContext) -> Transition:
    if candidate.shadow != (status.phase == "Shadowing"):
        return Transition(_loading(status, context, "ShadowChanged", previous=status))
    # A changed spec takes effect at once.
    steps = traffic_steps(context.spec, candidate)
    weight = steps[min(status.step, len(steps) - 1)].weight
    if weight != status.weight:
        status = status.model_copy(update={"weight": weight, "step_time": at(context.now)})
    if status.phase == "Progressing":
        return _advance_step(candidate, status, context)
    if status.phase == "Measuring" and (blocker := promotion_blocker(candidate, status, context)):
        status = _enter(status, "Measuring", "Measuring", blocker)
    return Transition(status)


def _advance_step(candidate: Candidate, status: CandidateStatus, context: RolloutContext) -> Transition:
    def wait(reason: str, message: str) -> Transition:
        return Transition(_enter(status, "Progressing", reason, message))

    steps = traffic_steps(context.spec, candidate)
    if status.step >= len(steps) - 1:
        return _start_step(candidate, status, context, len(steps) - 1)
    if context.spec.suspend:
        return wait("Suspended", "the rollout is suspended")
    if not context.acknowledged:
        return wait("Unacknowledged", "not every predictor has applied its weight yet")
    step = steps[status.step]
    if _held(status, context) < step.hold:
        return wait("Holding", f"holds {_percent(step.weight)} for {step.hold}")
    if not _is_healthy(status, context):
        return wait("AnalysisPending", _unhealthy_metrics(status))
    return _start_step(candidate, status, context, status.step + 1)


def _start_step(
    candidate: Candidate, status: CandidateStatus, context: RolloutContext, step: int
) -> Transition:
    steps = traffic_steps(context.spec, candidate)
    last = step == len(steps) - 1
    phase: CandidatePhase = "Measuring" if last else "Progressing"
    weight = steps[step].weight
    message = f"has {_percent(weight)} of the users" + ("" if last else f", step {step + 1} of {len(steps)}")
    status = _enter(status, phase, phase, message, step=step, step_time=at(context.now), weight=weight)
    return Transition(status, _event(status, "StepStarted", message))


def _held(status: CandidateStatus, context: RolloutContext) -> timedelta:
    return timedelta() if status.step_time is None else context.now - status.step_time


def _is_healthy(status: CandidateStatus, context: RolloutContext) -> bool:
    """Return whether a recent analysis of the present weight found every metric good."""
    analysis = status.analysis
    if analysis is None or not analysis.good:
        return False
    if status.step_time is not None and analysis.time <= status.step_time:
        return False
    return context.now - analysis.time <= 3 * seconds(context.spec.analysis.interval) + _ANALYSIS_SLACK


def _unhealthy_metrics(status: CandidateStatus) -> str:
    metrics = status.analysis.metrics if status.analysis is not None else ()
    failing = [f"{metric.type}: {metric.message}" for metric in metrics if metric.verdict != "Good"]
    return "; ".join(failing) or "waits for an analysis of its present weight"


def _loading(
    candidate: Candidate | CandidateStatus,
    context: RolloutContext,
    reason: str,
    previous: CandidateStatus | None = None,
) -> CandidateStatus:
    if previous is not None:
        _check(previous, "Loading")
    return CandidateStatus(
        name=candidate.name, digest=candidate.digest, phase="Loading", reason=reason,
        message="predictors are loading it", step_time=at(context.now),
    )  # fmt: skip


def _enter(
    status: CandidateStatus, phase: CandidatePhase, reason: str, message: str, **update: Any
) -> CandidateStatus:
    _check(status, phase)
    return status.model_copy(update={"phase": phase, "reason": reason, "message": message, **update})


def _stop(
    status: CandidateStatus, phase: CandidatePhase, reason: str, message: str, **update: Any
) -> CandidateStatus:
    return _enter(status, phase, reason, message, weight=0, buckets=(), **update)


def _check(status: CandidateStatus, phase: CandidatePhase) -> None:
    if phase != status.phase and phase not in TRANSITIONS[status.phase]:
        raise InvalidTransitionError(status.name, status.phase, phase)


def _event(status: CandidateStatus, reason: str, message: str) -> ResourceEvent:
    return ResourceEvent("Normal", reason, f"candidate {status.name}: {message}")


def _percent(weight: int) -> str:
    return f"{weight / 100:g} %"
