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


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting in which a topic is not as declared."""

    setting: str
    declared: str
    found: str


@dataclass(frozen=True, slots=True)
class TopicState:
    """What was found, or done, about a declared topic.

    Attributes:
        topic: The declaration.
        missing: It was not there.
        created: It was not there, and is now.
        differences: In what it differs from the declaration; nothing of this was changed.
    """

    topic: Topic
    missing: bool = False
    created: bool = False
    differences: tuple[Difference, ...] = ()

    @property
    def is_as_declared(self) -> bool:
        """Whether the topic is there now, as it is declared."""
        return not self.differences and (self.created or not self.missing)

    def describe(self) -> str:
        """Return one line about the topic."""
        name = self.topic.name
        if self.created:
            return f"{name}: created, {self.topic.partitions} partitions"
        if self.missing:
            return f"{name}: missing"
        if not self.differences:
            return f"{name}: as declared"
        differences = "; ".join(
            f"{each.setting} is {each.found}, declared {each.declared}" for each in self.differences
        )
        return f"{name}: differs and was left as it is: {differences}"
