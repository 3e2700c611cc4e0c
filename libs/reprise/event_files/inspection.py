"""What an import would read of files, and the options that it needs for that."""

import re
import shlex
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb

from reprise.event_files.exceptions import EventFilesError, NoEventsError, UnreadableFileError
from reprise.event_files.field_expressions import (
    find_columns,
    find_event_types,
    guess_product,
    unused_columns,
)
from reprise.event_files.importer import database, import_events
from reprise.event_files.options import REQUIRED_FIELDS, ImportOptions
from reprise.event_files.report import ImportReport
from reprise.event_files.source import SourceFile, find_files, open_source, read_failure
from reprise.event_files.staging_table import UNREAD_TIMES
from reprise.event_files.values import cleaned
from reprise.events.event import EVENT_TYPE_PATTERN
from reprise.sql import identifier


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its type, the field that it is read as, the share of rows with a value, and one of the values."""

    name: str
    kind: str
    field: str | None
    filled: float
    example: str | None


@dataclass(frozen=True, slots=True)
class Inspection:
    """What an import with ``options`` reads, or the problem for which it refuses the source.

    ``columns`` are those of the first file. ``assumed`` are decisions that other values may fit as well, and ``blanks``
    the arguments with a part in angle brackets that only a person knows.
    """

    source: Path
    options: ImportOptions
    columns: tuple[Column, ...] = ()
    assumed: tuple[str, ...] = ()
    blanks: tuple[str, ...] = ()
    report: ImportReport | None = None
    problem: str | None = None

    @property
    def command(self) -> str:
        """The command line that trains on the source."""
        words = ["reprise", "train", "--events", str(self.source), *self.options.arguments(), *self.blanks]
        return f"{shlex.join(words)} --out models"

    def assume(self, decision: str, **options: Any) -> "Inspection":
        """Return the start of another inspection, with more options."""
        return Inspection(
            self.source, replace(self.options, **options), assumed=(*self.assumed, f"assumed: {decision}")
        )


def inspect_events(source: Path, options: ImportOptions, memory_limit: str) -> Inspection:
    """Import files into a temporary folder, with the options that the reader proposes besides the given ones.

    Raises:
        EventFilesError: The memory limit is not a size.
    """
    with (
        tempfile.TemporaryDirectory(prefix="reprise-inspect-") as folder,
        database(memory_limit, Path(folder)) as connection,
    ):
        return _inspect(
            connection, Inspection(source, options), Path(folder) / "events.parquet", memory_limit
        )


def _inspect(connection: Any, inspection: Inspection, out: Path, memory_limit: str) -> Inspection:
    try:
        inspection = _map_columns(connection, inspection)
        dropping = replace(inspection.options, on_bad_rows="drop")
        report = import_events(inspection.source, out, options=dropping, memory_limit=memory_limit)
    except NoEventsError as error:
        report, inspection = error.report, replace(inspection, problem=_without_hint(error))
    except duckdb.Error as error:
        return replace(inspection, problem=f"{inspection.source}: {read_failure(error)}")
    except EventFilesError as error:
        encoding = error.encoding if isinstance(error, UnreadableFileError) else None
        if encoding is None or inspection.options.encoding != "utf-8":
            return replace(inspection, problem=_without_hint(error))
        other = inspection.assume(f"the encoding is {encoding}", encoding=encoding)
        return _inspect(connection, other, out, memory_limit)
    given = inspection.options.timestamp_format or inspection.options.timestamp_unit != "auto"
    unread = sum(report.dropped.get(reason, 0) for reason in UNREAD_TIMES)
    if report.formats and not given and 2 * unread > report.rows_read:
        form, *others = report.formats
        also = f", although {', '.join(others)} would read them too: check the day and the month"
        other = inspection.assume(f"timestamps are {form}{also if others else ''}", timestamp_format=form)
        return _inspect(connection, other, out, memory_limit)
    if inspection.problem:
        return inspection
    return replace(inspection, report=report, options=dropping if report.bad_rows else inspection.options)


def _without_hint(error: EventFilesError) -> str:
    error.source = None
    return str(error)


def _map_columns(connection: Any, inspection: Inspection) -> Inspection:
    """Return the inspection with the columns of the first file, and the options that map them."""
    options = inspection.options
    source = open_source(connection, find_files(inspection.source)[0][0], options)
    found, guesses = find_columns(source, options)
    fields = {**guesses, **found}
    types: dict[str, str | None] = {}
    if not options.purchases_only:
        column, types = find_event_types(connection, source, unused_columns(source, found), fields)
        fields |= {"event_type": column} if column else {}
    product = options.amount_from or guess_product(source, found, guesses)
    if product:
        fields.pop("amount", None)
    assumed = inspection.assumed
    if product and not options.amount_from:
        other = f"if {product[1]} is the total of a row, give --column amount={product[1]}"
        assumed = (*assumed, f"assumed: the amount is {'*'.join(product)}; {other}")
    known = {theirs.lower(): ours for theirs, ours in types.items() if ours and ours != theirs.lower()}
    blanks = [f"--column {field}=<column>" for field in REQUIRED_FIELDS if field not in fields]
    blanks += [
        f"--event-type <type>={theirs}"
        for theirs, ours in types.items()
        if theirs.lower() not in options.event_types
        if not ours and not re.fullmatch(EVENT_TYPE_PATTERN, theirs.lower())
    ]
    mapped = {field: column for field, column in fields.items() if column.lower() != field}
    return replace(
        inspection,
        columns=_describe(connection, source, fields, product),
        options=replace(
            options,
            columns={**mapped, **options.columns},
            event_types={**known, **options.event_types},
            amount_from=product,
        ),
        assumed=assumed,
        blanks=tuple(part for blank in blanks for part in blank.split(" ", 1)),
    )


def _describe(
    connection: Any, source: SourceFile, fields: dict[str, str], product: tuple[str, str] | None
) -> tuple[Column, ...]:
    values = [cleaned(identifier(name)) for name in source.columns]
    selected = ", ".join(f"count({value}), any_value({value})" for value in values)
    rows, *found = connection.execute(f"SELECT count(*), {selected} FROM {source.relation}").fetchone()
    by_column = {
        **dict.fromkeys(product or (), "amount"),
        **{column: field for field, column in fields.items()},
    }
    return tuple(
        Column(name, kind, by_column.get(name), filled / max(rows, 1), example)
        for (name, kind), filled, example in zip(source.columns.items(), found[::2], found[1::2], strict=True)
    )
