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
    file, whole = pq.ParquetFile(events), hashlib.sha256()
    for field in EVENT_SCHEMA:
        whole.update(f"{field.name}:{_column_digest(file, field)}\n".encode())
    return whole.hexdigest()


def _column_digest(file: pq.ParquetFile, field: pa.Field) -> str:
    presence, lengths, values = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
    for batch in file.iter_batches(columns=[field.name]):
        column = batch.column(field.name)
        presence.update(pc.is_valid(column).to_numpy(zero_copy_only=False).astype("u1").tobytes())
        present = column.cast(field.type).drop_null()
        if pa.types.is_string(field.type):
            lengths.update(_little_endian(pc.binary_length(present), "<i8"))
            values.update("".join(present.to_pylist()).encode())
        elif pa.types.is_timestamp(field.type):
            values.update(_little_endian(present.cast(pa.int64()), "<i8"))
        else:
            values.update(_little_endian(present, "<f8"))
    return ".".join(part.hexdigest() for part in (presence, lengths, values))


def _little_endian(values: Any, dtype: str) -> bytes:
    data: bytes = values.to_numpy(zero_copy_only=False).astype(dtype).tobytes()
    return data
