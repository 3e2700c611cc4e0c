"""The address of a bundle: the sha256 of its manifest."""

import hashlib
import re
from typing import NewType

from reprise.bundle.exceptions import InvalidDigestError

Digest = NewType("Digest", str)
"""``sha256:`` and the 64 lower-case hexadecimal digits of the manifest's sha256."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def sha256_hex(data: bytes) -> str:
    """Return the sha256 of the bytes as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest_of(manifest: bytes) -> Digest:
    """Return the digest of the bundle that has these manifest bytes."""
    return Digest(f"sha256:{sha256_hex(manifest)}")


def parse_digest(text: object) -> Digest:
    """Return the text as a digest.

    Raises:
        InvalidDigestError: It is not ``sha256:`` followed by 64 lower-case hexadecimal digits.
    """
    if not isinstance(text, str) or _DIGEST.fullmatch(text) is None:
        raise InvalidDigestError(text)
    return Digest(text)


def directory_name(digest: Digest) -> str:
    """Return the name of the bundle's directory; not every file system allows the digest's colon."""
    return digest.replace(":", "-", 1)


def digest_from_directory(name: str) -> Digest | None:
    """Return the digest that a directory is named for, or ``None`` where it is no bundle's directory."""
    candidate = name.replace("-", ":", 1)
    return Digest(candidate) if _DIGEST.fullmatch(candidate) is not None else None
