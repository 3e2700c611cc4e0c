"""The identity of a set of events: a sha256 of what they say, not of how a file stores it."""

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reprise.event_files.schema import EVENT_SCHEMA


def events_sha256(events: Path) -> str:
    """Return the sha256 of the canonical events in their order, 64 hexadecimal digits.

    Each column is hashed by itself, presence and values apart, so that neither the file's compression nor
    its row groups matter; the result is the hash of the columns' hashes in the order of ``EVENT_SCHEMA``.
    """
    columns = {field.name: _ColumnHash(field.type) for field in EVENT_SCHEMA}
    for batch in pq.ParquetFile(events).iter_batches(columns=EVENT_SCHEMA.names):
        for name, column in columns.items():
            column.update(batch.column(name))
    whole = hashlib.sha256()
    for name, column in columns.items():
        whole.update(f"{name}:{column.hexdigest()}\n".encode())
    return whole.hexdigest()


class _ColumnHash:
    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._presence = hashlib.sha256()
        self._lengths = hashlib.sha256()
        self._values = hashlib.sha256()

    def update(self, column: Any) -> None:
        present = pc.is_valid(column).to_numpy(zero_copy_only=False)
        self._presence.update(present.astype("u1").tobytes())
        values = column.cast(self._kind).drop_null()
        if pa.types.is_string(self._kind):
            self._lengths.update(_little_endian(pc.binary_length(values), "<i8"))
            self._values.update("".join(values.to_pylist()).encode())
        elif pa.types.is_timestamp(self._kind):
            self._values.update(_little_endian(values.cast(pa.int64()), "<i8"))
        else:
            self._values.update(_little_endian(values, "<f8"))

    def hexdigest(self) -> str:
        parts = (self._presence, self._lengths, self._values)
        return ".".join(part.hexdigest() for part in parts)


def _little_endian(values: Any, dtype: str) -> bytes:
    data: bytes = values.to_numpy(zero_copy_only=False).astype(dtype).tobytes()
    return data
