"""Files that are there whole, or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Give a sibling path to write to, which becomes ``path`` when the block ends well.

    The sibling keeps the extension of ``path``, for writers that choose the format by it. File and folder are
    synced before the block returns. When the block raises, the sibling is removed and ``path`` is
    what it was.

    Raises:
        FileNotFoundError: The folder of ``path`` does not exist, or the block wrote nothing.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target.parent} is no folder, so {target.name} cannot be written there")
    sibling = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.partial{target.suffix}")
    try:
        yield sibling
        if not sibling.exists():
            raise FileNotFoundError(f"nothing was written for {target}")
        _sync(sibling)
        sibling.replace(target)
        _sync(target.parent)
    finally:
        sibling.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
