"""A topic's SQLite database, which the first process to open the topic creates atomically."""

import errno
import os
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import starmap
from pathlib import Path
from typing import Any

from reprise.log.exceptions import CorruptLogError, LogUnavailableError
from reprise.log.interface import Record
from reprise.log.topics import ConfigDifference, Topic, TopicStatus
from reprise.runtime.files import sync

_FILE = "topic.sqlite"
_BUSY_SECONDS = 10.0
_READ_BYTES = 4 * 1024 * 1024
_SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE topic (id BLOB NOT NULL, partitions INTEGER NOT NULL);
CREATE TABLE positions (
    consumer_group TEXT, partition INTEGER, committed INTEGER NOT NULL, PRIMARY KEY (consumer_group, partition)
);
"""
# a table per partition: SQLite appends in key order without splitting pages
_PARTITION_SCHEMA = """
CREATE TABLE records_{} (
    offset INTEGER PRIMARY KEY, timestamp_ms INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL
);
"""


class TopicDatabase:
    """A connection to a topic's database, for one thread at a time.

    A commit survives a crash of the process. With ``fsync`` it also survives a crash of the machine
    (``synchronous = FULL``). Without, such a crash can lose the commits since the last ``sync`` but never damages the
    file (``synchronous = NORMAL``). A writer waits up to 10 seconds for another one.
    """

    topic_id: bytes
    partitions: int

    def __init__(self, log_dir: Path, topic: Topic, *, create: bool = True, fsync: bool = False) -> None:
        """Open the topic, created with a new id if there is none and ``create`` is set.

        Raises:
            LogUnavailableError: The database can be neither created nor opened, or the folder is of an earlier version.
            CorruptLogError: The file is damaged.
        """
        self.folder = log_dir / topic.name
        self._path = self.folder / _FILE
        with errors_converted(self._path):
            if create and not self.folder.exists():
                _create(self.folder, topic)
            if (self.folder / "topic.json").exists():
                raise LogUnavailableError(
                    f"{self.folder} holds the log files of an earlier version, which this version cannot read;"
                    " remove or rename the folder, and the topic starts empty"
                )
            self._connection = _connect(self._path, "rw")
            try:
                self._connection.execute(f"PRAGMA synchronous = {'FULL' if fsync else 'NORMAL'}")
                self._identity = self._path.stat()
                query = "SELECT id, partitions FROM topic"
                self.topic_id, self.partitions = self._connection.execute(query).fetchone()
            except BaseException:
                self._connection.close()
                raise

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection inside a write transaction, which an exception rolls back.

        Raises:
            LogUnavailableError: The database is locked or cannot be written.
            CorruptLogError: The file is damaged.
        """
        with errors_converted(self._path), self._connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection

    def append(self, partition: int, records: Sequence[tuple[bytes, bytes]], timestamp_ms: int) -> int:
        """Append pairs of key and value inside a transaction; return the first offset."""
        first = self.end_offset(partition)
        self._connection.executemany(
            f"INSERT INTO records_{partition} VALUES (?, ?, ?, ?)",
            ((first + number, timestamp_ms, key, value) for number, (key, value) in enumerate(records)),
        )
        return first

    def read(self, partition: int, offset: int, limit: int) -> list[Record]:
        """Return up to ``limit`` records from an offset on, and none after the first 4 MiB."""
        with errors_converted(self._path):
            rows = self._connection.execute(
                f"SELECT ?, * FROM records_{partition} WHERE offset >= ? ORDER BY offset LIMIT ?",
                (partition, offset, limit),
            )
            records: list[Record] = []
            size = 0
            with closing(rows):
                for record in starmap(Record, rows):
                    records.append(record)
                    size += len(record.key) + len(record.value)
                    if size >= _READ_BYTES:
                        break
            return records

    def sync(self) -> None:
        """Let all commits survive a crash of the machine."""
        with errors_converted(self._path):
            sync(self._path.with_name(f"{_FILE}-wal"))
            sync(self.folder)

    def rewrite(self, key: bytes, rewritten: Callable[[Record], bytes | None]) -> None:
        """Replace the values of a key's records, except where the function returns None, and remove the key.

        The replaced bytes are overwritten in the file.
        """
        with self.transaction() as connection:
            connection.execute("PRAGMA secure_delete = ON")
            for partition in range(self.partitions):
                query = f"SELECT ?, * FROM records_{partition} WHERE key = ?"
                for record in starmap(Record, connection.execute(query, (partition, key)).fetchall()):
                    if (value := rewritten(record)) is not None:
                        connection.execute(
                            f"UPDATE records_{partition} SET key = x'', value = ? WHERE offset = ?",
                            (value, record.offset),
                        )
        self.query("PRAGMA wal_checkpoint(TRUNCATE)")

    def end_offset(self, partition: int) -> int:
        """Return the next offset to be written."""
        ((end,),) = self.query(f"SELECT coalesce(max(offset) + 1, 0) FROM records_{partition}")
        return int(end)

    def query(self, select: str, *parameters: object) -> list[Any]:
        """Return the rows of a query, without waiting for a writer."""
        with errors_converted(self._path):
            return self._connection.execute(select, parameters).fetchall()

    @property
    def removed(self) -> bool:
        """Whether the database was removed, or removed and recreated, while it was open."""
        with errors_converted(self._path):
            try:
                return not os.path.samestat(self._path.stat(), self._identity)
            except FileNotFoundError:
                return True

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def inspect_topic(log_dir: Path, topic: Topic) -> TopicStatus:
    """Return the status of a declared topic; creates none.

    Raises:
        LogUnavailableError: The topic's folder cannot be read.
    """
    if not (log_dir / topic.name).exists():
        return TopicStatus(topic, missing=True)
    with closing(TopicDatabase(log_dir, topic, create=False)) as database:
        difference = ConfigDifference("partitions", str(topic.partitions), str(database.partitions))
    return TopicStatus(topic, differences=() if difference.found == difference.declared else (difference,))


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )


def _create(folder: Path, topic: Topic) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    topic_id = uuid.uuid4()
    partial = folder.with_name(f".{folder.name}.{topic_id.hex}")
    partial.mkdir()
    try:
        with closing(_connect(partial / _FILE, "rwc")) as connection:
            connection.executescript(
                _SCHEMA + "".join(map(_PARTITION_SCHEMA.format, range(topic.partitions)))
            )
            connection.execute("INSERT INTO topic VALUES (?, ?)", (topic_id.bytes, topic.partitions))
        partial.rename(folder)
    except OSError as error:
        # another process created it first
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sync(folder)
    sync(folder.parent)


@contextmanager
def errors_converted(path: Path) -> Iterator[None]:
    """Convert the errors of SQLite and of the file system within the block."""
    try:
        yield
    except (sqlite3.OperationalError, OSError) as error:
        raise LogUnavailableError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    except sqlite3.DatabaseError as error:
        raise CorruptLogError(path, str(error)) from error
