"""A simulation of the stream: what its lag does in a burst, a rolling update, and when a zone is lost."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reprise.evaluation.classification_metrics import Floats
from reprise.log.settings import KafkaAccessSettings

# Until the group notices that a member is gone
_SESSION_SECONDS = int(KafkaAccessSettings.model_fields["kafka_session_seconds"].default)
_REBALANCE_SECONDS = 5  # In which nobody reads
_CAUGHT_UP_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Outage:
    """Materializers that are gone for a while, seconds from the beginning; ``leaves`` says that they tell the group."""

    members: Sequence[int]
    start: int
    end: int
    leaves: bool = False

    @property
    def noticed(self) -> int:
        """When the group notices that they are gone."""
        return self.start if self.leaves else self.start + _SESSION_SECONDS


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
    users: int,
    *,
    outages: Sequence[Outage] = (),
    ends: int = 0,
) -> Outcome:
    """Simulate the stream second by second.

    Events arrive by a Poisson process. Users, whose activity is log-normal, are spread over the partitions by a hash.
    A materializer folds up to its rate, shared out by the backlogs of its partitions. When the group's members change,
    nobody reads for the time of a rebalance; a member that is lost without a word keeps its partitions until its
    session ends.

    Args:
        rates: Events a second, shape (seconds,).
        partitions: Number of partitions of the topic.
        materializers: Number of members of the group.
        events_per_second: What one of them folds.
        users: Number of users.
        outages: Which members are gone, and when.
        ends: Second at which the disturbance is over.
    """
    rng = np.random.default_rng(0)
    activity = rng.lognormal(0.0, 1.0, users)
    shares = np.bincount(
        rng.integers(partitions, size=users), weights=activity / activity.sum(), minlength=partitions
    )
    arrived = np.cumsum(rng.poisson(np.outer(rates, shares)), axis=0, dtype=np.float64)
    folded, done = np.zeros_like(arrived), np.zeros(partitions)
    rebalances = {each.noticed for each in outages} | {each.end for each in outages}
    changes = rebalances | {each.start for each in outages}
    owners, works, paused_until = _owners(partitions, materializers, set()), np.ones(materializers, bool), 0
    for second in range(len(rates)):
        if second in changes:
            works = np.ones(materializers, bool)
            works[list(_gone(outages, second, "start"))] = False
        if second in rebalances:
            paused_until = second + _REBALANCE_SECONDS
            owners = _owners(partitions, materializers, _gone(outages, second, "noticed"))
        if second >= paused_until:
            backlog = (arrived[second] - done) * works[owners]
            of_each = np.bincount(owners, weights=backlog, minlength=materializers)
            done += backlog * np.minimum(1.0, events_per_second / np.maximum(of_each, 1.0))[owners]
        folded[second] = done
    lag = _lag(arrived, folded)
    late = np.flatnonzero(lag[ends:] > _CAUGHT_UP_SECONDS)
    after = float(late[-1] + 1) if len(late) else 0.0
    return Outcome(float(lag.max()), None if ends + after >= len(rates) else after)


def _gone(outages: Sequence[Outage], second: int, since: str) -> set[int]:
    """Return the members that are gone since the ``start``, or since that was ``noticed``."""
    return {
        member for each in outages if getattr(each, since) <= second < each.end for member in each.members
    }


def _owners(partitions: int, materializers: int, gone: set[int]) -> NDArray[np.int64]:
    """Return the member that reads each partition; the earlier ones if none is left."""
    members = [each for each in range(materializers) if each not in gone] or [*range(materializers)]
    return np.asarray(members)[np.arange(partitions) % len(members)]


def _lag(arrived: Floats, folded: Floats) -> Floats:
    """Return the age of the oldest event that is not folded, over all partitions, shape (seconds,)."""
    seconds = np.arange(len(arrived))
    lag = np.zeros(len(arrived))
    for column, done in zip(arrived.T, folded.T, strict=True):
        oldest = np.minimum(np.searchsorted(column, done + 1e-6, side="right"), seconds)
        np.maximum(lag, np.where(column - done > 1e-6, seconds - oldest, 0), out=lag)
    return lag
