"""The files of one run: a directory of parts, and a manifest that is written last."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Generic, TypeVar

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from reprise.events import parse_timestamp
from reprise.runtime.durations import EPOCH, microseconds
from reprise.runtime.storage import Storage, open_storage
from reprise.scoring.exceptions import ScoringError

MANIFEST = "_manifest.json"
SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("product_id", pa.string()),
        ("probability", pa.float32()),
        ("purchases", pa.int64()),
        ("mean_amount", pa.float64()),
        ("last_purchase", pa.timestamp("us", "UTC")),
    ]
)
"""Columns of the scores; ``mean_amount`` is of the pair's purchases that have an amount."""


ManifestT = TypeVar("ManifestT", bound=BaseModel)


class ManifestModel(BaseModel):
    """A manifest, or a part of one."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RunManifest(ManifestModel):
    """What a directory of scores holds. A directory without it is incomplete."""

    at: AwareDatetime
    model: str
    format: str
    horizon_seconds: int
    chunk: int
    events: int  # Before the instant
    last_event: AwareDatetime
    # Type of the events that are predicted; None in files of earlier versions
    purchase_type: str | None = None
    refund_window_seconds: int = 0  # A purchase that is returned within it does not count; 0 if all count
    files: list[str]


class PairScoresManifest(RunManifest):
    """What a directory of the scores of pairs holds."""

    pairs: int


class ScoreDirectory(Generic[ManifestT]):
    """The directory of an instant's date and a model, under the URL of the output.

    ``kind`` is the class of its manifest, and ``schema`` that of its files.
    """

    def __init__(
        self, url: str, at: datetime, digest: str, kind: type[ManifestT], schema: pa.Schema = SCHEMA
    ) -> None:
        self._storage = open_storage(url)
        self._kind, self._schema = kind, schema
        self._path = f"date={at:%Y-%m-%d}/model={short_digest(digest)}"
        self.location = self._storage.location(self._path)

    def manifest(self) -> ManifestT | None:
        """Return the manifest, None where there is none; raises ``ScoringError`` if it cannot be read."""
        return read_manifest(self._storage, f"{self._path}/{MANIFEST}", self._kind)

    def begin(self, names: Iterable[str]) -> set[str]:
        """Remove the manifest and the files of other runs; return which of these files are there."""
        self._storage.remove(f"{self._path}/{MANIFEST}")
        present = {path.rpartition("/")[2] for path in self._storage.files(self._path)}
        for name in present - set(names):
            self._storage.remove(f"{self._path}/{name}")
        return present & set(names)

    def write(
        self, name: str, batches: Iterable[pa.RecordBatch], folder: Path, advance: Callable[[int], object]
    ) -> None:
        """Write one file, by way of a local folder; ``advance`` is called with the number of rows of each batch."""
        local = folder / name
        writer = pq.ParquetWriter if local.suffix == ".parquet" else pacsv.CSVWriter
        with writer(local, self._schema) as opened:
            for batch in batches:
                opened.write_batch(batch)
                advance(batch.num_rows)
        self._storage.write(f"{self._path}/{name}", local)
        local.unlink()

    def finish(self, manifest: ManifestT) -> None:
        """Write the manifest."""
        self._storage.write(f"{self._path}/{MANIFEST}", manifest.model_dump_json(indent=2).encode())


def short_digest(digest: str) -> str:
    """Return how a model's digest is written in paths."""
    return digest.removeprefix("sha256:")[:12]


def in_sample_warning(model_knows_until: str, at: datetime) -> list[str]:
    """Return the line that says so if the model has learnt from events at the instant or later."""
    if parse_timestamp(model_knows_until) < microseconds(at - EPOCH):
        return []
    return [
        f"the model has learnt from events until {model_knows_until}: compared with what users did after"
        " the instant, these scores look better than they are"
    ]


def read_manifest(storage: Storage, path: str, kind: type[ManifestT]) -> ManifestT | None:
    """Return the manifest at a path, None where there is none; raises ``ScoringError`` if it cannot be read."""
    with suppress(FileNotFoundError):
        try:
            return kind.model_validate_json(storage.read(path))
        except ValidationError as error:
            problem = f"{storage.location(path)} is no manifest of scores; remove it to score again"
            raise ScoringError(problem) from error
    return None


def read_table(storage: Storage, path: str, schema: pa.Schema) -> pa.Table:
    """Return the rows of a Parquet or CSV file with the columns of a schema; raises ``StorageError``."""
    content = pa.BufferReader(storage.read(path))
    if path.endswith(".parquet"):
        return pq.read_table(content)
    types = pacsv.ConvertOptions(column_types=schema, strings_can_be_null=False)
    return pacsv.read_csv(
        content, parse_options=pacsv.ParseOptions(newlines_in_values=True), convert_options=types
    )


def write_table(storage: Storage, path: str, table: pa.Table) -> None:
    """Write rows to a Parquet or CSV file; raises ``StorageError``."""
    sink = pa.BufferOutputStream()
    (pq.write_table if path.endswith(".parquet") else pacsv.write_csv)(table, sink)
    storage.write(path, sink.getvalue().to_pybytes())
