"""Where a partition is cut into segments: by what the log holds, never by when it was read.

A replay that begins where a segment begins makes the same cuts, so it writes the same files again. A segment
ends

- before an offset that is a multiple of a fixed number,
- once it holds so many bytes of keys and values,
- before a record that was appended in a later window of time than its first record,
- before a record whose offset does not follow, because the log has lost the ones between.

Windows divide the day, so all of a segment begins on one day. A record that was stamped earlier than the first
one of its segment stays in it: stamps that go back and forth at a window's edge make no tiny segments.
"""

from dataclasses import dataclass

from reprise.log import Record


@dataclass(frozen=True, slots=True)
class CutRule:
    """When a segment ends.

    Attributes:
        records: Segments end before offsets that are multiples of this.
        size: Bytes of keys and values after which a segment ends.
        window_ms: Length of a window of log timestamps, milliseconds; divides the day.
    """

    records: int
    size: int
    window_ms: int

    def window_end(self, timestamp_ms: int) -> int:
        """Return when the window of a log timestamp ends, milliseconds since 1970-01-01 UTC."""
        return (timestamp_ms // self.window_ms + 1) * self.window_ms


class OpenSegment:
    """Records of one partition that will be one segment.

    Args:
        rule: When it ends.
        first: Its first record.
        until: The offset with which it ends whatever the rule says, because it was written so before.
    """

    def __init__(self, rule: CutRule, first: Record, until: int | None = None) -> None:
        self.records = [first]
        self.window_end_ms = rule.window_end(first.timestamp_ms)
        self._rule = rule
        self._until = until
        self._bytes = _size(first)

    @property
    def next_offset(self) -> int:
        """The offset that would follow."""
        return self.records[-1].offset + 1

    @property
    def is_full(self) -> bool:
        """Whether it ends with its last record, whatever comes."""
        if self._until is not None:
            return self.next_offset > self._until
        return self.next_offset % self._rule.records == 0 or self._bytes >= self._rule.size

    def ends_before(self, record: Record) -> bool:
        """Whether the record belongs to the next segment."""
        if record.offset != self.next_offset:
            return True
        return self._until is None and record.timestamp_ms >= self.window_end_ms

    def add(self, record: Record) -> None:
        """Add a record that belongs to it."""
        self.records.append(record)
        self._bytes += _size(record)


def _size(record: Record) -> int:
    return len(record.key) + len(record.value)
