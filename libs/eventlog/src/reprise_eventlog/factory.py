"""Opening the log that the settings describe."""

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
    return EmbeddedConsumer(
        settings.log_dir, topic, group, listener=listener, fsync=settings.log_fsync == "always"
    )
