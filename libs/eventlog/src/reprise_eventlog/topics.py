"""The topics, declared in one place."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic and how many partitions it is made with."""

    name: str
    partitions: int


EVENTS = Topic("ecommerce-events", partitions=6)
"""What users do; the key is the ``user_id``."""

DEAD_LETTERS = Topic("ecommerce-events-dlq", partitions=1)
"""Events that break the contract, with the reason; the key is that of the broken event."""

PREDICTIONS = Topic("ecommerce-predictions", partitions=6)
"""What was predicted; the key is the ``user_id``."""

TOPICS: tuple[Topic, ...] = (EVENTS, DEAD_LETTERS, PREDICTIONS)
