"""Writing tables to a file in the format that its extension names, part by part."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reprise.datagen.exceptions import UnwritableOutputError
from reprise.runtime.files import atomic_write

_ROWS_PER_GROUP = 400_000


class TableWriter(Protocol):
    """A file that grows by tables of one schema."""

    def write(self, table: pa.Table) -> None:
        """Append the rows of a table."""


def check_output(path: Path, extensions: tuple[str, ...]) -> None:
    """Refuse a path that could not be written to after the work is done.

    Raises:
        UnwritableOutputError: The extension is none of the given, or the folder is missing.
    """
    if path.suffix.lower() not in extensions:
        raise UnwritableOutputError(f"{path}: the name should end in {' or '.join(extensions)}")
    if not path.parent.is_dir():
        raise UnwritableOutputError(f"{path}: there is no folder {path.parent}")
    if path.is_dir():
        raise UnwritableOutputError(f"{path}: is a folder")


@contextmanager
def table_file(path: Path, schema: pa.Schema) -> Iterator[TableWriter]:
    """Open a CSV or Parquet file for writing, by its extension; it is there whole or not at all."""
    with atomic_write(path) as partial:
        if path.suffix.lower() == ".csv":
            with _CsvWriter(partial, schema) as csv:
                yield csv
        else:
            with _ParquetWriter(partial, schema) as parquet:
                yield parquet


class _ParquetWriter:
    """Gathers rows until they make a row group worth reading at once."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        repeated = [name for name in schema.names if name not in ("event_id", "timestamp", "probability")]
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=repeated)
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def write(self, table: pa.Table) -> None:
        self._waiting.append(table)
        self._rows += table.num_rows
        if self._rows >= _ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting), row_group_size=self._rows)
        self._waiting, self._rows = [], 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()


class _CsvWriter:
    """RFC 4180 with a header; null is empty, timestamps are RFC 3339 in UTC with microseconds."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._file = path.open("wb")
        self._file.write((",".join(schema.names) + "\n").encode())

    def write(self, table: pa.Table) -> None:
        for batch in table.to_batches():
            columns = [_csv_text(column) for column in batch.columns]
            columns[-1] = pc.binary_join_element_wise(
                columns[-1], "\n", "", null_handling="replace", null_replacement=""
            )
            lines = pc.binary_join_element_wise(*columns, ",", null_handling="replace", null_replacement="")
            _, ends, text = lines.buffers()
            first, last = _bounds(lines, ends)
            self._file.write(memoryview(text)[first:last])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _bounds(lines: pa.Array, ends: pa.Buffer) -> tuple[int, int]:
    offsets = memoryview(ends).cast("i")
    return offsets[lines.offset], offsets[lines.offset + len(lines)]


def _csv_text(column: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(column.type):
        return pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ")
    if pa.types.is_string(column.type):
        if not pc.any(pc.match_substring(column, '"')).as_py():
            return column
        quoted = pc.binary_join_element_wise('"', pc.replace_substring(column, '"', '""'), '"', "")
        return pc.if_else(pc.match_substring(column, '"'), quoted, column)
    return column.cast(pa.string())
