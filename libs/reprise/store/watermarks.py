"""Watermarks: which log records are already folded into a row.

The watermarks of a row are the last folded offset of each source partition, under the id of the topic. A row has the
entries of one topic only, the one folded last: the offsets of a topic that was deleted and created again restart, so
the first fold of the new topic drops the entries of the old one. No consumer of the old topic can be left by then: a
broker no longer serves a deleted topic. An added partition is one more entry.

The bytes: a version, the topic's id, then two varints for each partition in ascending order: the delta-encoded
partition (partition - previous - 1, where previous starts at -1), and the offset. Equal watermarks always have equal
bytes, so that a compare-and-set can compare bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reprise.store.exceptions import CorruptWatermarksError, ProtobufError, WatermarkRegressionError
from reprise.store.feast.protobuf import decode_varint, encode_varint

_VERSION = b"\x01"
_TOPIC_BYTES = 16
_HEADER_BYTES = len(_VERSION) + _TOPIC_BYTES

NO_TOPIC = bytes(_TOPIC_BYTES)
"""The topic id of rows that hold no record of a log."""


def log_position(topic: bytes, partition: int, offset: int) -> bytes:
    """Return a record's position: the topic's id, then partition and offset as big-endian 4 and 8 bytes."""
    return topic + partition.to_bytes(4, "big") + offset.to_bytes(8, "big")


def parse_log_position(position: bytes) -> tuple[bytes, int, int]:
    """Return the topic's id, the partition and the offset of what ``log_position`` returned."""
    topic, partition, offset = position[:_TOPIC_BYTES], position[_TOPIC_BYTES:-8], position[-8:]
    return topic, int.from_bytes(partition, "big"), int.from_bytes(offset, "big")


@dataclass(slots=True)
class Watermarks:
    """The last folded offset of each partition of one topic; not to be changed."""

    topic: bytes  # The id of the topic, 16 bytes (``uuid.UUID.bytes``)
    offsets: Mapping[int, int] = field(default_factory=dict)  # The last folded offset by partition

    def __post_init__(self) -> None:
        if len(self.topic) != _TOPIC_BYTES:
            raise ValueError(f"a topic's id has {_TOPIC_BYTES} bytes, got {len(self.topic)}")
        for partition, offset in self.offsets.items():
            if not (0 <= partition < 1 << 31 and 0 <= offset < 1 << 63):
                raise ValueError(f"no position of a log: partition {partition}, offset {offset}")

    @classmethod
    def parse(cls, data: bytes | None, topic: bytes | None = None) -> Watermarks:
        """Return the watermarks in these bytes.

        With a topic: empty where the bytes are ``None`` or those of another topic.

        Raises:
            CorruptWatermarksError: The bytes are no watermarks.
        """
        if data is None:
            return cls(NO_TOPIC if topic is None else topic)
        if len(data) < _HEADER_BYTES or not data.startswith(_VERSION):
            raise CorruptWatermarksError(f"these bytes are no watermarks of version 1: {data.hex()}")
        found: dict[int, int] = {}
        position, partition = _HEADER_BYTES, -1
        try:
            while position < len(data):
                distance, position = decode_varint(data, position)
                partition += distance + 1
                found[partition], position = decode_varint(data, position)
            own_topic = data[len(_VERSION) : _HEADER_BYTES]
            if topic is not None and own_topic != topic:
                return cls(topic)
            return cls(own_topic, found)
        except (ProtobufError, ValueError) as error:
            raise CorruptWatermarksError(f"{error} in the watermarks {data.hex()}") from None

    def covers(self, partition: int, offset: int) -> bool:
        """Tell whether the record at this position is folded."""
        return offset <= self.offsets.get(partition, -1)

    def first_beyond(self, other: Watermarks) -> tuple[int, int] | None:
        """Return the first (partition, offset) that ``other`` does not cover; both must be of the same topic."""
        return next((each for each in self.offsets.items() if not other.covers(*each)), None)

    def advance(self, offsets: Mapping[int, int]) -> Watermarks:
        """Return the watermarks after folding each partition up to and including its offset.

        Raises:
            WatermarkRegressionError: An offset is covered already.
        """
        for partition, offset in offsets.items():
            folded = self.offsets.get(partition, -1)
            if offset <= folded:
                raise WatermarkRegressionError(
                    f"partition {partition} is folded up to offset {folded}; {offset} is not past it"
                )
        return Watermarks(self.topic, {**self.offsets, **offsets})

    def to_bytes(self) -> bytes:
        """Return the bytes that a row keeps; ``parse`` reads them."""
        out = bytearray(_VERSION + self.topic)
        previous = -1
        for partition in sorted(self.offsets):
            out += encode_varint(partition - previous - 1)
            out += encode_varint(self.offsets[partition])
            previous = partition
        return bytes(out)
