"""The traffic weights that a candidate goes through."""

from dataclasses import dataclass
from datetime import timedelta

from reprise.rollout.resource.spec import Candidate, RolloutSpec, seconds


@dataclass(frozen=True, slots=True)
class TrafficStep:
    """A weight in basis points, and the minimum time that the candidate keeps it."""

    weight: int
    hold: timedelta


def traffic_steps(spec: RolloutSpec, candidate: Candidate) -> tuple[TrafficStep, ...]:
    """Return a candidate's steps, rising; the last is its own ``trafficPercent``.

    Steps at or above that are merged into the last one.
    """
    if candidate.shadow:
        return (TrafficStep(0, timedelta()),)
    steps = [TrafficStep(basis_points(step.traffic_percent), seconds(step.hold)) for step in spec.steps]
    own = basis_points(candidate.traffic_percent)
    hold = next((step.hold for step in steps if step.weight >= own), timedelta())
    return (*(step for step in steps if step.weight < own), TrafficStep(own, hold))


def basis_points(percent: float) -> int:
    """Return hundredths of a percent, rounded down so that weights never add up to more than the percentages."""
    return int(percent * 100 + 1e-6)
