"""Import of event files into a canonical Parquet file."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from reprise.event_files import staging_table
from reprise.event_files.exceptions import (
    BadRowsError,
    EventFilesError,
    NoEventsError,
    UnreadableFileError,
)
from reprise.event_files.options import ImportOptions
from reprise.event_files.report import ImportReport
from reprise.event_files.source import find_files, open_source, read_failure
from reprise.event_files.staging_table import StagedFile
from reprise.events.event import MAX_CLOCK_SKEW_SECONDS
from reprise.runtime.files import atomic_write
from reprise.sql import connect, first_line

DELIVERED_FRAMES: Mapping[str, str] = {"view": "views", "purchase": "purchases"}
"""The dataframe by event type of the delivered features."""

_DEFAULTS = ImportOptions()
_SKEW = timedelta(seconds=MAX_CLOCK_SKEW_SECONDS)
_LONG_AGO = timedelta(days=20 * 365)


def import_events(
    source: Path,
    out: Path,
    *,
    options: ImportOptions = _DEFAULTS,
    memory_limit: str = "2GiB",
    temp_directory: Path | None = None,
    latest: datetime | None = None,
    frames: Mapping[str, str] = DELIVERED_FRAMES,
    purchase_type: str = "purchase",
) -> ImportReport:
    """Write the events of CSV, JSON or Parquet files to one canonical Parquet file, atomically.

    The result has ``EVENT_SCHEMA`` and is sorted by timestamp and event key. Of several rows with one ``event_id``, the
    first in file order is kept. Rows of files without an ``event_id`` get one that depends only on their content and
    on the number of equal rows before them, so a repeated import generates the same ids.

    Args:
        source: A file, a folder or a glob pattern.
        out: The Parquet file to write; may be one of the sources.
        options: How to read the files, and what to do with invalid rows.
        memory_limit: DuckDB's memory limit before it spills to ``temp_directory``, by default the folder of ``out``.
        latest: The latest valid timestamp, by default a day from now, after which the stream refuses events too.
        frames: The plan's dataframe by event type, and
        purchase_type: the type that it predicts, for the notes on types without a use.

    Raises:
        UnreadableFileError: A file is missing, empty, or of another kind.
        MissingColumnsError: A file lacks a column that is required or mapped by the options.
        UnusableColumnError: A column's type does not fit its field.
        BadRowsError: Rows are invalid, and the options do not drop them.
        NoEventsError: No row is valid.
        EventFilesError: Another failure, such as files with the same events, or a full disk.
    """
    latest = latest or datetime.now(UTC) + _SKEW
    with database(memory_limit, temp_directory or out.parent) as connection:
        try:
            files, left_out = find_files(source)
            staging_table.create_table(connection, latest)
            staged = _stage(connection, files, options)
            has_ids = _have_event_ids(staged)
            id_notes = staging_table.unify_ids(connection, staged)
            staging_table.refuse_copies(connection, staged)
            report = staging_table.report_staged(connection, staged, id_notes, options.problem_limit)
            if report.bad_rows and options.on_bad_rows == "refuse":
                raise BadRowsError(report)
            if report.rows_read == report.bad_rows:
                raise NoEventsError(report)
            if not has_ids:
                staging_table.generate_event_ids(connection)
            repeats = staging_table.find_repeated_ids(connection)
            with atomic_write(out) as partial:
                staging_table.write_parquet(connection, partial, number_repeats=not has_ids)
            report = staging_table.report_result(connection, report)
            notes = _notes(report, left_out, repeats, latest - _LONG_AGO, has_ids=has_ids)
            notes += _type_notes(report.event_types, frames, purchase_type)
            return replace(report, repeated_event_ids=repeats if has_ids else 0, notes=notes)
        except EventFilesError as error:
            error.source = source
            raise
        except duckdb.OutOfMemoryException as error:
            problem = f"{memory_limit} of memory are not enough; raise --memory-limit: {first_line(error)}"
            raise EventFilesError(problem) from None
        except duckdb.Error as error:
            refusal = EventFilesError(f"{source}: {first_line(error)}")
            refusal.source = source
            raise refusal from error
        except OSError as error:
            raise EventFilesError(f"{out}: {error.strerror or error}") from error


@contextmanager
def database(memory_limit: str, folder: Path) -> Iterator[Any]:
    """Open a DuckDB database that spills to a temporary folder in ``folder``.

    Raises:
        EventFilesError: There is no such folder, or the memory limit is not a size.
    """
    if not folder.is_dir():
        raise EventFilesError(f"{folder}: no such folder")
    with tempfile.TemporaryDirectory(prefix=".import-", dir=folder) as spill:
        try:
            connection = connect(memory_limit=memory_limit, temp_directory=Path(spill))
        except duckdb.Error as error:
            raise EventFilesError(f"memory limit {memory_limit}: {first_line(error)}") from None
        with connection:
            yield connection


def _stage(connection: Any, files: list[Path], options: ImportOptions) -> list[StagedFile]:
    staged = []
    for number, path in enumerate(files):
        try:
            source = open_source(connection, path, options)
            staged.append(staging_table.stage_file(connection, source, number, options))
        except (duckdb.IOException, duckdb.InvalidInputException) as error:
            raise UnreadableFileError(path, read_failure(error)) from None
    return staged


def _notes(
    report: ImportReport, left_out: Sequence[Path], repeats: int, long_ago: datetime, *, has_ids: bool
) -> tuple[str, ...]:
    notes = list(report.notes)
    newest = datetime.fromtimestamp((report.last_us or 0) / 1e6, UTC)
    if newest < long_ago and any("since 1970-01-01" in note for note in notes):
        notes.append(
            f"the newest event is of {newest.year}; if its numbers count from another date than 1970-01-01, give"
            " --timestamp-unit and --timestamp-origin, such as 2001-01-01 for Cocoa"
        )
    if left_out:
        notes.append(f"files left out: {', '.join(str(path) for path in left_out)}")
    if not has_ids:
        equal = f"; {repeats:,} rows equal an earlier one and are kept as events of their own"
        notes.append(f"no event_id column: ids are made from the rows' content{equal if repeats else ''}")
    return tuple(notes)


def _type_notes(types: Mapping[str, int], frames: Mapping[str, str], purchase_type: str) -> tuple[str, ...]:
    features = "the delivered features" if frames == DELIVERED_FRAMES else "the plan's features"
    notes = []
    others = ", ".join(kind for kind in types if kind not in frames)
    if others:
        notes.append(f"{features} use {' and '.join(frames.values())}, not {others}")
    if purchase_type not in types:
        notes.append(
            f"no event is of type {purchase_type}, which {features} predict (types: {', '.join(types)}); map one with"
            f" --event-type {purchase_type}=VALUE"
        )
    return tuple(notes)


def _have_event_ids(staged: Sequence[StagedFile]) -> bool:
    lacking = [file for file in staged if "event_id" not in file.columns]
    if lacking and len(lacking) < len(staged):
        path = lacking[0].source.path
        raise EventFilesError(f"{path}: has no event_id column, but other files of the import have one")
    return not lacking
