"""Where a store keeps its files: a directory of this machine, or anything else that fsspec reaches."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from reprise.bundle.exceptions import StoreAddressError


class Storage(Protocol):
    """What a store asks of the place that holds its files; paths are relative, with slashes."""

    def location(self, path: str) -> str:
        """Return the full address of a path, for messages and people."""

    def read(self, path: str) -> bytes:
        """Return the bytes of a file; raises FileNotFoundError."""

    def write(self, path: str, data: bytes) -> None:
        """Put a file in place, so that a reader sees the old bytes or the new ones, never a part."""

    def write_directory(self, path: str, files: Mapping[str, bytes]) -> None:
        """Put files into a directory; the last of them appears only when the others are there."""

    def directories(self, path: str) -> list[str]:
        """Return the names of the directories under a path; empty where it does not exist."""


def open_storage(url: str) -> Storage:
    """Return the storage that a URL or a plain path names.

    Raises:
        StoreAddressError: The protocol is not known, or the package that speaks it is not installed.
    """
    if not url.strip():
        raise StoreAddressError("the URL of the model store is empty")
    try:
        filesystem, root = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise StoreAddressError(f"{url}: {error}") from error
    if isinstance(filesystem, LocalFileSystem):
        return LocalStorage(Path(root))
    return ObjectStorage(filesystem, str(root))


class LocalStorage:
    """A directory on a disk or a volume; files and directories appear by rename."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def location(self, path: str) -> str:
        """Return the path of the file on this machine."""
        return str(self._root / path)

    def read(self, path: str) -> bytes:
        """Return the bytes of a file."""
        return (self._root / path).read_bytes()

    def write(self, path: str, data: bytes) -> None:
        """Write a sibling, make it durable, and rename it into place."""
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        incoming = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            _write_durably(incoming, data)
            incoming.replace(target)
        finally:
            incoming.unlink(missing_ok=True)
        _sync_directory(target.parent)

    def write_directory(self, path: str, files: Mapping[str, bytes]) -> None:
        """Write a sibling directory and rename it; where one is in place already, replace its files."""
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with _incoming_directory(target.parent) as incoming:
            for name, data in files.items():
                _write_durably(incoming / name, data)
            _sync_directory(incoming)
            try:
                incoming.rename(target)
            except OSError:
                if not target.is_dir():
                    raise
                for name in files:
                    (incoming / name).replace(target / name)
                _sync_directory(target)
        _sync_directory(target.parent)

    def directories(self, path: str) -> list[str]:
        """Return the names of the directories under a path."""
        directory = self._root / path
        if not directory.is_dir():
            return []
        return sorted(entry.name for entry in directory.iterdir() if entry.is_dir())


class ObjectStorage:
    """An object store or any other file system of fsspec; each file appears at once, directories do not."""

    def __init__(self, filesystem: Any, root: str) -> None:
        self._filesystem = filesystem
        self._root = root.rstrip("/")

    def location(self, path: str) -> str:
        """Return the URL of a file."""
        return str(self._filesystem.unstrip_protocol(f"{self._root}/{path}"))

    def read(self, path: str) -> bytes:
        """Return the bytes of a file."""
        data: bytes = self._filesystem.cat_file(f"{self._root}/{path}")
        return data

    def write(self, path: str, data: bytes) -> None:
        """Put one object, which object stores do atomically."""
        target = f"{self._root}/{path}"
        self._filesystem.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
        self._filesystem.pipe_file(target, data)

    def write_directory(self, path: str, files: Mapping[str, bytes]) -> None:
        """Put the files one by one, in their order."""
        for name, data in files.items():
            self.write(f"{path}/{name}", data)

    def directories(self, path: str) -> list[str]:
        """Return the names of the directories under a path, as they are now."""
        self._filesystem.invalidate_cache()
        try:
            entries = self._filesystem.ls(f"{self._root}/{path}", detail=True)
        except FileNotFoundError:
            return []
        return sorted(
            PurePosixPath(entry["name"].rstrip("/")).name for entry in entries if entry["type"] == "directory"
        )


@contextlib.contextmanager
def _incoming_directory(parent: Path) -> Iterator[Path]:
    incoming = parent / f".incoming-{uuid.uuid4().hex}"
    incoming.mkdir()
    try:
        yield incoming
    finally:
        if incoming.is_dir():
            shutil.rmtree(incoming)


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
