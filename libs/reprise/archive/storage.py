"""Where the store keeps its files: a folder of this machine, or anything else that fsspec reaches."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from reprise.archive.exceptions import SegmentGoneError, StoreAddressError, StoreUnavailableError
from reprise.runtime.files import atomic_write

_ERRORS_OF = {
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "aiohttp": ("ClientError",),
}


_WITHOUT_FOLDERS = frozenset(("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"))
"""Protocols that need no folder for a file; making one would make a bucket that is only misspelt."""


class Storage(Protocol):
    """What the store asks of the place that holds its files; paths are relative, with slashes."""

    def location(self, path: str) -> str:
        """Return the full address of a path, for messages and people."""

    def files(self, path: str) -> list[str]:
        """Return the paths of all files under a folder, at any depth; none where it does not exist."""

    def open(self, path: str) -> IO[bytes]:
        """Open a file for reading; raises FileNotFoundError."""

    def write(self, path: str, data: bytes) -> None:
        """Put a file in place durably, so that a reader sees all of it or the one before."""

    def put(self, path: str, source: Path) -> None:
        """Put the bytes of a local file in place, as ``write`` does."""

    def remove(self, path: str) -> None:
        """Remove a file; one that is not there is removed already."""


def open_storage(url: str) -> Storage:
    """Return the storage that a URL or a plain path names, its errors converted to ours.

    Raises:
        StoreAddressError: The protocol is not known, or the package that speaks it is not installed.
    """
    if not url.strip():
        raise StoreAddressError("the URL of the offline store is empty")
    try:
        filesystem, root = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise StoreAddressError(f"{url}: {error}") from error
    if isinstance(filesystem, LocalFileSystem):
        return LocalStorage(Path(root))
    return ObjectStorage(filesystem, str(root))


class LocalStorage:
    """A folder on a disk or a volume; files appear by rename."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def location(self, path: str) -> str:
        """Return the path of the file on this machine."""
        return str(self._root / path)

    def files(self, path: str) -> list[str]:
        """Return the paths of all files under a folder."""
        with converted("list", self.location(path)):
            return sorted(
                found.relative_to(self._root).as_posix()
                for found in (self._root / path).rglob("*")
                if not found.name.startswith(".") and found.is_file()
            )

    def open(self, path: str) -> IO[bytes]:
        """Open a file for reading."""
        with converted("read", self.location(path)):
            return (self._root / path).open("rb")

    def write(self, path: str, data: bytes) -> None:
        """Write a sibling, sync it, and rename it into place."""
        with converted("write", self.location(path)):
            target = self._prepared(path)
            with atomic_write(target) as incoming:
                incoming.write_bytes(data)

    def put(self, path: str, source: Path) -> None:
        """Copy to a sibling, sync it, and rename it into place."""
        with converted("write", self.location(path)):
            target = self._prepared(path)
            with atomic_write(target) as incoming, source.open("rb") as read, incoming.open("wb") as write:
                while block := read.read(1 << 20):
                    write.write(block)

    def remove(self, path: str) -> None:
        """Remove a file."""
        with converted("remove", self.location(path)):
            (self._root / path).unlink(missing_ok=True)

    def _prepared(self, path: str) -> Path:
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target


class ObjectStorage:
    """An object store, or any other file system of fsspec, that puts a whole file in place at once."""

    def __init__(self, filesystem: Any, root: str) -> None:
        self._filesystem = filesystem
        self._root = root.rstrip("/")
        protocol = filesystem.protocol
        protocols = {protocol} if isinstance(protocol, str) else set(protocol)
        self._makes_folders = not protocols & _WITHOUT_FOLDERS

    def location(self, path: str) -> str:
        """Return the URL of a file."""
        return str(self._filesystem.unstrip_protocol(self._absolute(path)))

    def files(self, path: str) -> list[str]:
        """Return the paths of all files under a folder, as they are now."""
        with converted("list", self.location(path)):
            self._filesystem.invalidate_cache()
            root = PurePosixPath(self._absolute(""))
            try:
                found = self._filesystem.find(self._absolute(path))
            except FileNotFoundError:
                return []
            return sorted(PurePosixPath(name).relative_to(root).as_posix() for name in found)

    def open(self, path: str) -> IO[bytes]:
        """Open a file for reading."""
        with converted("read", self.location(path)):
            opened: IO[bytes] = self._filesystem.open(self._absolute(path), "rb")
            return opened

    def write(self, path: str, data: bytes) -> None:
        """Put one object, which object stores do atomically."""
        with converted("write", self.location(path)):
            target = self._prepared(path)
            self._filesystem.pipe_file(target, data)

    def put(self, path: str, source: Path) -> None:
        """Upload a file; a large one in parts, that become an object when the last is there."""
        with converted("write", self.location(path)):
            target = self._prepared(path)
            self._filesystem.put_file(str(source), target)

    def remove(self, path: str) -> None:
        """Remove an object."""
        with converted("remove", self.location(path)):
            try:
                self._filesystem.rm_file(self._absolute(path))
            except FileNotFoundError:
                return

    def _absolute(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def _prepared(self, path: str) -> str:
        target = self._absolute(path)
        if self._makes_folders:
            self._filesystem.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
        return target


@contextmanager
def converted(doing: str, location: str) -> Iterator[None]:
    """Convert what a file system raises inside the block to this package's errors.

    Raises:
        SegmentGoneError: A file to read is not there.
        StoreUnavailableError: Anything else that the file system or the network refused.
    """
    try:
        yield
    except FileNotFoundError as error:
        if doing == "read":
            raise SegmentGoneError(location) from error
        raise StoreUnavailableError(doing, location, error) from error
    except _third_party_errors() as error:
        raise StoreUnavailableError(doing, location, error) from error


def _third_party_errors() -> tuple[type[Exception], ...]:
    """Return the errors of the file systems that are loaded; only what is loaded can have raised."""
    found: list[type[Exception]] = [OSError]
    for module, names in _ERRORS_OF.items():
        if module in sys.modules:
            found.extend(getattr(importlib.import_module(module), name) for name in names)
    return tuple(found)
