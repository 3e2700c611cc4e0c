"""Locks on files that end with their process."""

import fcntl
import os
from pathlib import Path


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
