"""A consumer group: its members, the partitions that each holds, and its committed offsets.

There is no coordinator. Each member periodically lists the live members, computes its own share from their age,
releases partitions above it and takes free ones up to it. A partition is free if its member is gone.
"""

import fcntl
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from reprise.log.embedded.topic_database import TopicDatabase, errors_converted
from reprise.log.exceptions import NotAssignedError, OffsetOutOfRangeError, TopicGoneError

_FREE = "member IS NULL OR member NOT IN (SELECT member FROM members)"
_SET_MEMBER = "UPDATE positions SET member = ? WHERE consumer_group = ? AND partition = ?"


class GroupMember:
    """One consumer's membership in its group; numbers grow, so a new member does not move partitions of others.

    Raises:
        LogUnavailableError: The database or the lock file cannot be written.
    """

    def __init__(self, database: TopicDatabase, group: str) -> None:
        self._database = database
        self._group = group
        with ExitStack() as on_failure:
            self._join(on_failure)
            on_failure.pop_all()

    def _join(self, on_failure: ExitStack) -> None:
        database, group = self._database, self._group
        # the member is visible once the transaction is committed, when it already holds its lock
        with database.transaction() as connection:
            [(self._member,)] = connection.execute(
                "INSERT INTO members (consumer_group) VALUES (?) RETURNING member", (group,)
            ).fetchall()
            connection.executemany(
                "INSERT OR IGNORE INTO positions (consumer_group, partition) VALUES (?, ?)",
                [(group, partition) for partition in range(database.partitions)],
            )
            lock_file = self._lock_file(self._member)
            self._lock = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            on_failure.callback(os.close, self._lock)
            # nobody else can hold it, and waiting here would hold the database's write lock
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def share(self) -> int:
        """Return the number of partitions that this member shall hold; forgets dead members.

        Raises:
            TopicGoneError: This member's lock file was removed.
        """
        query = "SELECT member FROM members WHERE consumer_group = ? ORDER BY member"
        members = [member for (member,) in self._database.query(query, self._group)]
        live = [member for member in members if member == self._member or self._is_live(member)]
        if len(live) < len(members):
            # numbers are never used again, so what was dead stays dead
            with self._database.transaction() as connection:
                for member in set(members) - set(live):
                    self._lock_file(member).unlink(missing_ok=True)
                    connection.execute("DELETE FROM members WHERE member = ?", (member,))
        if self._member not in live:
            raise TopicGoneError(f"{self._lock_file(self._member)} was removed while it was open")
        each, extra = divmod(self._database.partitions, len(live))
        return each + int(live.index(self._member) < extra)

    def acquire(self, count: int) -> dict[int, int]:
        """Take up to ``count`` free partitions; return their committed offsets.

        Raises:
            OffsetOutOfRangeError: A partition ends before its committed offset; none was taken.
        """
        with self._database.transaction() as connection:
            rows = connection.execute(
                f"SELECT partition, committed FROM positions WHERE consumer_group = ? AND ({_FREE})"
                " ORDER BY partition LIMIT ?",
                (self._group, count),
            ).fetchall()
            for partition, committed in rows:
                end = self._database.end_offset(partition)
                if committed > end:
                    raise OffsetOutOfRangeError(
                        f"{self._database.folder}: partition {partition}: offset {committed:,} was committed,"
                        f" but the partition ends at {end:,}"
                    )
                connection.execute(_SET_MEMBER, (self._member, self._group, partition))
        return dict(rows)

    def release(self, partitions: Iterable[int]) -> None:
        """Release partitions for other members."""
        with self._database.transaction() as connection:
            connection.executemany(_SET_MEMBER, [(None, self._group, partition) for partition in partitions])

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Replace the group's committed offsets.

        Raises:
            NotAssignedError: Another member holds a partition; nothing was committed.
        """
        with self._database.transaction() as connection:
            updated = connection.executemany(
                "UPDATE positions SET committed = ? WHERE consumer_group = ? AND partition = ? AND member = ?",
                [(offset, self._group, partition, self._member) for partition, offset in offsets.items()],
            )
            if updated.rowcount != len(offsets):
                raise NotAssignedError(f"other members of {self._group} hold some of {sorted(offsets)}")

    def leave(self) -> None:
        """Release all partitions and leave the group."""
        try:
            with self._database.transaction() as connection:
                connection.execute("DELETE FROM members WHERE member = ?", (self._member,))
                self._lock_file(self._member).unlink(missing_ok=True)
        finally:
            os.close(self._lock)

    def _is_live(self, member: int) -> bool:
        """Return whether the member's process holds its lock; several processes may ask at once."""
        path = self._lock_file(member)
        with errors_converted(path):
            try:
                with path.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            except FileNotFoundError:
                pass
        return False

    def _lock_file(self, member: int) -> Path:
        return self._database.folder / f"member-{member}.lock"
