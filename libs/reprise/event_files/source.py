"""The files of an import: discovery, columns and DuckDB relations."""

import codecs
import csv
import glob
import os
import re
import stat
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from reprise.event_files.exceptions import InvalidOptionError, UnreadableFileError
from reprise.event_files.options import ImportOptions
from reprise.event_files.report import RowProblem
from reprise.event_files.unpacking import PACKINGS, UNPACKERS, decode_latin1, unpack
from reprise.sql import first_line, identifier, literal

_PACKED = ("", ".gz", ".zst", ".bz2")
CSV_SUFFIXES = tuple(kind + packed for kind in (".csv", ".tsv", ".txt") for packed in _PACKED)
JSON_SUFFIXES = tuple(kind + packed for kind in (".jsonl", ".ndjson", ".json") for packed in _PACKED)
PARQUET_SUFFIXES = (".parquet", ".pq")
_SUFFIXES = (*CSV_SUFFIXES, *JSON_SUFFIXES, *PARQUET_SUFFIXES, ".zip", ".xlsx")
_NO_DATA = re.compile(
    r"(readme|license)(\..*)?|thumbs\.db|desktop\.ini|.*\.(md|rst|html|pdf|png|svg|jpg|py|ipynb|sql|ya?ml|crc|md5|sha256)"
)

