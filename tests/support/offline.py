"""Segments written without an archiver."""

from collections.abc import Sequence

from reprise.archive import OfflineStore, Segment, archive_table, log_date
from reprise.log import EVENTS, Record
from support.archived import TOPIC_ID


def put(
    store: OfflineStore, records: Sequence[Record], topic_id: bytes = TOPIC_ID, topic: str = EVENTS.name
) -> Segment:
    """Write records of one partition, which follow one another, as one segment."""
    first = records[0]
    segment = Segment(
        topic, topic_id, log_date(first.timestamp_ms), first.partition, first.offset, records[-1].offset
    )
    store.write(segment, archive_table(topic, topic_id, records))
    return segment
