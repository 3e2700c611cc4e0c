"""Which records of the log a state includes, and whether a row in the store holds others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reprise.store.exceptions import CorruptWatermarksError
from reprise.store.watermarks import NO_TOPIC, Watermarks

_TOPIC = slice(1, 17)


@dataclass(frozen=True)
class Covered:
    """The records that events include.

    Attributes:
        watermarks: The last included offset of each partition, under the topic that the stream goes on with;
            every record up to it is included. Of no topic and empty, where the events are no records.
        earlier: The same of earlier incarnations of the topic, by their ids.
    """

    watermarks: Watermarks = field(default_factory=lambda: Watermarks(NO_TOPIC))
    earlier: Mapping[bytes, Watermarks] = field(default_factory=dict)

    def beyond(self, row: bytes | None) -> str | None:
        """Return what a row holds that is not included, from its watermarks; ``None`` where that is nothing.

        Raises:
            CorruptWatermarksError: The bytes are no watermarks.
        """
        if row is None:
            return None
        topic = row[_TOPIC]
        if len(topic) != len(NO_TOPIC):
            raise CorruptWatermarksError(f"these bytes are no watermarks of version 1: {row.hex()}")
        held = Watermarks.parse(row, topic)
        if topic == NO_TOPIC:
            return None
        known = {**self.earlier, self.watermarks.topic: self.watermarks}
        if topic not in known:
            return f"records of the topic with the id {topic.hex()}, of which none is included"
        for partition, offset in held.offsets.items():
            if not known[topic].covers(partition, offset):
                last = known[topic].offsets.get(partition)
                included = "none is included" if last is None else f"{last:,} is the last included"
                return f"offset {offset:,} of partition {partition}, of which {included}"
        return None
