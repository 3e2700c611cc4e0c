"""The declared topics, and how existing topics compare with their declaration."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal


@dataclass(frozen=True, slots=True)
class Topic:
    """The declaration of a topic.

    The number of partitions can be raised later, never lowered. Retention and ``cleanup.policy`` are Kafka's; the
    embedded log deletes nothing.
    """

    name: str
    partitions: int
    retention: timedelta = timedelta(days=14)
    cleanup: Literal["delete", "compact"] = "delete"
    by_user: bool = False  # Whether ``KAFKA_PARTITIONS`` applies


PARTITIONS = 6
"""Default number of partitions of the topics by user."""

EVENTS = Topic("ecommerce-events", PARTITIONS, by_user=True)
"""User events."""

DEAD_LETTERS = Topic("ecommerce-events-dlq", partitions=1, retention=timedelta(days=90))
"""Invalid events with the reason, keyed like the original record."""

PREDICTIONS = Topic("ecommerce-predictions", PARTITIONS, by_user=True)
"""Predictions."""

TOPICS: tuple[Topic, ...] = (EVENTS, DEAD_LETTERS, PREDICTIONS)


@dataclass(frozen=True, slots=True)
class ConfigDifference:
    """A setting whose value differs from the declaration."""

    setting: str
    declared: str
    found: str


@dataclass(frozen=True, slots=True)
class TopicStatus:
    """A declared topic compared with what exists; differences are never repaired.

    A topic that was ``missing`` may have been ``created``. Of an existing one, ``topic`` has the found partitions.
    """

    topic: Topic
    missing: bool = False
    created: bool = False
    differences: tuple[ConfigDifference, ...] = ()

    @property
    def is_as_declared(self) -> bool:
        """Whether the topic now exists as declared."""
        return not self.differences and (self.created or not self.missing)

    def describe(self) -> str:
        """Return one line about the topic."""
        if self.created:
            status = f"created, {self.topic.partitions} partitions"
        elif self.missing:
            status = "missing"
        elif self.differences:
            found = (f"{each.setting} is {each.found}, declared {each.declared}" for each in self.differences)
            status = f"differs and was not changed: {'; '.join(found)}"
        else:
            status = "as declared"
        return f"{self.topic.name}: {status}"
