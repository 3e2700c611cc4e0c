"""Opening the log that the settings describe: Kafka where servers are named, else the embedded one."""

from reprise.log.embedded.consumer import EmbeddedConsumer
from reprise.log.embedded.producer import EmbeddedProducer
from reprise.log.interface import LogConsumer, LogProducer, RebalanceListener
from reprise.log.settings import EventLogSettings
from reprise.log.topics import Topic


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
