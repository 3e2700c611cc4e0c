"""The log that the settings select: Kafka if bootstrap servers are set, else the embedded log.

Functions raise ``LogUnavailableError`` where the log cannot be reached, ``LogRefusedError`` where it denies access.
"""

from collections.abc import Callable, Iterable
from contextlib import closing

from reprise.log.embedded.consumer import EmbeddedConsumer
from reprise.log.embedded.producer import EmbeddedProducer
from reprise.log.embedded.topic_database import TopicDatabase, inspect_topic
from reprise.log.exceptions import LogUnavailableError
from reprise.log.interface import LogConsumer, LogProducer, RebalanceListener, Record
from reprise.log.settings import EventLogSettings
from reprise.log.topics import Topic, TopicStatus


def open_producer(settings: EventLogSettings) -> LogProducer:
    """Return a producer for the declared topics."""
    if settings.kafka_servers is not None:
        from reprise.log.kafka.producer import KafkaLogProducer  # noqa: PLC0415

        return KafkaLogProducer(settings)
    fsync = settings.log_fsync == "always"
    return EmbeddedProducer(settings.log_dir, fsync=fsync, buffer_bytes=settings.log_buffer_bytes)


def open_consumer(
    settings: EventLogSettings, topic: Topic, group: str, listener: RebalanceListener | None = None
) -> LogConsumer:
    """Return a consumer of one topic; partitions are assigned in ``poll``."""
    if settings.kafka_servers is not None:
        from reprise.log.kafka.consumer import KafkaLogConsumer  # noqa: PLC0415

        return KafkaLogConsumer(settings, topic, group, listener)
    fsync = settings.log_fsync == "always"
    return EmbeddedConsumer(settings.log_dir, topic, group, listener=listener, fsync=fsync)


def describe_log(settings: EventLogSettings) -> str:
    """Return one line about the log that answers."""
    if settings.kafka_servers is not None:
        from reprise.log.kafka.topics import count_brokers  # noqa: PLC0415

        return f"Kafka at {settings.kafka_servers}, brokers: {count_brokers(settings)}"
    if not settings.log_dir.is_dir():
        raise LogUnavailableError(f"{settings.log_dir}: no such folder")
    return f"the embedded log in {settings.log_dir}"


def rewrite_records(
    settings: EventLogSettings, topic: Topic, key: bytes, rewritten: Callable[[Record], bytes | None]
) -> None:
    """Replace the values of a key's records in the embedded log, and their keys; None keeps a record.

    Kafka cannot: its records are deleted by their age.
    """
    if settings.kafka_servers is None:
        with closing(TopicDatabase(settings.log_dir, topic)) as database:
            database.rewrite(key, rewritten)


def inspect_topics(settings: EventLogSettings, topics: Iterable[Topic]) -> list[TopicStatus]:
    """Return the status of declared topics; changes nothing."""
    if settings.kafka_servers is not None:
        from reprise.log.kafka.topics import ensure_topics  # noqa: PLC0415

        return ensure_topics(settings, topics, dry_run=True)
    return [inspect_topic(settings.log_dir, topic) for topic in topics]
