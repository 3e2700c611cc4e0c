"""A topic's folder, which the first process to open the topic creates atomically."""

import errno
import json
import os
import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from reprise.log.embedded.partition_file import PartitionIndex
from reprise.log.exceptions import LogUnavailableError
from reprise.log.topics import ConfigDifference, Topic, TopicStatus

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,248}")
_VERSION = 1


@dataclass(frozen=True, slots=True)
class TopicDirectory:
    """A topic's folder, its 16-byte id and its number of partitions."""

    path: Path
    topic_id: bytes
    partitions: int

    @classmethod
    def open(cls, log_dir: Path, topic: Topic) -> "TopicDirectory":
        """Return the topic's folder, created with a new id if there is none.

        Raises:
            LogUnavailableError: The folder can be neither created nor read.
        """
        path = log_dir / _checked_name("topic", topic.name)
        try:
            if not path.exists():
                _create(path, topic)
        except OSError as error:
            raise LogUnavailableError.from_os_error(path, error) from error
        return cls.load(path)

    @classmethod
    def load(cls, path: Path) -> "TopicDirectory":
        """Return the topic in a folder.

        Raises:
            LogUnavailableError: The folder is no topic or cannot be read.
        """
        description = path / "topic.json"
        try:
            fields = json.loads(description.read_bytes())
            if fields["version"] != _VERSION:
                raise LogUnavailableError(f"{description}: version {fields['version']}, expected {_VERSION}")
            return cls(path, uuid.UUID(fields["id"]).bytes, int(fields["partitions"]))
        except OSError as error:
            raise LogUnavailableError.from_os_error(description, error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise LogUnavailableError(f"{description}: not a topic description: {error!r}") from error

    def log_file(self, partition: int) -> Path:
        """Return the file of a partition's records."""
        return self.path / f"{partition}.log"

    def index(self, partition: int) -> PartitionIndex:
        """Return the index of a partition."""
        return PartitionIndex(self.path / f"{partition}.index")

    def group(self, group: str) -> Path:
        """Return the folder of a consumer group."""
        return self.path / "groups" / _checked_name("group", group)


def inspect_topic(log_dir: Path, topic: Topic) -> TopicStatus:
    """Return the status of a declared topic; creates nothing.

    Raises:
        LogUnavailableError: The topic's folder cannot be read.
    """
    path = log_dir / _checked_name("topic", topic.name)
    if not path.exists():
        return TopicStatus(topic, missing=True)
    found = TopicDirectory.load(path).partitions
    if found == topic.partitions:
        return TopicStatus(topic)
    return TopicStatus(
        topic, differences=(ConfigDifference("partitions", str(topic.partitions), str(found)),)
    )


def _checked_name(kind: str, name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise ValueError(
            f"{kind} {name!r}: expected letters, digits, '.', '_' and '-', not starting with '.'"
        )
    return name


def _create(path: Path, topic: Topic) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    topic_id = uuid.uuid4()
    partial = path.with_name(f".{path.name}.{topic_id.hex}")
    partial.mkdir()
    try:
        description = {"version": _VERSION, "id": str(topic_id), "partitions": topic.partitions}
        (partial / "topic.json").write_text(json.dumps(description))
        for partition in range(topic.partitions):
            (partial / f"{partition}.log").touch()
        for name in (*sorted(os.listdir(partial)), "."):
            _sync(partial / name)
        partial.rename(path)
        _sync(path.parent)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
