"""Opening the log that the settings describe: Kafka where servers are named, else the embedded one."""

from collections.abc import Iterable
from pathlib import Path

from reprise.log.embedded.consumer import EmbeddedConsumer
from reprise.log.embedded.producer import EmbeddedProducer
from reprise.log.embedded.topic_directory import TopicDirectory, checked_name
from reprise.log.exceptions import LogUnavailableError
from reprise.log.interface import LogConsumer, LogProducer, RebalanceListener
from reprise.log.settings import EventLogSettings
from reprise.log.topics import Difference, Topic, TopicState


def open_producer(settings: EventLogSettings) -> LogProducer:
    """Return a producer for the declared topics.

    Raises:
        LogUnavailableError: The log cannot be reached.
    """
    if settings.kafka_servers is not None:
        from reprise.log.kafka.producer import KafkaProducerLog  # noqa: PLC0415

        return KafkaProducerLog(settings)
    return EmbeddedProducer(
        settings.log_dir, fsync=settings.log_fsync == "always", buffer_bytes=settings.log_buffer_bytes
    )


def open_consumer(
    settings: EventLogSettings, topic: Topic, group: str, listener: RebalanceListener | None = None
) -> LogConsumer:
    """Return a consumer of one topic in a group; its first partitions come with its first ``poll``.

    Raises:
        LogUnavailableError: The log cannot be reached.
    """
    if settings.kafka_servers is not None:
        from reprise.log.kafka.consumer import KafkaConsumerLog  # noqa: PLC0415

        return KafkaConsumerLog(settings, topic, group, listener)
    return EmbeddedConsumer(
        settings.log_dir, topic, group, listener=listener, fsync=settings.log_fsync == "always"
    )


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
