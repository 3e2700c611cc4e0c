"""Who is in a consumer group, and which partitions each of them holds.

There is no coordinator. Every member looks now and then who else lives, works out its own share from the
order of the members' names, gives up what exceeds it, and takes free partitions up to it. A partition belongs
to who holds its lock, so two members never hold one, whatever they believe about each other.
"""

import fcntl
import os
import time
import uuid
from pathlib import Path

from reprise.log.exceptions import CorruptLogError


def try_lock(path: Path) -> int | None:
    """Return the descriptor of a file that is now locked, or ``None`` when another holds it.

    The file is made when it is absent. Closing the descriptor frees the lock.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _still_named(path, descriptor):
            return descriptor
        # it was removed between being opened and being locked
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock; the file of a dead one is removed."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _still_named(path, descriptor):
            path.unlink()
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _still_named(path: Path, descriptor: int) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    opened = os.fstat(descriptor)
    return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)


class Membership:
    """One consumer's place in its group."""

    def __init__(self, folder: Path, partitions: int) -> None:
        self._folder = folder
        self._partitions = partitions
        self._members = folder / "members"
        self._members.mkdir(parents=True, exist_ok=True)
        self._locks: dict[int, int] = {}
        # a name that sorts by age, so that a newcomer does not move the others about
        self._name = f"{time.time_ns():020d}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._presence = self._enter()

    @property
    def held(self) -> frozenset[int]:
        """The partitions that this member holds."""
        return frozenset(self._locks)

    def excess(self) -> list[int]:
        """Return the partitions to give up so that others get their share."""
        return sorted(self._locks)[self._share() :]

    def release(self, partition: int) -> None:
        """Let another member have a partition."""
        os.close(self._locks.pop(partition))

    def take_free(self) -> list[int]:
        """Take free partitions up to this member's share, and return them."""
        share = self._share()
        taken = []
        for partition in range(self._partitions):
            if len(self._locks) >= share:
                break
            if partition in self._locks:
                continue
            lock = try_lock(self._folder / f"{partition}.lock")
            if lock is not None:
                self._locks[partition] = lock
                taken.append(partition)
        return taken

    def leave(self) -> None:
        """Give up everything."""
        for partition in list(self._locks):
            self.release(partition)
        (self._members / self._name).unlink(missing_ok=True)
        os.close(self._presence)

    def _enter(self) -> int:
        while True:
            presence = try_lock(self._members / self._name)
            if presence is not None:
                return presence
            # another member is looking whether this one lives
            time.sleep(0.001)

    def _share(self) -> int:
        living = [name for name in os.listdir(self._members) if name != self._name]
        living = sorted([name for name in living if is_held(self._members / name)] + [self._name])
        whole, left = divmod(self._partitions, len(living))
        return whole + (living.index(self._name) < left)


def read_committed(folder: Path, partition: int) -> int:
    """Return the committed offset of a partition; 0 when nothing was committed.

    Raises:
        CorruptLogError: The file holds something else.
    """
    path = folder / f"{partition}.offset"
    try:
        text = path.read_text()
    except FileNotFoundError:
        return 0
    if not text.isdecimal():
        raise CorruptLogError(path, 0, f"expected an offset, found {text[:40]!r}; remove it to read from 0")
    return int(text)


def write_committed(folder: Path, partition: int, offset: int, *, fsync: bool) -> None:
    """Replace the committed offset of a partition, which the caller has locked."""
    path = folder / f"{partition}.offset"
    replacement = folder / f".{partition}.offset"
    with replacement.open("w") as file:
        file.write(str(offset))
        if fsync:
            file.flush()
            os.fsync(file.fileno())
    replacement.replace(path)
