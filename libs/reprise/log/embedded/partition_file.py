"""Reading one partition's file while others append to it."""

import fcntl
import os
import struct
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from reprise.log.embedded.record_format import (
    FRAME_OVERHEAD,
    MAX_RECORD_BYTES,
    Parsed,
    encode_frame,
    parse_frames,
    refuse_damage,
)
from reprise.log.exceptions import OffsetOutOfRangeError, TopicGoneError
from reprise.log.interface import Record

INDEX_INTERVAL = 4096

_ENTRY = struct.Struct(">QQ")


class PartitionIndex:
    """The index file of one partition: pairs of offset and position, ascending."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def candidates(self, offset: int) -> list[tuple[int, int]]:
        """Return pairs of offset and position not past ``offset``, nearest first; the last is the start."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            data = b""
        whole = len(data) - len(data) % _ENTRY.size
        entries = [entry for entry in _ENTRY.iter_unpack(data[:whole]) if entry[0] <= offset]
        return [*((entry[0], entry[1]) for entry in reversed(entries[-4:])), (0, 0)]

    def add(self, offset: int, position: int) -> None:
        """Append an entry; a half-written one before it is overwritten."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            os.pwrite(descriptor, _ENTRY.pack(offset, position), size - size % _ENTRY.size)
        finally:
            os.close(descriptor)


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


_SCAN_BYTES = 4 * 1024 * 1024


class PartitionWriter:
    """Appends records under the partition's lock."""

    def __init__(self, path: Path, index: PartitionIndex, partition: int, *, fsync: bool) -> None:
        self._path = path
        self._index = index
        self._partition = partition
        self._fsync = fsync
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._end_offset, self._end_position = scan_to_offset(
            self._descriptor, index, partition, _last_indexed(index)
        )
        self._indexed = self._end_offset

    def append(self, records: Sequence[tuple[bytes, bytes]], timestamp_ms: int) -> tuple[int, int]:
        """Append pairs of key and value; return the first offset, and how many of them were written.

        Fewer than all are written when the disk is full. Those stay, since a consumer may have read
        them, and what follows the last whole one is removed.

        Raises:
            OSError: The file cannot be written.
            TopicGoneError: The file was removed.
            CorruptLogError: The file is damaged.
        """
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            self._find_end()
            first = self._end_offset
            frames = [
                encode_frame(first + number, timestamp_ms, key, value)
                for number, (key, value) in enumerate(records)
            ]
            written = self._write(frames)
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
            raise TopicGoneError(f"{self._path} was shortened while it was open")
        while status.st_size > self._end_position:
            data = os.pread(self._descriptor, _SCAN_BYTES, self._end_position)
            parsed = parse_frames(data, self._partition, self._end_offset, sys.maxsize)
            if parsed.records:
                self._advance(parsed.ends)
                continue
            if parsed.damaged and len(data) >= FRAME_OVERHEAD:
                refuse_damage(self._path, self._end_position, data, self._partition, self._end_offset)
            os.ftruncate(self._descriptor, self._end_position)
            break

    def _write(self, frames: list[bytes]) -> int:
        data = b"".join(frames)
        done = 0
        try:
            while done < len(data):
                done += os.pwrite(self._descriptor, memoryview(data)[done:], self._end_position + done)
        except OSError:
            ends = _ends(frames)
            whole = [end for end in ends if end <= done]
            os.ftruncate(self._descriptor, self._end_position + (whole[-1] if whole else 0))
            if not whole:
                raise
            self._advance(whole)
            return len(whole)
        self._advance(_ends(frames))
        return len(frames)

    def _advance(self, ends: list[int]) -> None:
        """Move the end past frames that end at these bytes, from the present end."""
        due = self._indexed + INDEX_INTERVAL
        if self._end_offset + len(ends) > due:
            skipped = max(due - self._end_offset, 0)
            position = self._end_position + (ends[skipped - 1] if skipped else 0)
            self._indexed = self._end_offset + skipped
            self._index.add(self._indexed, position)
        self._end_offset += len(ends)
        self._end_position += ends[-1]


def _ends(frames: list[bytes]) -> list[int]:
    ends, end = [], 0
    for frame in frames:
        end += len(frame)
        ends.append(end)
    return ends


def _last_indexed(index: PartitionIndex) -> int:
    return index.candidates(sys.maxsize)[0][0]
