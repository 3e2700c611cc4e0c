"""What one event, prediction or row costs, as measured by ``make bench``."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Self

_FIGURES: Mapping[str, tuple[str, float]] = {
    "predictor_us": ("predictor.figures.predictor_processor_us", 1.0),
    "producer_us": ("stream.producer_events_per_second", -1e6),
    "materializer_us": ("stream.materializer_events_per_cpu_second", -1e6),
    "training_us": ("features.batch.cpu_seconds", 1e6),
    "kafka_bytes": ("size.kafka_bytes_per_event", 1.0),
    "archive_bytes": ("size.archive_bytes_per_event", 1.0),
    "user_bytes": ("size.redis_bytes_per_user", 1.0),
    "product_bytes": ("size.redis_bytes_per_product", 1.0),
    "pair_bytes": ("size.redis_bytes_per_pair", 1.0),
    "event_id_bytes": ("size.redis_bytes_per_event_id", 1.0),
}
"""Path of each cost's figure, and its factor; below 0, the figure is a rate and the factor is divided by it."""


@dataclass(frozen=True, slots=True)
class UnitCosts:
    """Processor time in microseconds, and bytes of one copy; the defaults are the figures of ``docs/bench.json``."""

    predictor_us: float = 177.6  # A prediction in the predictor
    producer_us: float = 62.1  # An event in the producer
    materializer_us: float = 89.6  # An event in the materializer
    redis_us: float = 13.1  # An event in Redis
    kafka_us: float = 3.6  # An event in the broker
    training_us: float = 25.0  # A training row in the batch executor
    kafka_bytes: float = 41.2  # An event in the log, compressed
    archive_bytes: float = 27.9  # An event in a compacted file of the archive
    user_bytes: float = 2321.0  # The row of a user in Redis
    product_bytes: float = 695.8
    pair_bytes: float = 416.1
    event_id_bytes: float = 63.9  # An event id that is kept to drop duplicates

    @classmethod
    def of(cls, figures: Mapping[str, Any]) -> Self:
        """Return the costs of the figures of ``make bench``; raises KeyError with the name of a missing one."""
        costs = {}
        for name, (path, factor) in _FIGURES.items():
            found = _figure(figures, path)
            costs[name] = -factor / found if factor < 0 else factor * found
        costs["training_us"] /= _figure(figures, "features.batch.events")
        for server in ("redis", "kafka"):
            cores = _figure(figures, f"stream.two_workers_cores_of_{server}")
            costs[f"{server}_us"] = 1e6 * cores / _figure(figures, "stream.two_workers_events_per_second")
        return cls(**costs)


def _figure(figures: Mapping[str, Any], path: str) -> float:
    try:
        return float(reduce(lambda found, name: found[name], path.split("."), figures))  # type: ignore[arg-type]
    except KeyError:
        raise KeyError(path) from None
