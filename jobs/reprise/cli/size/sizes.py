"""How many of each component a load needs, and the resources of all of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reprise.cli.size.unit_costs import UnitCosts

_SECONDS_PER_DAY = 86_400
_HOURS_PER_MONTH = 730
_GIB = 2**30
_FEWEST_PARTITIONS = 6
_FEWEST_PER_MATERIALIZER = 2
_LARGEST_SHARE = 1.15  # Of the materializer with the most partitions, over the mean


@dataclass(frozen=True, slots=True)
class Load:
    """What has to be carried, and what is kept of it."""

    events_per_day: float
    users: float
    products: float
    pairs_per_user: float = 30.0
    predictions_per_second: float = 0.0  # At the peak
    peak: float = 3.0  # Events a second at the peak over the day's mean
    kafka_days: float = 7.0
    archive_days: float = 365.0
    training_days: float = 180.0
    duplicate_hours: float = 24.0  # For which event ids are kept

    @property
    def peak_events(self) -> float:
        """Events a second at the peak."""
        return self.peak * self.events_per_day / _SECONDS_PER_DAY


@dataclass(frozen=True, slots=True)
class Margins:
    """What is kept free."""

    utilization: float = 0.6  # Share of a processor that is used at the peak
    zones: int = 3  # Of which the others carry the peak when one is lost
    kafka_copies: int = 3
    redis_copies: int = 2  # A primary and a replica
    redis_gib: float = 16.0  # Memory of one Redis
    redis_free: float = 0.4  # Share of it for fragmentation, buffers and the copy that saves it
    broker_mib_per_second: float = 30.0  # What a broker takes in, copies included; not measured here
    disk_free: float = 0.3


@dataclass(frozen=True, slots=True)
class Component:
    """The instances of a component, and the resources of all of them together at the peak."""

    name: str
    instances: int
    cores: float
    memory_gib: float
    disk_gib: float
    because: str  # What decides on their number


@dataclass(frozen=True, slots=True)
class Sizing:
    """What a load needs."""

    components: Sequence[Component]
    partitions: int
    materializers: int
    archive_gib: float
    training_core_hours: float  # Of the rows of one training on the whole history

    @property
    def core_hours_per_month(self) -> float:
        """Hours of one core."""
        return _HOURS_PER_MONTH * sum(each.cores for each in self.components)

    @property
    def gib_hours_per_month(self) -> float:
        """Hours of one GiB of memory."""
        return _HOURS_PER_MONTH * sum(each.memory_gib for each in self.components)


def size(load: Load, costs: UnitCosts, margins: Margins) -> Sizing:
    """Return what a load needs.

    A component of one process per instance needs rate × processor time / utilization instances, and as many more as
    carry the peak when a zone is lost.
    """
    events, predictions = load.peak_events, load.predictions_per_second
    materializers = _instances(events * costs.materializer_us, margins)
    partitions = _FEWEST_PARTITIONS
    while not _are_shared_evenly(partitions, materializers):
        partitions *= 2
    components = [
        _stateless("producer", events * costs.producer_us, 0.25, margins),
        _stateless("materializer", events * costs.materializer_us, 0.5, margins),
        _stateless("predictor", predictions * costs.predictor_us, 0.25, margins),
        _redis(load, costs, margins),
        _brokers(load, costs, margins),
    ]
    return Sizing(
        components=components,
        partitions=partitions,
        materializers=materializers,
        archive_gib=load.archive_days * load.events_per_day * costs.archive_bytes / _GIB,
        training_core_hours=load.training_days * load.events_per_day * costs.training_us / 1e6 / 3600,
    )


def _are_shared_evenly(partitions: int, materializers: int) -> bool:
    each = partitions / materializers
    return each >= _FEWEST_PER_MATERIALIZER and math.ceil(each) <= _LARGEST_SHARE * each


def _instances(busy_us: float, margins: Margins) -> int:
    """Return how many processes carry the microseconds of work that come each second, also with one zone less."""
    needed = busy_us / 1e6 / margins.utilization * margins.zones / (margins.zones - 1)
    return max(2, math.ceil(needed))


def _stateless(name: str, busy_us: float, gib: float, margins: Margins) -> Component:
    count = _instances(busy_us, margins)
    why = f"{busy_us / 1e6:,.2f} cores of work at the peak" if count > 2 else "two, so that one may be lost"
    return Component(name, count, float(count), count * gib, 0.0, why)


def _redis(load: Load, costs: UnitCosts, margins: Margins) -> Component:
    rows = load.users * (costs.user_bytes + load.pairs_per_user * costs.pair_bytes)
    ids = load.events_per_day * load.duplicate_hours / 24 * costs.event_id_bytes
    gib = (rows + load.products * costs.product_bytes + ids) / _GIB
    by_memory = math.ceil(gib / (margins.redis_gib * (1 - margins.redis_free)))
    # A prediction reads the three rows that an event writes; it is counted as one.
    work = (load.peak_events + load.predictions_per_second) * costs.redis_us / 1e6
    by_work = math.ceil(work / margins.utilization)
    shards = max(1, by_memory, by_work)
    shards = shards if shards == 1 else max(3, shards)  # A cluster has at least three primaries
    count = shards * margins.redis_copies
    because = (
        f"{gib:,.1f} GiB of rows and event ids" if by_memory >= by_work else f"{work:,.2f} cores of work"
    )
    memory = max(1.0, min(margins.redis_gib, gib / shards / (1 - margins.redis_free)))
    return Component(
        "redis",
        count,
        float(count),
        count * memory,
        count * memory * 2,
        f"{shards} shard{'s' if shards > 1 else ''}: {because}",
    )


def _brokers(load: Load, costs: UnitCosts, margins: Margins) -> Component:
    mib = load.peak_events * costs.kafka_bytes * margins.kafka_copies / 2**20
    work = load.peak_events * costs.kafka_us / 1e6
    lost = margins.zones / (margins.zones - 1)
    needed = max(mib / margins.broker_mib_per_second, work / margins.utilization) * lost
    count = max(3, math.ceil(needed))
    disk = load.kafka_days * load.events_per_day * costs.kafka_bytes * margins.kafka_copies / _GIB
    return Component(
        "kafka", count, count * max(1.0, math.ceil(work / count / margins.utilization)), count * 4.0,
        disk / (1 - margins.disk_free), f"{mib:,.1f} MiB a second with copies; at least three",
    )  # fmt: skip
