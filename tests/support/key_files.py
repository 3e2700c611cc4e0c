"""Pairs of signing keys in files."""

from pathlib import Path
from typing import NamedTuple

from reprise.bundle.signature import SigningKey


class KeyFiles(NamedTuple):
    """The files of a private key and of its public key."""

    private: Path
    public: Path


def key_files(folder: Path, name: str) -> KeyFiles:
    """Write a new pair of keys."""
    files = KeyFiles(folder / f"{name}.pem", folder / f"{name}.pub")
    for path, content in zip(files, SigningKey.generate(), strict=True):
        path.write_bytes(content)
    return files
