"""What one event, prediction or row costs, as measured by ``make bench``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

_FIGURES = {
    "predictor_us": "predictor.figures.predictor_processor_us",
    "materializer_us": "size.materializer_us_per_event",
    "redis_us": "size.redis_us_per_event",
    "kafka_us": "size.kafka_us_per_event",
    "event_log_bytes": "size.kafka_bytes_per_event",
    "event_archive_bytes": "size.archive_bytes_per_event",
    "prediction_log_bytes": "size.kafka_bytes_per_prediction",
    "prediction_archive_bytes": "size.archive_bytes_per_prediction",
    "user_bytes": "size.redis_bytes_per_user",
    "product_bytes": "size.redis_bytes_per_product",
    "pair_bytes": "size.redis_bytes_per_pair",
    "event_id_bytes": "size.redis_bytes_per_event_id",
    "training_us": "scale.duckdb_us_per_event",
    "spark_us": "scale.spark_us_per_event",
}
"""Path of the figure of each cost that is one."""


@dataclass(frozen=True, slots=True)
class UnitCosts:
    """Processor time in microseconds, and bytes of one copy; the defaults are the figures of ``docs/bench.json``."""

    producer_us: float = 154.8  # An event: an HTTP endpoint that does nothing, and the append to the log
    predictor_us: float = 177.6  # A prediction
    materializer_us: float = 354.9  # An event that writes three rows, as the next two
    redis_us: float = 105.2
    kafka_us: float = 21.8  # From append to fetch
    training_us: float = 43.5  # The training rows of an event, on DuckDB
    spark_us: float = 281.1  # The same on Spark
    event_log_bytes: float = 33.2  # An event in the log, compressed
    event_archive_bytes: float = 27.9  # An event in a compacted file of the archive
    prediction_log_bytes: float = 474.4  # A prediction with its features
    prediction_archive_bytes: float = 418.2
    user_bytes: float = 2398.0  # The row of a user in Redis
    product_bytes: float = 801.5
    pair_bytes: float = 463.1
    event_id_bytes: float = 149.2  # An event id that is kept to drop duplicates

    @classmethod
    def of(cls, figures: Any) -> Self:
        """Return the costs of the figures of ``make bench``.

        Raises:
            ValueError: A figure is missing, or not a positive number.
        """
        append_us = 1e6 / _figure(figures, "stream.producer_events_per_second")
        return cls(
            producer_us=_figure(figures, "predictor.figures.empty_endpoint_processor_us") + append_us,
            **{name: _figure(figures, path) for name, path in _FIGURES.items()},
        )


def _figure(figures: Any, path: str) -> float:
    found = figures
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    if not isinstance(found, int | float) or found <= 0:
        raise ValueError(f"figure {path}: expected a positive number, got {found!r}")
    return float(found)
