"""The topics, declared in one place."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic, and what it is made with.

    Attributes:
        name: Its name.
        partitions: How many partitions it has; more can be added later, never fewer.
        retention: For how long Kafka keeps a record; the embedded log keeps all.
        cleanup: Whether old records are deleted, or all but the newest of each key.
    """

    name: str
    partitions: int
    retention: timedelta = timedelta(days=14)
    cleanup: Literal["delete", "compact"] = "delete"


EVENTS = Topic("ecommerce-events", partitions=6)
"""What users do; the key is the ``user_id``."""

DEAD_LETTERS = Topic("ecommerce-events-dlq", partitions=1, retention=timedelta(days=90))
"""Events that break the contract, with the reason; the key is that of the broken event."""

PREDICTIONS = Topic("ecommerce-predictions", partitions=6)
"""What was predicted; the key is the ``user_id``."""

TOPICS: tuple[Topic, ...] = (EVENTS, DEAD_LETTERS, PREDICTIONS)
