"""A consumer group: its members, the partitions that each holds, and its committed offsets.

There is no coordinator. Each member periodically lists the live members, computes its own share from the order of
their names, releases partitions above it and takes free ones up to it. A partition belongs to the holder of its lock,
so two members never hold the same one.
"""

import fcntl
import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from reprise.log.exceptions import CorruptLogError


class GroupMember:
    """One consumer's membership in its group."""

    def __init__(self, folder: Path, partitions: int) -> None:
        self._folder = folder
        self._partitions = partitions
        self._members = folder / "members"
        self._members.mkdir(parents=True, exist_ok=True)
        self._locks: dict[int, int] = {}
        # names sort by age, so a new member does not move the partitions of others
        self._name = f"{time.time_ns():020d}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        while (presence := _try_lock(self._members / self._name)) is None:
            # another member is checking whether this one is alive
            time.sleep(0.001)
        self._presence = presence

    def excess(self) -> list[int]:
        """Return the held partitions above this member's share."""
        return sorted(self._locks)[self._share() :]

    def release(self, partition: int) -> None:
        """Release a partition for other members."""
        os.close(self._locks.pop(partition))

    def acquire_free(self) -> list[int]:
        """Acquire free partitions up to this member's share; return them."""
        share = self._share()
        acquired = []
        for partition in range(self._partitions):
            if len(self._locks) >= share:
                break
            if partition in self._locks:
                continue
            lock = _try_lock(self._folder / f"{partition}.lock")
            if lock is not None:
                self._locks[partition] = lock
                acquired.append(partition)
        return acquired

    def leave(self) -> None:
        """Release all partitions and leave the group."""
        for partition in list(self._locks):
            self.release(partition)
        (self._members / self._name).unlink(missing_ok=True)
        os.close(self._presence)

    def _share(self) -> int:
        others = [name for name in os.listdir(self._members) if name != self._name]
        live = sorted([name for name in others if _is_held(self._members / name)] + [self._name])
        each, extra = divmod(self._partitions, len(live))
        return each + (live.index(self._name) < extra)


def read_committed(folder: Path, partition: int) -> int:
    """Return the committed offset of a partition; 0 if there is none.

    Raises:
        CorruptLogError: The file does not contain an offset.
    """
    path = folder / f"{partition}.offset"
    try:
        text = path.read_text()
    except FileNotFoundError:
        return 0
    if not text.isdecimal():
        raise CorruptLogError(path, 0, f"expected an offset, found {text[:40]!r}; remove it to read from 0")
    return int(text)


def write_committed(folder: Path, offsets: Mapping[int, int], *, fsync: bool) -> None:
    """Replace the committed offsets of partitions whose locks the caller holds."""
    for partition, offset in offsets.items():
        replacement = folder / f".{partition}.offset"
        with replacement.open("w") as file:
            file.write(str(offset))
            if fsync:
                file.flush()
                os.fsync(file.fileno())
        replacement.replace(folder / f"{partition}.offset")


def _try_lock(path: Path) -> int | None:
    """Return the descriptor of the locked file, created if absent; ``None`` if another process holds the lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _is_same_file(path, descriptor):
            return descriptor
        # the file was removed between open and flock
        os.close(descriptor)


def _is_held(path: Path) -> bool:
    """Return whether a process holds the lock; removes the file of a dead one."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_same_file(path, descriptor):
            path.unlink()
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _is_same_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
