"""A topic's folder: made once, whole, by whoever comes first."""

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
from reprise.log.topics import Topic

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,248}")
_VERSION = 1


@dataclass(frozen=True, slots=True)
class TopicDirectory:
    """A topic's folder, its 16-byte id, and how many partitions it was made with."""

    path: Path
    topic_id: bytes
    partitions: int

    @classmethod
    def open(cls, log_dir: Path, topic: Topic) -> "TopicDirectory":
        """Return the topic's folder, made with a new id if there is none.

        Raises:
            LogUnavailableError: The folder can be neither made nor read.
        """
        path = log_dir / checked_name("topic", topic.name)
        try:
            if not path.exists():
                _create(path, topic)
            return cls.load(path)
        except OSError as error:
            raise LogUnavailableError(f"{path}: {error.strerror or error}") from error

    @classmethod
    def load(cls, path: Path) -> "TopicDirectory":
        """Return the topic that is in a folder.

        Raises:
            LogUnavailableError: It holds none, or cannot be read.
        """
        description = path / "topic.json"
        try:
            fields = json.loads(description.read_bytes())
            if fields["version"] != _VERSION:
                raise LogUnavailableError(f"{description}: version {fields['version']}, expected {_VERSION}")
            return cls(path, uuid.UUID(fields["id"]).bytes, int(fields["partitions"]))
        except OSError as error:
            raise LogUnavailableError(f"{description}: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise LogUnavailableError(f"{description}: not the description of a topic: {error!r}") from error

    def log_file(self, partition: int) -> Path:
        """Return the file of a partition's records."""
        return self.path / f"{partition}.log"

    def index(self, partition: int) -> PartitionIndex:
        """Return the index of a partition."""
        return PartitionIndex(self.path / f"{partition}.index")

    def group(self, group: str) -> Path:
        """Return the folder of a consumer group."""
        return self.path / "groups" / checked_name("group", group)


def checked_name(kind: str, name: str) -> str:
    """Return a name that is safe as that of a file.

    Raises:
        ValueError: It is not.
    """
    if _NAME.fullmatch(name) is None:
        raise ValueError(
            f"{kind} {name!r}: expected letters, digits, '.', '_' and '-', not starting with '.'"
        )
    return name


def _create(path: Path, topic: Topic) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    topic_id = uuid.uuid4()
    unfinished = path.with_name(f".{path.name}.{topic_id.hex}")
    unfinished.mkdir()
    try:
        description = {"version": _VERSION, "id": str(topic_id), "partitions": topic.partitions}
        (unfinished / "topic.json").write_text(json.dumps(description))
        for partition in range(topic.partitions):
            (unfinished / f"{partition}.log").touch()
        for name in (*sorted(os.listdir(unfinished)), "."):
            _sync(unfinished / name)
        unfinished.rename(path)
        _sync(path.parent)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
