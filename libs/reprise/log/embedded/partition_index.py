"""Where every 4,096th record of a partition is, so that finding an offset does not read all before it.

The index is a hint: whoever uses it checks that the record is there. It is written by the holder of the
partition's lock only.
"""

import os
import struct
from pathlib import Path

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
