"""The offset from which a group goes on with a partition."""

import os
from pathlib import Path

from reprise.log.exceptions import CorruptLogError


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
