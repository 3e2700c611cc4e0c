"""The binary format of a record in a partition's file.

Big-endian: length of everything after the checksum (4 bytes), its CRC-32 (4), offset (8), timestamp in milliseconds
(8), length of the key (4), key, value. The stored offset shows that a record is where it belongs.
"""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from reprise.log.exceptions import CorruptLogError
from reprise.log.interface import MAX_RECORD_BYTES, Record

_PREFIX = struct.Struct(">II")
_HEADER = struct.Struct(">QqI")
_MAX_LENGTH = _HEADER.size + MAX_RECORD_BYTES
RECORD_OVERHEAD = _PREFIX.size + _HEADER.size


def encode_record(offset: int, timestamp_ms: int, key: bytes, value: bytes) -> bytes:
    """Return the bytes of a record."""
    body = _HEADER.pack(offset, timestamp_ms, len(key)) + key + value
    return _PREFIX.pack(len(body), zlib.crc32(body)) + body


@dataclass(slots=True)
class DecodedRecords:
    """The records of a byte range.

    Attributes:
        records: The records, in order.
        ends: The end of each record, in bytes from the start of the range.
        corrupt: Whether a complete but invalid record follows.
    """

    records: list[Record]
    ends: list[int]
    corrupt: bool = False


def decode_records(data: bytes, partition: int, offset: int, limit: int) -> DecodedRecords:
    """Return up to ``limit`` records from the start of ``data``; the first one has the given offset.

    Decoding stops at an incomplete record, and at one with an invalid checksum, length or offset.
    """
    decoded = DecodedRecords([], [])
    view = memoryview(data)
    position, size = 0, len(data)
    while len(decoded.records) < limit and position + RECORD_OVERHEAD <= size:
        length, checksum = _PREFIX.unpack_from(data, position)
        start = position + _PREFIX.size
        end = start + length
        if not _HEADER.size <= length <= _MAX_LENGTH:
            decoded.corrupt = True
            break
        if end > size:
            break
        found, timestamp_ms, key_length = _HEADER.unpack_from(data, start)
        key_start = start + _HEADER.size
        key_end = key_start + key_length
        if found != offset or key_end > end or zlib.crc32(view[start:end]) != checksum:
            decoded.corrupt = True
            break
        record = Record(partition, offset, timestamp_ms, data[key_start:key_end], data[key_end:end])
        decoded.records.append(record)
        decoded.ends.append(end)
        position, offset = end, offset + 1
    return decoded


def raise_if_corrupt(path: Path, position: int, rest: bytes, partition: int, offset: int) -> None:
    """Raise unless the invalid record of this offset, at byte ``position``, is the torn tail of a crashed write.

    ``rest`` has the file's bytes from there on.

    Raises:
        CorruptLogError: The record after the invalid one is intact.
    """
    length, _ = _PREFIX.unpack_from(rest)
    following = rest[_PREFIX.size + length :]
    if length <= _MAX_LENGTH and decode_records(following, partition, offset + 1, 1).records:
        raise CorruptLogError(
            path, position, f"the record at offset {offset:,} fails its checksum, but the next one is intact"
        )
