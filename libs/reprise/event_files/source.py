"""The files of an import: discovery, columns and DuckDB relations."""

import csv
import glob
import gzip
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import duckdb

from reprise.event_files.exceptions import UnreadableFileError
from reprise.event_files.report import RowProblem
from reprise.sql import first_line, literal

CSV_SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
PARQUET_SUFFIXES = (".parquet", ".pq")

_DELIMITERS = ",\t;|"
_HEADER_BYTES = 1 << 20
_NULL_TEXTS = ("", "NULL", "null", "NaN", "nan", "None", "\\N")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file as a DuckDB relation, with the SQL of its row number, from 1.

    ``columns`` has the DuckDB type by column name, in file order; of a CSV file every column is ``VARCHAR``.
    """

    path: Path
    columns: dict[str, str]
    relation: str
    row_number: str
    is_csv: bool


def find_files(source: Path) -> list[Path]:
    """Return the files of a path, folder, or glob pattern such as ``events/*.csv.gz``, sorted."""
    if source.is_dir():
        files = sorted(p for p in source.rglob("*") if p.is_file() and _is_supported(p))
    elif source.exists():
        files = [source]
    else:
        files = sorted(Path(name) for name in glob.glob(str(source), recursive=True) if Path(name).is_file())
    if not files:
        raise UnreadableFileError(source, "no such file, and no file matches")
    for path in files:
        if not _is_supported(path):
            known = ", ".join(CSV_SUFFIXES + PARQUET_SUFFIXES)
            raise UnreadableFileError(path, f"neither CSV nor Parquet by its name; expected one of {known}")
    return files


def open_source(connection: Any, path: Path) -> SourceFile:
    """Read a file's columns."""
    if path.name.lower().endswith(PARQUET_SUFFIXES):
        return _open_parquet(connection, path)
    return _open_csv(path)


def _is_supported(path: Path) -> bool:
    return path.name.lower().endswith(CSV_SUFFIXES + PARQUET_SUFFIXES)


def _open_parquet(connection: Any, path: Path) -> SourceFile:
    # glob characters in an existing file's name must not be expanded
    name = literal(glob.escape(str(path)))
    relation = f"read_parquet({name}, file_row_number=true)"
    try:
        described = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    except duckdb.Error as error:
        raise UnreadableFileError(path, f"not readable as Parquet: {first_line(error)}") from None
    columns = {row[0]: row[1] for row in described if row[0] != "file_row_number"}
    return SourceFile(path, columns, relation, "file_row_number + 1", is_csv=False)


def _open_csv(path: Path) -> SourceFile:
    names, delimiter = _read_header(path)
    columns = dict.fromkeys(names, "VARCHAR")
    types = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
    nulls = ", ".join(literal(text) for text in _NULL_TEXTS)
    relation = (
        f"read_csv({literal(glob.escape(str(path)))}, auto_detect=false, header=true, "
        f"""delim={literal(delimiter)}, quote='"', escape='"', columns={{{types}}}, nullstr=[{nulls}], """
        "store_rejects=true, rejects_limit=0)"
    )
    return SourceFile(path, columns, relation, "row_number() OVER ()", is_csv=True)


def _read_header(path: Path) -> tuple[list[str], str]:
    try:
        with _open_text(path) as stream:
            head = stream.read(_HEADER_BYTES)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UnreadableFileError(path, f"not readable as text: {error}") from None
    if not head.strip():
        raise UnreadableFileError(path, "the file is empty")
    first = head.split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        names = next(csv.reader(head.splitlines(keepends=True), delimiter=delimiter))
    except csv.Error as error:
        raise UnreadableFileError(path, f"the header row is not CSV: {error}") from None
    # pandas writes its index with an empty name
    names = [name.strip() or f"column {position}" for position, name in enumerate(names, 1)]
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise UnreadableFileError(path, f"the header names the column {name} twice")
        seen.add(name.lower())
    return names, delimiter


def _open_text(path: Path) -> IO[str]:
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def rejected_rows(connection: Any, source: SourceFile) -> list[RowProblem]:
    """Return the rows that DuckDB rejected while it read the file last."""
    if not source.is_csv:
        return []
    rows = connection.execute(
        "SELECT line, min(error_message), min(csv_line) FROM reject_errors GROUP BY line ORDER BY line"
    ).fetchall()
    return [
        RowProblem(source.path, line - 1, None, text.strip("\r\n"), _rephrased(message))
        for line, message, text in rows
    ]


def _rephrased(message: str) -> str:
    columns = re.fullmatch(r"Expected Number of Columns: (\d+) Found: (\d+)", message)
    if columns:
        return f"expected {columns[1]} values, found {columns[2]}"
    return message[:1].lower() + message[1:].rstrip(".")
