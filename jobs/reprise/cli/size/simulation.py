"""A simulation of the stream: what its lag does in a burst, a rolling update, and when a zone is lost."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SESSION_SECONDS = 10  # Until the group notices that a member is gone; the default of KAFKA_SESSION_SECONDS
_REBALANCE_SECONDS = 5  # In which nobody reads
_CAUGHT_UP_SECONDS = 2
_SIMULATED_USERS = 100_000

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Outage:
    """Materializers that are gone for a while, seconds from the beginning; ``leaves`` says that they tell the group."""

    members: Sequence[int]
    start: int
    end: int
    leaves: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The largest age of an event that was not folded, and how long after the disturbance events waited, seconds.

    ``caught_up_after`` is None if the simulation ended before.
    """

    largest_lag: float
    caught_up_after: float | None


def simulate(
    rates: Floats,
    partitions: int,
    materializers: int,
    events_per_second: float,
    *,
    outages: Sequence[Outage] = (),
    ends: int = 0,
    seed: int = 0,
) -> Outcome:
    """Simulate the stream second by second.

    Events arrive by a Poisson process. Users, some of them a hundred times as active as others, are spread over the
    partitions by a hash. A materializer folds up to its rate, shared out by the backlogs of its partitions. When the
    group's members change, nobody reads for the time of a rebalance; a member that is lost without a word keeps its
    partitions until its session ends.

    Args:
        rates: Events a second, shape (seconds,).
        partitions: Number of partitions of the topic.
        materializers: Number of members of the group.
        events_per_second: What one of them folds.
        outages: Which members are gone, and when.
        ends: Second at which the disturbance is over.
        seed: Seed of the generator.
    """
    rng = np.random.default_rng(seed)
    activity = rng.lognormal(0.0, 1.0, _SIMULATED_USERS)
    shares = np.bincount(
        rng.integers(partitions, size=_SIMULATED_USERS),
        weights=activity / activity.sum(),
        minlength=partitions,
    )
    arrived = np.cumsum(rng.poisson(np.outer(rates, shares)), axis=0, dtype=np.float64)
    folded, done = np.zeros_like(arrived), np.zeros(partitions)
    changes = _changes(outages)
    members = _assign(partitions, range(materializers))
    paused_until = -1
    for second in range(len(rates)):
        if second in changes:
            paused_until = second + _REBALANCE_SECONDS
            members = _assign(
                partitions,
                [each for each in range(materializers) if not _is_gone(each, second, outages, True)],
            )
        if second >= paused_until:
            working = [not _is_gone(each, second, outages, False) for each in range(materializers)]
            backlog = (arrived[second] - done) * np.asarray(working)[members]
            per_member = np.bincount(members, weights=backlog, minlength=materializers)
            share = np.minimum(1.0, events_per_second / np.maximum(per_member, 1.0))
            done += backlog * share[members]
        folded[second] = done
    lag = _lag(arrived, folded)
    late = np.flatnonzero(lag[ends:] > _CAUGHT_UP_SECONDS)
    after = float(late[-1] + 1) if len(late) else 0.0
    return Outcome(float(lag.max()), None if ends + after >= len(rates) else after)


def _assign(partitions: int, members: Sequence[int]) -> NDArray[np.int64]:
    return np.asarray(members)[np.arange(partitions) % len(members)]


def _changes(outages: Sequence[Outage]) -> set[int]:
    noticed = {each.start + (0 if each.leaves else _SESSION_SECONDS) for each in outages}
    return noticed | {each.end for each in outages}


def _is_gone(member: int, second: int, outages: Sequence[Outage], to_the_group: bool) -> bool:
    return any(
        member in each.members
        and each.start + (_SESSION_SECONDS if to_the_group and not each.leaves else 0) <= second < each.end
        for each in outages
    )


def _lag(arrived: Floats, folded: Floats) -> Floats:
    """Return the age of the oldest event that is not folded, over all partitions, shape (seconds,)."""
    seconds = np.arange(len(arrived))
    ages = [
        seconds - np.minimum(np.searchsorted(column, done + 1e-6, side="right"), seconds)
        for column, done in zip(arrived.T, folded.T, strict=True)
    ]
    waiting = arrived - folded > 1e-6
    lag: Floats = np.max(np.where(waiting.T, ages, 0), axis=0).astype(np.float64)
    return lag
