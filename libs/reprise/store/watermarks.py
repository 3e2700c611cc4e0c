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
from types import MappingProxyType

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


class Watermarks:
    """The last folded offset of each partition of one topic; immutable.

    Args:
        topic: The id of the topic, 16 bytes (``uuid.UUID.bytes``).
        offsets: The last folded offset by partition.
    """

    __slots__ = ("_offsets", "_topic")

    def __init__(self, topic: bytes, offsets: Mapping[int, int] | None = None) -> None:
        if len(topic) != _TOPIC_BYTES:
            raise ValueError(f"a topic's id has {_TOPIC_BYTES} bytes, got {len(topic)}")
        self._topic = topic
        self._offsets = dict(offsets) if offsets else {}
        for partition, offset in self._offsets.items():
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

    @property
    def topic(self) -> bytes:
        """The id of the topic."""
        return self._topic

    @property
    def offsets(self) -> Mapping[int, int]:
        """The last folded offset by partition."""
        return MappingProxyType(self._offsets)

    def covers(self, partition: int, offset: int) -> bool:
        """Tell whether the record at this position is folded."""
        return offset <= self._offsets.get(partition, -1)

    def first_beyond(self, other: Watermarks) -> tuple[int, int] | None:
        """Return the first (partition, offset) that ``other`` does not cover; both must be of the same topic."""
        positions = self._offsets.items()
        return next(((at, offset) for at, offset in positions if not other.covers(at, offset)), None)

    def advance(self, offsets: Mapping[int, int]) -> Watermarks:
        """Return the watermarks after folding each partition up to and including its offset.

        Raises:
            WatermarkRegressionError: An offset is covered already.
        """
        advanced = Watermarks(self._topic, offsets)
        for partition, offset in offsets.items():
            folded = self._offsets.get(partition, -1)
            if offset <= folded:
                raise WatermarkRegressionError(partition, folded, offset)
        advanced._offsets = {**self._offsets, **advanced._offsets}
        return advanced

    def to_bytes(self) -> bytes:
        """Return the bytes that a row keeps; ``parse`` reads them."""
        out = bytearray(_VERSION + self._topic)
        previous = -1
        for partition in sorted(self._offsets):
            out += encode_varint(partition - previous - 1)
            out += encode_varint(self._offsets[partition])
            previous = partition
        return bytes(out)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Watermarks):
            return NotImplemented
        return self._topic == other._topic and self._offsets == other._offsets

    def __hash__(self) -> int:
        return hash((self._topic, frozenset(self._offsets.items())))

    def __repr__(self) -> str:
        return f"Watermarks({self._topic.hex()}, {self._offsets})"
