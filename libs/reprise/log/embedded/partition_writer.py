"""Appending to one partition's file, which other processes append to as well."""

import fcntl
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from reprise.log.embedded.frames import FRAME_OVERHEAD, encode_frame, parse_frames, refuse_damage
from reprise.log.embedded.partition_index import INDEX_INTERVAL, PartitionIndex
from reprise.log.embedded.partition_reader import scan_to_offset
from reprise.log.exceptions import TopicGoneError

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
