"""How a record lies in a partition's file.

A frame is, big-endian: the length of what follows the checksum (4 bytes), the CRC-32 of it (4), the offset (8),
the timestamp in milliseconds (8), the length of the key (4), the key, the value. The offset makes a frame
prove that it belongs where it is found.
"""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from reprise.log.exceptions import CorruptLogError
from reprise.log.interface import Record

MAX_RECORD_BYTES = 1024 * 1024
"""Largest key and value together, as Kafka's default ``message.max.bytes``."""

_PREFIX = struct.Struct(">II")
_BODY = struct.Struct(">QqI")
_LARGEST = _BODY.size + MAX_RECORD_BYTES
FRAME_OVERHEAD = _PREFIX.size + _BODY.size


def encode_frame(offset: int, timestamp_ms: int, key: bytes, value: bytes) -> bytes:
    """Return the frame of a record."""
    body = _BODY.pack(offset, timestamp_ms, len(key)) + key + value
    return _PREFIX.pack(len(body), zlib.crc32(body)) + body


@dataclass(slots=True)
class Parsed:
    """What a stretch of a partition's bytes holds.

    Attributes:
        records: The records, in order.
        ends: The byte after each record's frame, from the start of the stretch.
        damaged: Whether the bytes after the last record are a whole frame that is not what was written.
    """

    records: list[Record]
    ends: list[int]
    damaged: bool = False


def parse_frames(data: bytes, partition: int, offset: int, limit: int) -> Parsed:
    """Return the records at the start of ``data``, the first of which has the given offset, up to ``limit``.

    Parsing stops at a frame that is not whole yet, and at one whose checksum or offset is wrong.
    """
    parsed = Parsed([], [])
    view = memoryview(data)
    position, size = 0, len(data)
    while len(parsed.records) < limit and position + FRAME_OVERHEAD <= size:
        length, checksum = _PREFIX.unpack_from(data, position)
        start = position + _PREFIX.size
        end = start + length
        if not _BODY.size <= length <= _LARGEST:
            parsed.damaged = True
            break
        if end > size:
            break
        found, timestamp_ms, key_length = _BODY.unpack_from(data, start)
        key_start = start + _BODY.size
        key_end = key_start + key_length
        if found != offset or key_end > end or zlib.crc32(view[start:end]) != checksum:
            parsed.damaged = True
            break
        parsed.records.append(
            Record(partition, offset, timestamp_ms, data[key_start:key_end], data[key_end:end])
        )
        parsed.ends.append(end)
        position, offset = end, offset + 1
    return parsed


def refuse_damage(path: Path, position: int, rest: bytes, partition: int, offset: int) -> None:
    """Tell damage in the middle of a partition from a tail that a crash left unfinished.

    Args:
        path: The partition's file, for the message.
        position: Where the damaged frame begins in it.
        rest: The bytes from there to the end.
        partition: The number of the partition.
        offset: The offset that the damaged frame should have.

    Raises:
        CorruptLogError: A later record is intact, so that the damaged one is no unfinished tail.
    """
    length, _ = _PREFIX.unpack_from(rest)
    after = _PREFIX.size + length
    if length <= _LARGEST and parse_frames(rest[after:], partition, offset + 1, 1).records:
        raise CorruptLogError(
            path, position, f"the record of offset {offset:,} fails its checksum, but the next is intact"
        )
