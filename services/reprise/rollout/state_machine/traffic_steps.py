"""Which share a candidate has at which step."""

from dataclasses import dataclass
from datetime import timedelta

from reprise.rollout.resource.spec import Candidate, RolloutSpec, seconds


@dataclass(frozen=True, slots=True)
class Stage:
    """A share that a candidate holds.

    Attributes:
        weight: Basis points.
        hold: How long at least before the next stage, or before it is promoted by rule.
    """

    weight: int
    hold: timedelta


def stages(spec: RolloutSpec, candidate: Candidate) -> tuple[Stage, ...]:
    """Return the stages of a candidate, rising; the last is its own share.

    Steps at or above the candidate's own share are its last stage.
    """
    if candidate.shadow:
        return (Stage(0, timedelta()),)
    own = basis_points(candidate.traffic_percent)
    below = [
        Stage(basis_points(step.traffic_percent), seconds(step.hold))
        for step in spec.steps
        if basis_points(step.traffic_percent) < own
    ]
    holds = [seconds(step.hold) for step in spec.steps if basis_points(step.traffic_percent) >= own]
    return (*below, Stage(own, holds[0] if holds else timedelta()))


def basis_points(percent: float) -> int:
    """Return hundredths of a percent, rounded down, so that shares never add up to more than they did."""
    return int(percent * 100 + 1e-6)


def weight_at(spec: RolloutSpec, candidate: Candidate, step: int) -> int:
    """Return a candidate's share at a step, basis points; beyond the last, the last."""
    ladder = stages(spec, candidate)
    return ladder[min(step, len(ladder) - 1)].weight
