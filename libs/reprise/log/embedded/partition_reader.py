"""Reading one partition's file while others append to it."""

import os
import sys
import time
from pathlib import Path

from reprise.log.embedded.frames import (
    FRAME_OVERHEAD,
    MAX_RECORD_BYTES,
    Parsed,
    parse_frames,
    refuse_damage,
)
from reprise.log.embedded.partition_index import PartitionIndex
from reprise.log.exceptions import OffsetOutOfRangeError
from reprise.log.records import Record

_CHUNK_BYTES = 256 * 1024
_SCAN_BYTES = 4 * 1024 * 1024
_SECOND_LOOK_SECONDS = 0.05


def scan_to_offset(descriptor: int, index: PartitionIndex, partition: int, offset: int) -> tuple[int, int]:
    """Return the offset reached, at most ``offset``, and the byte at which its record begins or will begin."""
    at, position = _nearest(descriptor, index, partition, offset)
    size = _CHUNK_BYTES
    while at < offset:
        data = os.pread(descriptor, size, position)
        parsed = parse_frames(data, partition, at, offset - at)
        if parsed.records:
            at, position, size = at + len(parsed.records), position + parsed.ends[-1], _CHUNK_BYTES
        elif len(data) < size or parsed.damaged:
            break
        else:
            size *= 2
    return at, position


def _nearest(descriptor: int, index: PartitionIndex, partition: int, offset: int) -> tuple[int, int]:
    for at, position in index.candidates(offset):
        if position == 0:
            break
        data = os.pread(descriptor, _CHUNK_BYTES, position)
        if parse_frames(data, partition, at, 1).records:
            return at, position
    return 0, 0


class PartitionReader:
    """Reads records from an offset on; what a crash left unfinished at the end is never returned.

    Raises:
        OffsetOutOfRangeError: The partition ends before the offset.
    """

    def __init__(self, path: Path, index: PartitionIndex, partition: int, offset: int) -> None:
        self._path = path
        self._index = index
        self._partition = partition
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        at, self._position = scan_to_offset(self._descriptor, index, partition, offset)
        self._end_offset, self._end_position = at, self._position
        if at < offset:
            os.close(self._descriptor)
            raise OffsetOutOfRangeError(
                f"{path}: offset {offset:,} was read before, but the partition ends at {at:,}"
            )
        self.next_offset = offset

    @property
    def deleted(self) -> bool:
        """Whether the file was removed while it was open."""
        return os.fstat(self._descriptor).st_nlink == 0

    def read(self, limit: int) -> list[Record]:
        """Return up to ``limit`` next records; none when there are none yet.

        Raises:
            CorruptLogError: A record is damaged, but the one after it is not.
        """
        if os.fstat(self._descriptor).st_size <= self._position:
            return []
        parsed = self._parse(limit)
        if parsed.damaged and not parsed.records:
            # a writer may be replacing an unfinished tail at this very moment
            time.sleep(_SECOND_LOOK_SECONDS)
            parsed = self._parse(limit)
            if parsed.damaged and not parsed.records:
                rest = os.pread(self._descriptor, 2 * (MAX_RECORD_BYTES + FRAME_OVERHEAD), self._position)
                if len(rest) >= FRAME_OVERHEAD:
                    refuse_damage(self._path, self._position, rest, self._partition, self.next_offset)
        if parsed.records:
            self._position += parsed.ends[-1]
            self.next_offset += len(parsed.records)
        return parsed.records

    def mark(self) -> tuple[int, int]:
        """Return the present place, for ``rewind``."""
        return self.next_offset, self._position

    def rewind(self, mark: tuple[int, int]) -> None:
        """Go back to a place that was marked, so that what was read since is read again."""
        self.next_offset, self._position = mark

    def _parse(self, limit: int) -> Parsed:
        size = _CHUNK_BYTES
        while True:
            data = os.pread(self._descriptor, size, self._position)
            parsed = parse_frames(data, self._partition, self.next_offset, limit)
            if parsed.records or parsed.damaged or len(data) < size:
                return parsed
            size *= 4

    def end_offset(self) -> int:
        """Return the offset that is written next."""
        if self._end_offset < self.next_offset:
            self._end_offset, self._end_position = self.next_offset, self._position
        if os.fstat(self._descriptor).st_size > self._end_position + _SCAN_BYTES:
            near = _nearest(self._descriptor, self._index, self._partition, sys.maxsize)
            self._end_offset, self._end_position = max((self._end_offset, self._end_position), near)
        while os.fstat(self._descriptor).st_size > self._end_position:
            data = os.pread(self._descriptor, _SCAN_BYTES, self._end_position)
            parsed = parse_frames(data, self._partition, self._end_offset, len(data))
            if not parsed.records:
                break
            self._end_offset += len(parsed.records)
            self._end_position += parsed.ends[-1]
        return self._end_offset

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
