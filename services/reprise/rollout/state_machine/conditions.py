"""Phase, printer columns and conditions of a rollout's status."""

from collections.abc import Iterable
from datetime import datetime

from reprise.rollout.resource.spec import RolloutSpec
from reprise.rollout.resource.status import CandidateStatus, Condition, RolloutStatus, at
from reprise.rollout.state_machine.observed_state import ObservedState
from reprise.routing import BUCKETS

_PHASES = ("Progressing", "Loading", "Measuring", "Shadowing", "RolledBack", "Promoted")


def summarise(
    spec: RolloutSpec, status: RolloutStatus, observed: ObservedState, now: datetime
) -> RolloutStatus:
    """Return the status with its phase, columns and conditions."""
    candidates = status.candidates
    phases = {candidate.phase for candidate in candidates}
    phase = next((name for name in _PHASES if name in phases), "Baseline")
    if spec.suspend and phase in {"Progressing", "Loading", "Measuring"}:
        phase = "Suspended"
    return status.model_copy(
        update={
            "phase": phase,
            "message": _messages(c for c in candidates if phase in {c.phase, "Suspended"} and c.message),
            "weights": _weights(candidates),
            "step": _steps(spec, candidates),
            "acknowledged": f"{status.pods.acknowledged}/{status.pods.total}",
            "conditions": _conditions(status, observed, now),
        }
    )


def failed_status(
    status: RolloutStatus, generation: int, reason: str, message: str, now: datetime
) -> RolloutStatus:
    """Return the status of a rollout that cannot be acted on; its traffic stays as it is."""
    ready = _condition(status, now, generation, "Ready", (False, reason, message))
    others = tuple(condition for condition in status.conditions if condition.type != "Ready")
    return status.model_copy(
        update={
            "observed_generation": generation,
            "phase": reason,
            "message": message,
            "conditions": (ready, *others),
        }
    )


def _messages(candidates: Iterable[CandidateStatus]) -> str:
    return "; ".join(f"{candidate.name}: {candidate.message}" for candidate in candidates)


def _weights(candidates: Iterable[CandidateStatus]) -> str:
    weights = [(candidate.name, candidate.weight) for candidate in candidates if candidate.weight]
    baseline = BUCKETS - sum(weight for _, weight in weights)
    return ", ".join(f"{name} {weight / 100:g}%" for name, weight in [("baseline", baseline), *weights])


def _steps(spec: RolloutSpec, candidates: Iterable[CandidateStatus]) -> str:
    counts = {candidate.name: len(spec.steps_of(candidate)) for candidate in spec.candidates}
    moving = [c for c in candidates if c.phase in {"Progressing", "Measuring"} and c.name in counts]
    return ", ".join(f"{min(c.step + 1, counts[c.name])}/{counts[c.name]}" for c in moving)


def _conditions(status: RolloutStatus, observed: ObservedState, now: datetime) -> tuple[Condition, ...]:
    moving = [c for c in status.candidates if c.phase in {"Loading", "Progressing"}]
    failed = [c for c in status.candidates if c.phase == "RolledBack"]
    progress_reason = moving[0].reason or "Progressing" if moving else "Idle"
    health_reason = failed[0].reason or "RolledBack" if failed else "NoRollback"
    values = {
        "Ready": _readiness(status, observed),
        "Progressing": (bool(moving), progress_reason, _messages(moving)),
        "Healthy": (not failed, health_reason, _messages(failed)),
    }
    return tuple(_condition(status, now, observed.generation, kind, value) for kind, value in values.items())


def _readiness(status: RolloutStatus, observed: ObservedState) -> tuple[bool, str, str]:
    if not observed.pods:
        return False, "NoPredictors", "no predictor is ready"
    fingerprint = status.routing.fingerprint if status.routing is not None else ""
    for pod in observed.pods:
        if pod.report is None:
            return False, "Unreachable", f"{pod.pod}: {pod.problem}"
        if pod.report.fingerprint == fingerprint:
            continue
        if pod.report.refused is not None:
            return False, "DocumentRefused", f"{pod.pod}: {pod.report.refused}"
        return False, "Unacknowledged", f"{pod.pod} has not applied the weights yet"
    return True, "Acknowledged", f"all {len(observed.pods)} predictors serve the weights"


def _condition(
    status: RolloutStatus, now: datetime, generation: int, kind: str, value: tuple[bool, str, str]
) -> Condition:
    holds, reason, message = value
    before = next((c for c in status.conditions if c.type == kind), None)
    unchanged = before is not None and before.status == str(holds)
    return Condition(
        type=kind,
        status="True" if holds else "False",
        reason=reason,
        message=message,
        last_transition_time=before.last_transition_time if before and unchanged else at(now),
        observed_generation=generation,
    )
