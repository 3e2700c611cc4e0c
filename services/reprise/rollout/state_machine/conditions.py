"""What a status says for people: phase, columns and conditions."""

from collections.abc import Iterable
from datetime import datetime

from reprise.rollout.resource.spec import RolloutSpec
from reprise.rollout.resource.status import CandidateStatus, Condition, RolloutStatus, at
from reprise.rollout.state_machine.observed_state import Observation
from reprise.rollout.state_machine.traffic_steps import stages
from reprise.routing import BUCKETS

_PHASES = ("Progressing", "Loading", "Measuring", "Shadowing", "RolledBack", "Promoted")


def summarised(spec: RolloutSpec, status: RolloutStatus, seen: Observation, now: datetime) -> RolloutStatus:
    """Return the status with its phase, its columns and its conditions."""
    phases = {candidate.phase for candidate in status.candidates}
    phase = next((name for name in _PHASES if name in phases), "Baseline")
    if spec.suspend and phase in {"Progressing", "Loading", "Measuring"}:
        phase = "Suspended"
    return status.model_copy(
        update={
            "phase": phase,
            "message": _message(status, phase),
            "weights": _weights(status.candidates),
            "step": _steps(spec, status.candidates),
            "acknowledged": f"{status.pods.acknowledged}/{status.pods.total}",
            "conditions": _conditions(status, seen, now),
        }
    )


def stopped(
    status: RolloutStatus, generation: int, reason: str, message: str, now: datetime
) -> RolloutStatus:
    """Return the status of a rollout that cannot be acted on; what it serves goes on."""
    ready = _condition(status, now, generation, "Ready", holds=False, reason=reason, message=message)
    others = tuple(condition for condition in status.conditions if condition.type != "Ready")
    return status.model_copy(
        update={
            "observed_generation": generation,
            "phase": reason,
            "message": message,
            "conditions": (ready, *others),
        }
    )


def _message(status: RolloutStatus, phase: str) -> str:
    said = [c for c in status.candidates if phase in {c.phase, "Suspended"} and c.message]
    return "; ".join(f"{candidate.name}: {candidate.message}" for candidate in said)


def _weights(candidates: Iterable[CandidateStatus]) -> str:
    given = [candidate for candidate in candidates if candidate.weight]
    shares = [("baseline", BUCKETS - sum(candidate.weight for candidate in given))]
    shares += [(candidate.name, candidate.weight) for candidate in given]
    return ", ".join(f"{name} {weight / 100:g}%" for name, weight in shares)


def _steps(spec: RolloutSpec, candidates: Iterable[CandidateStatus]) -> str:
    ladders = {candidate.name: len(stages(spec, candidate)) for candidate in spec.candidates}
    under_way = [c for c in candidates if c.phase in {"Progressing", "Measuring"} and c.name in ladders]
    return ", ".join(f"{min(c.step + 1, ladders[c.name])}/{ladders[c.name]}" for c in under_way)


def _conditions(status: RolloutStatus, seen: Observation, now: datetime) -> tuple[Condition, ...]:
    def condition(kind: str, holds: bool, reason: str, message: str) -> Condition:
        return _condition(status, now, seen.generation, kind, holds=holds, reason=reason, message=message)

    under_way = [c for c in status.candidates if c.phase in {"Loading", "Progressing"}]
    back = [c for c in status.candidates if c.phase == "RolledBack"]
    return (
        condition("Ready", *_readiness(status, seen)),
        condition(
            "Progressing",
            bool(under_way),
            under_way[0].reason or "Progressing" if under_way else "Idle",
            "; ".join(f"{c.name}: {c.message}" for c in under_way),
        ),
        condition(
            "Healthy",
            not back,
            back[0].reason or "RolledBack" if back else "NoRollback",
            "; ".join(f"{c.name}: {c.message}" for c in back),
        ),
    )


def _readiness(status: RolloutStatus, seen: Observation) -> tuple[bool, str, str]:
    if not seen.pods:
        return False, "NoPredictors", "no predictor is ready"
    fingerprint = status.routing.fingerprint if status.routing is not None else ""
    for pod in seen.pods:
        if pod.report is None:
            return False, "Unreachable", f"{pod.pod}: {pod.problem}"
        if pod.report.fingerprint == fingerprint:
            continue
        if pod.report.refused is not None:
            return False, "DocumentRefused", f"{pod.pod}: {pod.report.refused}"
        return False, "Unacknowledged", f"{pod.pod} has not applied the shares yet"
    return True, "Acknowledged", f"all {len(seen.pods)} predictors serve the shares"


def _condition(
    status: RolloutStatus,
    now: datetime,
    generation: int,
    kind: str,
    *,
    holds: bool,
    reason: str,
    message: str,
) -> Condition:
    value = "True" if holds else "False"
    before = next((c for c in status.conditions if c.type == kind), None)
    since = before.last_transition_time if before is not None and before.status == value else at(now)
    return Condition.model_validate(
        {
            "type": kind,
            "status": value,
            "reason": reason,
            "message": message,
            "lastTransitionTime": since,
            "observedGeneration": generation,
        }
    )
