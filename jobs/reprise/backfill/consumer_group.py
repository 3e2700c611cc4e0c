"""Offsets of the stream's consumer group, set to right after the backfilled records."""

import time
from collections.abc import Mapping

from reprise.backfill.exceptions import GroupBusyError, OtherTopicError
from reprise.log import EVENTS, EventLogSettings, LogConsumer, open_consumer
from reprise.store.watermarks import Watermarks

_POLL_SECONDS = 0.2


def seek_group(
    settings: EventLogSettings, group: str, watermarks: Watermarks, timeout: float
) -> Mapping[int, int]:
    """Commit, for each partition of the events topic, the offset after the watermark; return them.

    Args:
        settings: Where the log is.
        group: The consumer group; none of its consumers may run.
        watermarks: The last included offset of each partition.
        timeout: Seconds to wait for all partitions.

    Raises:
        OtherTopicError: The watermarks are of another incarnation of the topic.
        GroupBusyError: Other consumers of the group hold partitions.
        EventLogError: The log is unavailable.
    """
    consumer = open_consumer(settings, EVENTS, group)
    try:
        if consumer.topic_id != watermarks.topic:
            raise OtherTopicError(EVENTS.name, consumer.topic_id, watermarks.topic)
        return _seek(consumer, group, watermarks, timeout)
    finally:
        consumer.close()


def _seek(consumer: LogConsumer, group: str, watermarks: Watermarks, timeout: float) -> Mapping[int, int]:
    wanted = set(range(EVENTS.partitions)) | watermarks.offsets.keys()
    give_up = time.monotonic() + timeout
    while not wanted <= consumer.assignment:
        if time.monotonic() > give_up:
            raise GroupBusyError(group, sorted(wanted - consumer.assignment))
        consumer.poll(1, _POLL_SECONDS)
    offsets = {
        partition: watermarks.offsets.get(partition, -1) + 1 for partition in sorted(consumer.assignment)
    }
    consumer.commit(offsets)
    return offsets
