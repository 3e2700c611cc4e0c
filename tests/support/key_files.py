"""Pairs of signing keys in files."""

from pathlib import Path
from typing import NamedTuple

from reprise.bundle.signature import SigningKey


class KeyFiles(NamedTuple):
    private: Path
    public: Path


def key_files(folder: Path, name: str) -> KeyFiles:
    files = KeyFiles(folder / f"{name}.pem", folder / f"{name}.pub")
    for path, content in zip(files, SigningKey.generate(), strict=True):
        path.write_bytes(content)
    return files
