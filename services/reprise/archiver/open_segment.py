"""Segment rotation: where a partition is split into files, determined by the log's content alone.

A replay that starts at a segment's first record produces the same segments. A segment ends

- before an offset that is a multiple of ``segment_records``,
- once its keys and values reach ``segment_bytes``,
- before a record whose log timestamp is in a later window than that of its first record,
- before a gap in the offsets.

Windows divide the day, so a segment belongs to one day. A record with a timestamp earlier than the segment's first
record stays in the segment: timestamps that jump back and forth at the edge of a window do not create tiny segments.
"""

from reprise.archiver.settings import ArchiverSettings
from reprise.log import Record


class OpenSegment:
    """Records of one partition that will become one segment.

    Args:
        settings: The rotation settings.
        first: Its first record.
        last_offset: Its last offset regardless of the settings, because the same segment was written before.
    """

    def __init__(self, settings: ArchiverSettings, first: Record, last_offset: int | None = None) -> None:
        self.records = [first]
        window_ms = settings.window_seconds * 1_000
        self.window_end_ms = (first.timestamp_ms // window_ms + 1) * window_ms
        self._settings = settings
        self._last_offset = last_offset
        self._bytes = _size(first)

    @property
    def next_offset(self) -> int:
        """The offset after its last record."""
        return self.records[-1].offset + 1

    @property
    def is_full(self) -> bool:
        """Whether it ends with its last record."""
        if self._last_offset is not None:
            return self.next_offset > self._last_offset
        return (
            self.next_offset % self._settings.segment_records == 0
            or self._bytes >= self._settings.segment_bytes
        )

    def ends_before(self, record: Record) -> bool:
        """Return whether the record belongs to the next segment."""
        if record.offset != self.next_offset:
            return True
        return self._last_offset is None and record.timestamp_ms >= self.window_end_ms

    def add(self, record: Record) -> None:
        """Append a record."""
        self.records.append(record)
        self._bytes += _size(record)


def _size(record: Record) -> int:
    return len(record.key) + len(record.value)
