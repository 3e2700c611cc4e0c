"""Reading any file of events into the canonical Parquet."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb

from reprise.event_files import staging_table, validation
from reprise.event_files.exceptions import (
    BadRowsError,
    EventFilesError,
    NoEventsError,
    UnreadableFileError,
)
from reprise.event_files.options import ImportOptions
from reprise.event_files.report import ImportReport, RowProblem
from reprise.event_files.source import find_files, open_source
from reprise.runtime.files import atomic_write
from reprise.sql import connect, first_line

_DEFAULTS = ImportOptions()


@dataclass
class _Tally:
    rows: int = 0
    bad_rows: int = 0
    cleared: int = 0
    zoneless: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    shown: list[RowProblem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    makes_ids: bool = False


def import_events(
    source: Path,
    out: Path,
    *,
    options: ImportOptions = _DEFAULTS,
    memory_limit: str = "2GiB",
    temp_directory: Path | None = None,
) -> ImportReport:
    """Read a CSV or Parquet file, a folder of them, or a pattern, and write the canonical Parquet.

    The result has ``EVENT_SCHEMA`` and is ordered by timestamp and event key; it is written whole or not at
    all. Of several rows with one ``event_id`` the first in the order of the files is kept. A row of a file
    without an ``event_id`` gets one that depends on nothing but its content and on how many equal rows
    precede it, so that importing the same rows again gives the same ids.

    Args:
        source: The file, folder or pattern.
        out: The Parquet to write; may be one of the sources.
        options: How to understand the files, and what to do with rows that cannot be used.
        memory_limit: What DuckDB may hold in memory; the rest spills.
        temp_directory: Where it spills to; by default next to ``out``.

    Raises:
        UnreadableFileError: A file is missing, empty, or neither CSV nor Parquet.
        MissingColumnsError: A file lacks a column that is required or was named in the options.
        UnusableColumnError: A column has a type that its field cannot be read from.
        BadRowsError: Rows cannot be used, and the options do not say to drop them.
        NoEventsError: No row can be used.
        EventFilesError: The work failed for another reason, such as a full disk.
    """
    files = find_files(source)
    with _database(memory_limit, temp_directory or out.parent) as connection:
        try:
            tally = _stage_all(connection, files, options)
            report = _summary(files, tally)
            if tally.bad_rows and options.on_bad_rows == "refuse":
                raise BadRowsError(report)
            repeated = staging_table.settle_ids(connection, makes_ids=tally.makes_ids)
            if tally.rows == tally.bad_rows:
                raise NoEventsError(report)
            if tally.makes_ids:
                tally.notes.append(_made_ids_note(repeated))
            with atomic_write(out) as partial:
                staging_table.write_parquet(connection, partial, makes_ids=tally.makes_ids)
            return _finished(connection, report, tally, repeated)
        except duckdb.OutOfMemoryException as error:
            raise EventFilesError(
                f"{memory_limit} of memory do not suffice, give more with --memory-limit: {first_line(error)}"
            ) from None
        except duckdb.Error as error:
            raise EventFilesError(f"{source}: {first_line(error)}") from error
        except OSError as error:
            raise EventFilesError(f"{out}: {error.strerror or error}") from error


@contextmanager
def _database(memory_limit: str, beside: Path) -> Iterator[Any]:
    if not beside.is_dir():
        raise EventFilesError(f"{beside}: no such folder, so nothing can be written there")
    with tempfile.TemporaryDirectory(prefix=".import-", dir=beside) as spill:
        try:
            connection = connect(memory_limit=memory_limit, temp_directory=Path(spill))
        except duckdb.Error as error:
            raise EventFilesError(f"memory limit {memory_limit}: {first_line(error)}") from None
        with connection:
            yield connection


def _stage_all(connection: Any, files: list[Path], options: ImportOptions) -> _Tally:
    tally = _Tally()
    staging_table.create_table(connection)
    made: dict[Path, bool] = {}
    for number, path in enumerate(files):
        try:
            source = open_source(connection, path)
            reading = staging_table.stage_file(connection, source, number, options)
        except (duckdb.IOException, duckdb.InvalidInputException) as error:
            raise UnreadableFileError(path, first_line(error)) from None
        made[path] = reading.makes_ids
        tally.notes.extend(note for note in reading.notes if note not in tally.notes)
        found = validation.collect(connection, reading, number, options.problem_limit - len(tally.shown))
        tally.rows += found.rows
        tally.bad_rows += found.bad_rows
        tally.cleared += found.cleared_amounts
        tally.zoneless += found.zoneless
        tally.shown.extend(found.shown)
        for reason, count in found.counts.items():
            tally.dropped[reason] = tally.dropped.get(reason, 0) + count
    tally.makes_ids = any(made.values())
    if tally.makes_ids and not all(made.values()):
        lacking = next(path for path, missing in made.items() if missing)
        raise EventFilesError(f"{lacking}: has no event_id column, but other files of the import have one")
    if tally.zoneless:
        tally.notes.append(f"{tally.zoneless:,} timestamps without a zone are taken as UTC")
    return tally


def _made_ids_note(equal_rows: int) -> str:
    note = "no event_id column: ids are made from the rows' content"
    if equal_rows:
        note += f"; {equal_rows:,} rows equal an earlier one and are kept as events of their own"
    return note


def _summary(files: list[Path], tally: _Tally) -> ImportReport:
    return ImportReport(
        files=tuple(files),
        rows_read=tally.rows,
        bad_rows=tally.bad_rows,
        dropped=dict(sorted(tally.dropped.items(), key=lambda item: -item[1])),
        problems=tuple(tally.shown),
        cleared_amounts=tally.cleared,
    )


def _finished(connection: Any, report: ImportReport, tally: _Tally, repeated: int) -> ImportReport:
    contents = staging_table.describe_result(connection)
    notes = list(tally.notes)
    if "purchase" not in contents.event_types:
        kinds = ", ".join(contents.event_types)
        notes.append(f"no event is a purchase (types: {kinds}); map one with --event-type purchase=VALUE")
    return replace(
        report,
        rows_written=contents.rows,
        repeated_event_ids=0 if tally.makes_ids else repeated,
        event_types=contents.event_types,
        users=contents.users,
        products=contents.products,
        first_us=contents.first_us,
        last_us=contents.last_us,
        notes=tuple(notes),
    )
