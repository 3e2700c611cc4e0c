"""Opening the log that the settings describe: Kafka where servers are named, else the embedded one."""

from reprise_eventlog.embedded.consumer import EmbeddedConsumer
from reprise_eventlog.embedded.producer import EmbeddedProducer
from reprise_eventlog.interface import LogConsumer, LogProducer, RebalanceListener
from reprise_eventlog.settings import EventLogSettings
from reprise_eventlog.topics import Topic


def open_producer(settings: EventLogSettings) -> LogProducer:
    """Return a producer for the declared topics.

    Raises:
        LogUnavailableError: The log cannot be reached.
    """
    if settings.kafka_servers is not None:
        from reprise_eventlog.kafka.producer import KafkaProducerLog  # noqa: PLC0415

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
        from reprise_eventlog.kafka.consumer import KafkaConsumerLog  # noqa: PLC0415

        return KafkaConsumerLog(settings, topic, group, listener)
    return EmbeddedConsumer(
        settings.log_dir, topic, group, listener=listener, fsync=settings.log_fsync == "always"
    )
