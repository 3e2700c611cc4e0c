"""Who is in a consumer group, and which partitions each of them holds.

There is no coordinator. Every member looks now and then who else lives, works out its own share from the
order of the members' names, gives up what exceeds it, and takes free partitions up to it. A partition belongs
to who holds its lock, so two members never hold one, whatever they believe about each other.
"""

import os
import time
import uuid
from pathlib import Path

from reprise.log.embedded.locks import is_held, try_lock


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