_DELIMITERS = ",\t;|"
_OTHER_ENCODING = "if it is ISO 8859-1 or Windows text, give --encoding latin-1"
_HEADER_BYTES = 1 << 20
_MAGIC = {b"\x1f\x8b": ".gz", b"PK\x03\x04": ".zip or .xlsx", b"PAR1\x15": ".parquet"}
_TEMP_FOLDER = "SELECT current_setting('temp_directory')"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file as a DuckDB relation, with the SQL of its row number, from 1.

    ``columns`` has the DuckDB type by column name, in file order; of a CSV file every column is ``VARCHAR``.
    """

    path: Path
    columns: dict[str, str]
    relation: str
    row_number: str
    header_rows: int | None = None  # None if the file is not CSV
    folder_columns: tuple[str, ...] = ()  # Those of folders named column=value, which a Parquet file lacks


def find_files(source: Path) -> tuple[list[Path], list[Path]]:
    """Return the sorted files of a path, folder, or glob pattern such as ``events/*.csv.gz``, and those left out.

    Left out are documents, links to folders, and names that begin with a dot, an underscore or a tilde, which
    ``source`` does not have.

    Raises:
        UnreadableFileError: There is no file, a folder or link cannot be read, or a file that may be data is of an
            unknown kind.
    """
    files: list[Path] = []
    left_out: list[Path] = []
    try:
        for path in sorted(_list_files(source)):
            hidden = any(part[0] in "._~" for part in path.parts if part not in source.parts)
            no_data = path != source and _NO_DATA.fullmatch(path.name.lower()) is not None
            if hidden or no_data or path.is_dir():
                left_out.append(path)
            elif stat.S_ISREG(path.stat().st_mode):
                files.append(path)
    except OSError as error:
        raise UnreadableFileError(Path(error.filename or source), error.strerror or str(error)) from None
    if not files:
        raise UnreadableFileError(source, "no such file, and no file matches")
    unknown = [path.name for path in files if not path.name.lower().endswith(_SUFFIXES)]
    if unknown:
        known = f"expected names that end in {', '.join(_SUFFIXES)}"
        raise UnreadableFileError(
            source, f"cannot read {', '.join(unknown)}: {known}. Unpack or convert them."
        )
    return files, left_out


def _list_files(source: Path) -> Iterator[Path]:
    """Yield what a path, folder or glob pattern has besides folders, and the links to folders in a folder.

    Raises:
        OSError: A folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    if source.is_dir():
        for parent, folders, names in os.walk(source, onerror=refuse):
            links = [name for name in folders if os.path.islink(f"{parent}/{name}")]
            yield from (Path(parent, name) for name in [*names, *links])
    elif source.exists():
        yield source
    else:
        yield from (path for path in map(Path, glob.glob(str(source), recursive=True)) if not path.is_dir())


def open_source(connection: Any, path: Path, options: ImportOptions) -> SourceFile:
    """Read a file's columns; what DuckDB cannot read is first unpacked beside its temporary files."""
    data = path
    if path.suffix.lower() in UNPACKERS:
        folder = connection.execute(_TEMP_FOLDER).fetchone()[0]
        data = unpack(path, Path(tempfile.mkdtemp(dir=folder)))
    name = data.name.lower()
    is_csv = name.endswith(CSV_SUFFIXES) and path.suffix.lower() != ".xlsx"
    if (options.encoding != "utf-8" or options.header_names) and not is_csv:
        raise InvalidOptionError(f"--encoding and --header-names are for CSV files, but {path} is not CSV")
    if name.endswith(PARQUET_SUFFIXES):
        return _open_parquet(connection, path, data)
    if name.endswith(JSON_SUFFIXES):
        return _open_json(connection, path, data)
    if name.endswith(CSV_SUFFIXES):
        if options.encoding == "latin-1":
            data = decode_latin1(data, connection.execute(_TEMP_FOLDER).fetchone()[0])
        return _open_csv(path, data, options)
    raise UnreadableFileError(path, f"cannot read {data.name} in it; unpack or convert it")


def _open_json(connection: Any, path: Path, data: Path) -> SourceFile:
    objects = f"read_json_objects({literal(glob.escape(str(data)))})"
    keys = f"SELECT DISTINCT unnest(json_keys(json)) AS key FROM {objects} ORDER BY key"
    try:
        names = [row[0] for row in connection.execute(keys).fetchall() if row[0]]
    except duckdb.Error as error:
        reason = first_line(error)
        if _is_utf16(_read_head(path, data)):
            reason = "it looks like UTF-16; convert it to UTF-8"
        elif "UTF-8" in reason:
            reason += "; if it is ISO 8859-1 or Windows text, convert it to UTF-8"
        raise UnreadableFileError(path, f"not readable as JSON: {reason}") from None
    if not names:
        raise UnreadableFileError(path, "it has no JSON object")
    paths = [f'$."{name}"' for name in (n.replace("\\", "\\\\").replace('"', '\\"') for n in names)]
    columns = _distinct(names)
    values = ", ".join(
        f"json ->> {literal(key)} AS {identifier(column)}" for key, column in zip(paths, columns, strict=True)
    )
    relation = f"(SELECT {values} FROM {objects})"
    return SourceFile(path, dict.fromkeys(columns, "VARCHAR"), relation, "row_number() OVER ()")


def _open_parquet(connection: Any, path: Path, data: Path) -> SourceFile:
    # glob characters in an existing file's name must not be expanded
    name = literal(glob.escape(str(data)))
    relation = f"read_parquet({name}, file_row_number=true, hive_partitioning=false)"
    # of folders such as date=2026-01-31, which would otherwise replace the file's own columns
    in_folders = f"read_parquet({name}, hive_partitioning=true, hive_types_autocast=false)"
    try:
        columns, partitioned = (
            {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {each}").fetchall()}
            for each in (relation, in_folders)
        )
    except duckdb.Error as error:
        raise UnreadableFileError(path, f"not readable as Parquet: {first_line(error)}") from None
    own = {column.lower() for column in columns}
    folders = {column: kind for column, kind in partitioned.items() if column.lower() not in own}
    if folders:
        values = ", ".join(map(identifier, folders))
        relation = f"(SELECT * FROM {relation}, (SELECT {values} FROM {in_folders} LIMIT 1))"
    del columns["file_row_number"]
    return SourceFile(path, columns | folders, relation, "file_row_number + 1", folder_columns=tuple(folders))


def _open_csv(path: Path, data: Path, options: ImportOptions) -> SourceFile:
    encoding = "utf-16" if options.encoding == "utf-16" else "utf-8"
    names, delimiter, line_end = _read_header(path, data, encoding)
    # DuckDB would take a line break in a value of the first row for the file's
    new_line = f"new_line={line_end!r}, " if re.search(r"[\r\n]", "".join(names)) else ""
    given = options.header_names
    if given and len(given) != len(names):
        problem = f"--header-names has {len(given)} names, but the first row has {len(names)} values"
        raise UnreadableFileError(path, problem)
    # pandas writes its index with an empty name
    names = [name.strip() or f"column {position}" for position, name in enumerate(given or names, 1)]
    columns = dict.fromkeys(_distinct(names), "VARCHAR")
    types = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in columns)
    relation = (
        f"read_csv({literal(glob.escape(str(data)))}, auto_detect=false, header={not given and not new_line}, "
        f"encoding={literal(encoding)}, "
        f"""delim={literal(delimiter)}, {new_line}quote='"', escape='"', columns={{{types}}}, """
        "hive_partitioning=false, store_rejects=true, rejects_limit=0)"
    )
    if new_line and not given:
        # after a byte order mark, DuckDB would take only the first line for the header
        relation = f"(SELECT * FROM {relation} OFFSET 1)"
    return SourceFile(path, columns, relation, "row_number() OVER ()", header_rows=0 if given else 1)


def _read_head(path: Path, file: Path) -> bytes:
    """Return the first bytes of a text file, decompressed."""
    try:
        packing = PACKINGS.get(file.suffix.lower())
        with pa.input_stream(str(file), compression=packing) as stream:
            return bytes(stream.read(_HEADER_BYTES))
    except OSError as error:
        raise UnreadableFileError(path, f"not readable as text: {error}") from None


def _is_utf16(data: bytes) -> bool:
    marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return data.startswith(marks) or 3 * data[:100].count(0) > len(data[:100])


def _read_header(path: Path, file: Path, encoding: str) -> tuple[list[str], str, str]:
    """Return the values of the first row, their delimiter, and the row's line break."""
    data = _read_head(path, file)
    for magic, suffix in _MAGIC.items():
        if data.startswith(magic):
            raise UnreadableFileError(
                path, f"it is not text but of another kind; its name has to end in {suffix}"
            )
    if data.startswith((codecs.BOM_UTF16_BE, b"\0")):
        raise UnreadableFileError(path, "it is UTF-16 in big-endian order; convert it to UTF-8")
    if _is_utf16(data) and encoding != "utf-16":
        raise UnreadableFileError(
            path, f"not {encoding} text: it looks like UTF-16; give --encoding utf-16", "utf-16"
        )
    try:
        head = codecs.getincrementaldecoder(encoding.replace("16", "16-le"))().decode(data)
        head = head.removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UnreadableFileError(
            path, f"not {encoding} text: {error}; {_OTHER_ENCODING}", "latin-1"
        ) from None
    if not head.strip():
        raise UnreadableFileError(path, "the file is empty")
    lines = head.splitlines(keepends=True)
    readers = {delimiter: csv.reader(lines, delimiter=delimiter) for delimiter in _DELIMITERS}
    try:
        headers = {delimiter: next(reader) for delimiter, reader in readers.items()}
    except csv.Error as error:
        raise UnreadableFileError(path, f"the header row is not CSV: {error}") from None
    delimiter = max(headers, key=lambda delimiter: len(headers[delimiter]))
    last = lines[readers[delimiter].line_num - 1]
    return headers[delimiter], delimiter, last[len(last.rstrip("\r\n")) :] or "\n"


def _distinct(names: Sequence[str]) -> list[str]:
    """Return the names of columns, with positions in those that DuckDB would take for the same."""
    counts = Counter(name.lower() for name in names)
    return [
        f"{name} (column {position})" if counts[name.lower()] > 1 else name
        for position, name in enumerate(names, 1)
    ]


def read_failure(error: duckdb.Error) -> str:
    """Return why DuckDB could not read a file."""
    if "state machine reached an invalid state" in str(error):
        return "its lines end in different ways, such as \\r\\n and \\n; convert them to one"
    return first_line(error)


def rejected_rows(connection: Any, source: SourceFile) -> list[RowProblem]:
    """Return the rows that DuckDB rejected while it read the file last.

    Raises:
        UnreadableFileError: A row is not in the file's encoding, or has a quote that hides the lines after it.
    """
    if source.header_rows is None:
        return []
    rows = connection.execute(
        "SELECT line, arg_min(error_message, error_type <> 'UNQUOTED VALUE'), min(csv_line), "
        "bool_or(error_type = 'INVALID ENCODING'), bool_or(error_type = 'UNQUOTED VALUE') "
        "FROM reject_errors GROUP BY line ORDER BY line"
    ).fetchall()
    undecoded = [line for line, _, _, fails, _ in rows if fails]
    if undecoded:
        line = f"line {undecoded[0]:,}"
        raise UnreadableFileError(
            source.path, f"{line} is not in the file's encoding; {_OTHER_ENCODING}", "latin-1"
        )
    unclosed = [
        line for line, _, text, _, fails in rows if fails and re.search(r"[\r\n]", text.strip("\r\n"))
    ]
    if unclosed:
        problem = f"line {unclosed[0]:,} opens a quote and does not close it, which hides the lines after it"
        raise UnreadableFileError(source.path, problem)
    return [
        RowProblem(source.path, line - source.header_rows, None, text.strip("\r\n"), _rephrased(message))
        for line, message, text, _, _ in rows
    ]


def _rephrased(message: str) -> str:
    columns = re.fullmatch(r"Expected Number of Columns: (\d+) Found: (\d+)", message)
    if columns:
        return f"expected {columns[1]} values, found {columns[2]}"
    return message[:1].lower() + message[1:].rstrip(".")
