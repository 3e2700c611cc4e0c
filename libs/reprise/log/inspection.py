"""Looking at the log that the settings describe, without changing anything."""

from collections.abc import Iterable
from pathlib import Path

from reprise.log.embedded.topic_directory import TopicDirectory, checked_name
from reprise.log.exceptions import LogUnavailableError
from reprise.log.settings import EventLogSettings
from reprise.log.topic_states import Difference, TopicState
from reprise.log.topics import Topic


def reach_log(settings: EventLogSettings) -> str:
    """Return which log answers.

    Raises:
        LogUnavailableError: None does.
    """
    if settings.kafka_servers is not None:
        from reprise.log.kafka.topics import count_brokers  # noqa: PLC0415

        return f"Kafka at {settings.kafka_servers}, brokers: {count_brokers(settings)}"
    if not settings.log_dir.is_dir():
        raise LogUnavailableError(f"{settings.log_dir}: there is no such folder")
    return f"the embedded log in {settings.log_dir}"


def inspect_topics(settings: EventLogSettings, topics: Iterable[Topic]) -> list[TopicState]:
    """Return how the declared topics are.

    Raises:
        LogUnavailableError: The log cannot be reached, or refuses.
    """
    if settings.kafka_servers is not None:
        from reprise.log.kafka.topics import ensure_topics  # noqa: PLC0415

        return ensure_topics(settings, topics, dry_run=True)
    return [_inspect_directory(settings.log_dir, topic) for topic in topics]


def _inspect_directory(log_dir: Path, topic: Topic) -> TopicState:
    path = log_dir / checked_name("topic", topic.name)
    if not path.exists():
        return TopicState(topic, missing=True)
    found = TopicDirectory.load(path).partitions
    if found == topic.partitions:
        return TopicState(topic)
    return TopicState(topic, differences=(Difference("partitions", str(topic.partitions), str(found)),))
