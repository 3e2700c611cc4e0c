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
_DISK_PER_MEMORY = 2.0  # Of Redis: the append-only file while it is rewritten
_BROKER_GIB = 4.0
EXECUTOR_CORES, EXECUTOR_GIB = 4, 16
"""Of an executor of Spark, an assumption."""

_MEMORY_GIB = {"producer": 0.25, "materializer": 0.5, "predictor": 0.25}


@dataclass(frozen=True, slots=True)
class Load:
    """What has to be carried, and what is kept of it."""

    events_per_day: float
    users: float
    products: float
    pairs_per_user: float = 30.0
    predictions_per_second: float = 0.0  # At the peak
    peak: float = 3.0  # Of events and predictions a second, over the day's mean
    kafka_days: float = 14.0
    archive_days: float = 365.0
    training_days: float = 180.0
    training_hours: float = 4.0  # In which its rows are computed on Spark
    duplicate_hours: float = 24.0  # For which event ids are kept

    @property
    def peak_events(self) -> float:
        """Events a second at the peak."""
        return self.peak * self.events_per_day / _SECONDS_PER_DAY

    @property
    def predictions_per_day(self) -> float:
        """Predictions of a day."""
        return _SECONDS_PER_DAY * self.predictions_per_second / self.peak


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
    training_core_hours: float  # Of the rows of one training on the whole history, on DuckDB
    spark_core_hours: float  # On Spark
    spark_executors: int

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
    while partitions < _FEWEST_PER_MATERIALIZER * materializers:
        partitions *= 2
    while partitions % materializers:  # Each has as many as the others
        materializers += 1
    work = {
        "producer": (events * costs.producer_us, 2),
        "materializer": (events * costs.materializer_us, materializers),
        "predictor": (predictions * costs.predictor_us, 2),
    }
    components = [_service(name, busy_us, fewest, margins) for name, (busy_us, fewest) in work.items()]
    components += [_redis(load, costs, margins), _brokers(load, costs, margins)]
    archived = (
        load.events_per_day * costs.event_archive_bytes
        + load.predictions_per_day * costs.prediction_archive_bytes
    )
    training_events = load.training_days * load.events_per_day
    spark_core_hours = training_events * costs.spark_us / 1e6 / 3600
    return Sizing(
        components=components,
        partitions=partitions,
        materializers=materializers,
        archive_gib=load.archive_days * archived / _GIB,
        training_core_hours=training_events * costs.training_us / 1e6 / 3600,
        spark_core_hours=spark_core_hours,
        spark_executors=math.ceil(spark_core_hours / load.training_hours / EXECUTOR_CORES),
    )


def _instances(busy_us: float, margins: Margins) -> int:
    """Return how many processes carry the microseconds of work that come each second, also with one zone less."""
    needed = busy_us / 1e6 / margins.utilization * margins.zones / (margins.zones - 1)
    return max(2, math.ceil(needed))


def _service(name: str, busy_us: float, fewest: int, margins: Margins) -> Component:
    count = max(fewest, _instances(busy_us, margins))
    why = f"{busy_us / 1e6:,.2f} cores of work at the peak" if count > 2 else "two, so that one may be lost"
    return Component(name, count, float(count), count * _MEMORY_GIB[name], 0.0, why)


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
        count * memory * _DISK_PER_MEMORY,
        f"{shards} shard{'s' if shards > 1 else ''}: {because}",
    )


def _brokers(load: Load, costs: UnitCosts, margins: Margins) -> Component:
    events, predictions = costs.event_log_bytes, costs.prediction_log_bytes
    second = load.peak_events * events + load.predictions_per_second * predictions
    mib = second * margins.kafka_copies / 2**20
    # A record of a prediction is counted as an event
    work = (load.peak_events + load.predictions_per_second) * costs.kafka_us / 1e6
    lost = margins.zones / (margins.zones - 1)
    needed = max(mib / margins.broker_mib_per_second, work / margins.utilization) * lost
    count = max(3, math.ceil(needed))
    day = load.events_per_day * events + load.predictions_per_day * predictions
    disk = load.kafka_days * day * margins.kafka_copies / _GIB / (1 - margins.disk_free)
    because = (
        "three, for three copies"
        if count == 3
        else f"{mib:,.1f} MiB a second with copies, {work:,.1f} cores of work"
    )
    return Component("kafka", count, float(count), count * _BROKER_GIB, disk, because)
