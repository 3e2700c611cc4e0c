"""Files inside of others, or of kinds that DuckDB cannot read, as files that it can read."""

import bz2
import csv
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from reprise.event_files.exceptions import UnreadableFileError

PACKINGS = {".gz": "gzip", ".zst": "zstd"}
_WINDOWS = {byte: bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(0x80, 0xA0)}


def unpack(path: Path, folder: Path) -> Path:
    """Return the file of data in a zip, bzip2 or Excel file, written to a folder in pieces.

    Raises:
        UnreadableFileError: The file is damaged, encrypted, or has not exactly one file or sheet of data.
    """
    try:
        return UNPACKERS[path.suffix.lower()](path, folder)
    except (OSError, EOFError, RuntimeError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UnreadableFileError(path, f"not readable as {path.suffix.lower()[1:]}: {error}") from None


def decode_latin1(path: Path, folder: str) -> Path:
    """Return a text file in UTF-8, written to a folder; the bytes 80 to 9f are those of Windows-1252."""
    target = Path(tempfile.mkdtemp(dir=folder)) / "decoded.csv"
    try:
        packing = PACKINGS.get(path.suffix.lower())
        with pa.input_stream(str(path), compression=packing) as packed, target.open("wb") as file:
            while chunk := packed.read(1 << 20):
                file.write(chunk.decode("latin-1").translate(_WINDOWS).encode())
    except OSError as error:
        raise UnreadableFileError(path, f"not readable as text: {error}") from None
    return target


def _unpack_bzip2(path: Path, folder: Path) -> Path:
    target = folder / path.stem
    with bz2.open(path) as packed, target.open("wb") as file:
        shutil.copyfileobj(packed, file)
    return target


def _unpack_zip(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        hidden = (".", "_")
        members = [
            member
            for member in archive.infolist()
            if not member.is_dir()
            and not any(part.startswith(hidden) and part != ".." for part in Path(member.filename).parts)
        ]
        if len(members) != 1:
            names = ", ".join(member.filename for member in members) or "none"
            raise UnreadableFileError(path, f"expected one file in it, found {names}; unpack it")
        target = folder / Path(members[0].filename).name
        with archive.open(members[0]) as packed, target.open("wb") as file:
            shutil.copyfileobj(packed, file)
    return target


def _convert_excel(path: Path, folder: Path) -> Path:
    try:
        import openpyxl  # noqa: PLC0415 - an extra that only Excel files need
    except ImportError:
        raise UnreadableFileError(
            path, "Excel files need openpyxl: install it with pip install 'reprise[excel]', or save it as CSV"
        ) from None
    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    try:
        sheets = [sheet for sheet in book.worksheets if next(sheet.iter_rows(max_row=1), None)]
        if len(sheets) != 1:
            names = ", ".join(sheet.title for sheet in sheets) or "none"
            raise UnreadableFileError(path, f"expected one sheet with data, found {names}; save one as CSV")
        [sheet] = sheets
        sheet.reset_dimensions()  # some writers declare fewer rows and columns than they write
        width = max(map(len, sheet.iter_rows(values_only=True)), default=0)
        target = folder / f"{path.stem}.csv"
        with target.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(map(_texts, sheet.iter_rows(max_col=width, values_only=True)))
    finally:
        book.close()
    return target


def _texts(row: tuple[Any, ...]) -> list[Any]:
    return [value.isoformat(" ") if isinstance(value, datetime) else value for value in row]


UNPACKERS: Mapping[str, Callable[[Path, Path], Path]] = {
    ".bz2": _unpack_bzip2,
    ".zip": _unpack_zip,
    ".xlsx": _convert_excel,
}
"""By suffix, what writes the data of such a file to a folder and returns its path."""
