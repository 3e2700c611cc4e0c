"""Which records of the log a state includes, and whether a row in the store holds others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reprise.store.watermarks import NO_TOPIC, Watermarks


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
        held = Watermarks.parse(row)
        if held.topic == NO_TOPIC:
            return None
        included = {**self.earlier, self.watermarks.topic: self.watermarks}.get(held.topic)
        if included is None:
            return f"records of the topic with the id {held.topic.hex()}, of which none is included"
        beyond = held.first_beyond(included)
        if beyond is None:
            return None
        last = included.offsets.get(beyond[0])
        known = "none is included" if last is None else f"{last:,} is the last included"
        return f"offset {beyond[1]:,} of partition {beyond[0]}, of which {known}"
