"""One partition's file, which several processes append to and read concurrently, and its index."""

import fcntl
import os
import struct
import sys
import time
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from reprise.log.embedded.record_format import (
    RECORD_OVERHEAD,
    DecodedRecords,
    decode_records,
    encode_record,
    raise_if_corrupt,
)
from reprise.log.exceptions import OffsetOutOfRangeError, TopicGoneError
from reprise.log.interface import MAX_RECORD_BYTES, Record

INDEX_INTERVAL = 4096
_INDEX_ENTRY = struct.Struct(">QQ")
_CHUNK_BYTES = 256 * 1024
_SCAN_BYTES = 4 * 1024 * 1024
_CORRUPTION_RECHECK_SECONDS = 0.05


class PartitionIndex:
    """The index of one partition: ascending pairs of offset and byte position.

    Entries are hints, which readers verify. Only the holder of the partition's lock writes them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def candidates(self, offset: int) -> list[tuple[int, int]]:
        """Return pairs of offset and position up to ``offset``, nearest first; the last is the file's start."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            data = b""
        complete = len(data) - len(data) % _INDEX_ENTRY.size
        entries = [entry for entry in _INDEX_ENTRY.iter_unpack(data[:complete]) if entry[0] <= offset]
        return [*((entry[0], entry[1]) for entry in reversed(entries[-4:])), (0, 0)]

    def add(self, offset: int, position: int) -> None:
        """Append an entry, over an incomplete one if a crash left it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            os.pwrite(descriptor, _INDEX_ENTRY.pack(offset, position), size - size % _INDEX_ENTRY.size)
        finally:
            os.close(descriptor)


def _seek(descriptor: int, index: PartitionIndex, partition: int, offset: int) -> tuple[int, int]:
    """Return the offset reached, at most ``offset``, and its byte position."""
    at, position = _nearest_indexed(descriptor, index, partition, offset)
    size = _CHUNK_BYTES
    while at < offset:
        data = os.pread(descriptor, size, position)
        decoded = decode_records(data, partition, at, offset - at)
        if decoded.records:
            at, position, size = at + len(decoded.records), position + decoded.ends[-1], _CHUNK_BYTES
        elif len(data) < size or decoded.corrupt:
            break
        else:
            size *= 2
    return at, position


def _nearest_indexed(descriptor: int, index: PartitionIndex, partition: int, offset: int) -> tuple[int, int]:
    for at, position in index.candidates(offset):
        if position == 0:
            break
        data = os.pread(descriptor, _CHUNK_BYTES, position)
        if decode_records(data, partition, at, 1).records:
            return at, position
    return 0, 0


class PartitionReader:
    """Reads records from an offset; never returns the torn tail of a crashed write.

    Raises:
        OffsetOutOfRangeError: The partition ends before the offset.
    """

    def __init__(self, path: Path, index: PartitionIndex, partition: int, offset: int) -> None:
        self._path = path
        self._index = index
        self._partition = partition
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        at, self._position = _seek(self._descriptor, index, partition, offset)
        self._end_offset, self._end_position = at, self._position
        if at < offset:
            os.close(self._descriptor)
            raise OffsetOutOfRangeError(
                f"{path}: offset {offset:,} was committed, but the partition ends at {at:,}"
            )
        self.next_offset = offset

    @property
    def deleted(self) -> bool:
        """Whether the file was removed while it was open."""
        return os.fstat(self._descriptor).st_nlink == 0

    def read(self, limit: int) -> list[Record]:
        """Return up to ``limit`` next records.

        Raises:
            CorruptLogError: A record is invalid, but the one after it is intact.
        """
        if os.fstat(self._descriptor).st_size <= self._position:
            return []
        decoded = self._decode(limit)
        if decoded.corrupt and not decoded.records:
            # a writer may be replacing a torn tail right now
            time.sleep(_CORRUPTION_RECHECK_SECONDS)
            decoded = self._decode(limit)
            if decoded.corrupt and not decoded.records:
                rest = os.pread(self._descriptor, 2 * (MAX_RECORD_BYTES + RECORD_OVERHEAD), self._position)
                if len(rest) >= RECORD_OVERHEAD:
                    raise_if_corrupt(self._path, self._position, rest, self._partition, self.next_offset)
        if decoded.records:
            self._position += decoded.ends[-1]
            self.next_offset += len(decoded.records)
        return decoded.records

    def tell(self) -> tuple[int, int]:
        """Return the current offset and byte position, for ``seek``."""
        return self.next_offset, self._position

    def seek(self, place: tuple[int, int]) -> None:
        """Return to an earlier result of ``tell``."""
        self.next_offset, self._position = place

    def end_offset(self) -> int:
        """Return the next offset to be written."""
        if self._end_offset < self.next_offset:
            self._end_offset, self._end_position = self.next_offset, self._position
        if os.fstat(self._descriptor).st_size > self._end_position + _SCAN_BYTES:
            indexed = _nearest_indexed(self._descriptor, self._index, self._partition, sys.maxsize)
            self._end_offset, self._end_position = max((self._end_offset, self._end_position), indexed)
        while os.fstat(self._descriptor).st_size > self._end_position:
            data = os.pread(self._descriptor, _SCAN_BYTES, self._end_position)
            decoded = decode_records(data, self._partition, self._end_offset, len(data))
            if not decoded.records:
                break
            self._end_offset += len(decoded.records)
            self._end_position += decoded.ends[-1]
        return self._end_offset

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _decode(self, limit: int) -> DecodedRecords:
        size = _CHUNK_BYTES
        while True:
            data = os.pread(self._descriptor, size, self._position)
            decoded = decode_records(data, self._partition, self.next_offset, limit)
            if decoded.records or decoded.corrupt or len(data) < size:
                return decoded
            size *= 4


class PartitionWriter:
    """Appends records under the partition's lock."""

    def __init__(self, path: Path, index: PartitionIndex, partition: int, *, fsync: bool) -> None:
        self._path = path
        self._index = index
        self._partition = partition
        self._fsync = fsync
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        last_indexed = index.candidates(sys.maxsize)[0][0]
        self._end_offset, self._end_position = _seek(self._descriptor, index, partition, last_indexed)
        self._indexed_offset = self._end_offset

    def append(self, records: Sequence[tuple[bytes, bytes]], timestamp_ms: int) -> tuple[int, int]:
        """Append pairs of key and value; return the first offset and the number of records written.

        If the disk fills up, complete records stay, since a consumer may have read them, and the rest is truncated.

        Raises:
            OSError: The file cannot be written.
            TopicGoneError: The file was removed.
            CorruptLogError: The file is damaged.
        """
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            self._find_end()
            first = self._end_offset
            encoded = [
                encode_record(first + number, timestamp_ms, key, value)
                for number, (key, value) in enumerate(records)
            ]
            written = self._write(encoded)
            if self._fsync and written:
                os.fsync(self._descriptor)
            return first, written
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _find_end(self) -> None:
        status = os.fstat(self._descriptor)
        if status.st_nlink == 0:
            raise TopicGoneError(f"{self._path} was removed while it was open")
        if status.st_size < self._end_position:
            raise TopicGoneError(f"{self._path} was truncated while it was open")
        while status.st_size > self._end_position:
            data = os.pread(self._descriptor, _SCAN_BYTES, self._end_position)
            decoded = decode_records(data, self._partition, self._end_offset, sys.maxsize)
            if decoded.records:
                self._advance(decoded.ends)
                continue
            if decoded.corrupt and len(data) >= RECORD_OVERHEAD:
                raise_if_corrupt(self._path, self._end_position, data, self._partition, self._end_offset)
            os.ftruncate(self._descriptor, self._end_position)
            break

    def _write(self, encoded: list[bytes]) -> int:
        data, ends = b"".join(encoded), list(accumulate(map(len, encoded)))
        done = 0
        try:
            while done < len(data):
                done += os.pwrite(self._descriptor, memoryview(data)[done:], self._end_position + done)
        except OSError:
            ends = [end for end in ends if end <= done]
            os.ftruncate(self._descriptor, self._end_position + (ends[-1] if ends else 0))
            if not ends:
                raise
        self._advance(ends)
        return len(ends)

    def _advance(self, ends: list[int]) -> None:
        """Move the end past records that end at these bytes, relative to the current end."""
        due = self._indexed_offset + INDEX_INTERVAL
        if self._end_offset + len(ends) > due:
            skipped = max(due - self._end_offset, 0)
            position = self._end_position + (ends[skipped - 1] if skipped else 0)
            self._indexed_offset = self._end_offset + skipped
            self._index.add(self._indexed_offset, position)
        self._end_offset += len(ends)
        self._end_position += ends[-1]
