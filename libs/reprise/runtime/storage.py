"""Files in a local directory, or anywhere else that fsspec reaches; a reader sees a whole file or none."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from reprise.runtime.exceptions import RuntimeLibraryError
from reprise.runtime.files import atomic_write

_CLIENT_ERRORS = {
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "aiohttp": ("ClientError",),
    "azure.core.exceptions": ("AzureError",),
    "gcsfs.retry": ("HttpError", "ChecksumError"),
    "google.auth.exceptions": ("GoogleAuthError",),
}
_EXTRAS = {"gs": "gcs", "gcs": "gcs", "abfs": "azure", "abfss": "azure", "az": "azure"}
"""Protocols of object stores that are read by downloads, and the extra that has their client."""
_WITHOUT_DIRECTORIES = frozenset(("s3", "s3a", "memory", *_EXTRAS))
"""Protocols whose files need no directory; creating one would create a misspelt bucket."""


class StorageError(RuntimeLibraryError):
    """Root of this module's errors."""


class StorageAddressError(StorageError):
    """A URL has an unknown protocol, or the package for it is not installed."""


class StorageUnavailableError(StorageError):
    """The storage failed; a later retry may succeed."""

    def __init__(self, operation: str, location: str, reason: object) -> None:
        self.location = location
        super().__init__(f"could not {operation} {location}: {reason}")


class Storage:
    """Files under one URL, in an object store or another file system of fsspec that replaces a whole file at once.

    Paths are relative, with slashes. Methods raise ``StorageUnavailableError``.
    """

    def __init__(self, filesystem: Any, root: str) -> None:
        self._filesystem = filesystem
        self._root = root.rstrip("/")
        protocol = filesystem.protocol
        protocols = {protocol} if isinstance(protocol, str) else set(protocol)
        self._has_directories = not protocols & _WITHOUT_DIRECTORIES
        self._downloads = not protocols.isdisjoint(_EXTRAS)

    def location(self, path: str) -> str:
        """Return the full address of a path, for messages."""
        return str(self._filesystem.unstrip_protocol(self._absolute(path)))

    def files(self, path: str) -> list[str]:
        """Return the sorted paths of all files under a directory, at any depth; empty where it does not exist.

        Hidden files are left out.
        """
        with convert_errors("list", self.location(path)):
            self._filesystem.invalidate_cache()
            root = PurePosixPath(self._absolute(""))
            try:
                found = [PurePosixPath(name) for name in self._filesystem.find(self._absolute(path))]
            except FileNotFoundError:
                return []
            return sorted(
                name.relative_to(root).as_posix() for name in found if not name.name.startswith(".")
            )

    def open(self, path: str) -> IO[bytes]:
        """Open a file for reading; raises FileNotFoundError.

        If the file is replaced while it is read, reading goes on with what was opened, or fails.
        """
        with convert_errors("read", self.location(path)):
            if not self._downloads:
                return cast(IO[bytes], self._filesystem.open(self._absolute(path), "rb"))
            # s3fs reads all ranges of one version, adlfs each of the newest; a download is of one version.
            with tempfile.NamedTemporaryFile(prefix="reprise-storage-") as file:
                self._filesystem.get_file(self._absolute(path), file.name)
                return open(file.name, "rb")

    def read(self, path: str, limit: int | None = None) -> bytes:
        """Return the bytes of a file, or its first ``limit``; raises FileNotFoundError."""
        with convert_errors("read", self.location(path)):
            return cast(bytes, self._filesystem.cat_file(self._absolute(path), end=limit))

    def version(self, path: str) -> str | None:
        """Return a text that changes when a file is replaced, None where there is none."""
        with convert_errors("read", self.location(path)), suppress(FileNotFoundError):
            self._filesystem.invalidate_cache()
            return str(self._filesystem.ukey(self._absolute(path)))
        return None

    def write(self, path: str, content: bytes | Path) -> None:
        """Replace a file atomically and durably by bytes, or by a copy of a local file.

        A large file is uploaded in parts and appears with the last one.
        """
        with convert_errors("write", self.location(path)):
            target = self._absolute(path)
            if self._has_directories:
                self._filesystem.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
            if isinstance(content, Path):
                self._filesystem.put_file(str(content), target)
            else:
                self._filesystem.pipe_file(target, content)

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        with convert_errors("remove", self.location(path)), suppress(FileNotFoundError):
            self._filesystem.rm_file(self._absolute(path))

    def _absolute(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root


class LocalStorage(Storage):
    """A directory on a disk or a volume; files appear by rename."""

    def __init__(self, root: Path) -> None:
        super().__init__(LocalFileSystem(), str(root.absolute()))

    def location(self, path: str) -> str:
        """See ``Storage``."""
        return self._absolute(path)

    def write(self, path: str, content: bytes | Path) -> None:
        """See ``Storage``."""
        with convert_errors("write", self.location(path)):
            target = Path(self._absolute(path))
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(target) as incoming:
                if isinstance(content, Path):
                    shutil.copyfile(content, incoming)
                else:
                    incoming.write_bytes(content)


def open_storage(url: str) -> Storage:
    """Return the storage at a URL or a plain path; raises ``StorageAddressError``."""
    if not url.strip():
        raise StorageAddressError("the URL of the store is empty")
    if url.startswith(("gs://", "gcs://")):
        # Otherwise gcsfs asks over gRPC whether a bucket has directories, which Storage does not need.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    try:
        filesystem, root = url_to_fs(url)
    except ImportError as error:
        extra = _EXTRAS.get(url.partition("://")[0])
        where = f" (reprise[{extra}] has the package, and so has an image that is built with STORE={extra})"
        raise StorageAddressError(f"{url}: {error}{where if extra else ''}") from error
    except ValueError as error:
        raise StorageAddressError(f"{url}: {error}") from error
    is_local = isinstance(filesystem, LocalFileSystem)
    return LocalStorage(Path(root)) if is_local else Storage(filesystem, root)


@contextmanager
def convert_errors(operation: str, location: str) -> Iterator[None]:
    """Convert the errors of a file system or a network within the block to ``StorageUnavailableError``.

    Reading a missing file stays ``FileNotFoundError``.
    """
    try:
        yield
    except Exception as error:
        # Only a client that is loaded can have raised its errors; one that is being imported may lack them yet.
        clients: list[Any] = [
            getattr(sys.modules[module], name, ())
            for module, names in _CLIENT_ERRORS.items()
            if module in sys.modules
            for name in names
        ]
        is_missing = operation == "read" and isinstance(error, FileNotFoundError)
        if is_missing or not isinstance(error, (OSError, *clients)):
            raise
        raise StorageUnavailableError(operation, location, error) from error
