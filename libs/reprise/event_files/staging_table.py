"""The staging table in DuckDB, which a file's rows pass on their way to the canonical Parquet file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from reprise.event_files.exceptions import EventFilesError
from reprise.event_files.field_expressions import (
    ABSENT,
    absent_amount,
    add_amount_column,
    as_return,
    field_sql,
    resolve_columns,
    unused_columns,
    whole_note,
)
from reprise.event_files.options import FIELDS, ImportOptions
from reprise.event_files.report import ImportReport, RowProblem
from reprise.event_files.source import SourceFile, rejected_rows
from reprise.event_files.timestamps import ERA_CHECK, propose_reading, timed_relation
from reprise.event_files.values import FLOATS, Expression, cleaned
from reprise.events.event import ERA_US, EVENT_TYPE_PATTERN, MAX_AMOUNT, MAX_ID_LENGTH
from reprise.runtime.durations import EPOCH, microseconds
from reprise.sql import copy_to_parquet, event_key, identifier

_FILE_SHIFT = 40  # a row's position is the file's number in the high bits and its row number in the low ones


@dataclass(frozen=True, slots=True)
class Check:
    """One way in which a field can be invalid: its SQL, over ``v_<field>`` and ``raw_timestamp``, is then true.

    ``reason`` is the problem, for the counts; ``expected`` is shown with a value.
    """

    field: str
    sql: str
    reason: str
    expected: str


def _id_checks(name: str) -> tuple[Check, Check]:
    value = f"v_{name}"
    invalid = f"length({value}) > {MAX_ID_LENGTH} OR contains({value}, chr(0))"
    expected = f"expected text of at most {MAX_ID_LENGTH} characters without NUL"
    return (
        Check(name, f"{value} IS NULL OR {value} = ''", "missing", "missing"),
        Check(name, invalid, "unusable", expected),
    )


_TIME_RANGE = (
    f"epoch_us(v_timestamp) < {ERA_US[0]} OR epoch_us(v_timestamp) >= {ERA_US[1]} OR isinf(v_timestamp)"
)
_LATER = f"epoch_us(v_timestamp) > getvariable('latest_us') AND epoch_us(v_timestamp) < {ERA_US[1]}"

_NO_UNIT = "a number of no known unit"
UNREAD_TIMES = ("timestamp: unreadable", f"timestamp: {_NO_UNIT}")
"""The keys of ``ImportReport.dropped`` whose rows ``ImportReport.formats`` would read."""
_NO_VIEW = "v_event_type IS DISTINCT FROM 'view'"

CHECKS: tuple[Check, ...] = (
    *_id_checks("event_id"),
    *_id_checks("user_id"),
    *_id_checks("product_id"),
    Check("timestamp", "raw_timestamp IS NULL", "missing", "missing"),
    Check(
        "timestamp",
        "raw_timestamp IS NOT NULL AND v_doubt IS NULL AND v_timestamp IS NULL",
        "unreadable",
        "expected an ISO 8601 date-time, an epoch number, or what --timestamp-format says",
    ),
    Check("timestamp", "v_doubt = 'era'", _NO_UNIT, ERA_CHECK),
    Check("timestamp", "v_doubt = 'unit'", "not of the unit of most rows", "expected the unit of most rows"),
    Check("timestamp", _TIME_RANGE, "implausible", "expected an instant of the years 1990 to 2099"),
    Check("timestamp", _LATER, "later than today", "expected an instant at most a day from now"),
    Check("event_type", "v_event_type IS NULL OR v_event_type = ''", "missing", "missing"),
    Check(
        "event_type",
        f"v_event_type <> '' AND NOT regexp_full_match(v_event_type, '{EVENT_TYPE_PATTERN}')",
        "not a name",
        "expected a name such as view or purchase; rename it with --event-type TYPE=VALUE",
    ),
    Check(
        "amount",
        f"isinf(v_amount) AND {_NO_VIEW}",
        "not a finite number",
        "expected a finite number, or nothing",
    ),
    Check(
        "amount",
        f"v_amount > {MAX_AMOUNT!r} AND NOT isinf(v_amount) AND {_NO_VIEW}",
        "too large",
        f"expected a number of at most {MAX_AMOUNT:g}",
    ),
    Check(
        "amount",
        f"v_amount < 0 AND NOT isinf(v_amount) AND {_NO_VIEW}",
        "negative",
        "expected a number of at least 0",
    ),
    Check(
        "metadata",
        "v_metadata IS NOT NULL AND (NOT json_valid(v_metadata) OR json_type(v_metadata) <> 'OBJECT')",
        "not a JSON object",
        "expected a JSON object, or nothing",
    ),
)
"""All checks; a row's faults are the sum of ``1 << index`` over the checks that it fails."""


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file whose rows are in the staging table, except ``rejected`` ones, which are not CSV.

    ``columns`` are its columns by field; ``notes`` say what was assumed about it.
    """

    source: SourceFile
    columns: dict[str, str]
    notes: tuple[str, ...]
    rejected: list[RowProblem]


def create_table(connection: Any, latest: datetime) -> None:
    """Create the empty staging table, whose valid rows have timestamps up to ``latest``."""
    connection.execute(f"SET VARIABLE latest_us = {microseconds(latest - EPOCH)}")
    connection.execute(
        """
        CREATE TABLE staged (
            position BIGINT, event_id VARCHAR, user_id VARCHAR, product_id VARCHAR, event_type VARCHAR,
            amount DOUBLE, "timestamp" TIMESTAMPTZ, metadata VARCHAR,
            faults INTEGER, raw VARCHAR[], cleared BOOLEAN, naive BOOLEAN
        )
        """
    )


def stage_file(connection: Any, source: SourceFile, number: int, options: ImportOptions) -> StagedFile:
    """Append a file's rows, each with the set of its faults."""
    source, options = add_amount_column(source, options)
    columns = resolve_columns(connection, source, options)
    fields = {
        field: field_sql(connection, source, field, columns[field], options)
        if field in columns
        else ABSENT[field]
        for field in FIELDS
    }
    if "amount" not in columns:
        fields["amount"] = absent_amount(source, columns)
    if options.amount_from:
        fields["event_type"] = as_return(source, fields["event_type"], options.amount_from[0])
    notes = [field.note for field in fields.values() if field.note]
    from_folders = [f"{name}=VALUE" for name in source.folder_columns if name in columns.values()]
    if from_folders:
        notes.append(f"read from the names of folders: {', '.join(from_folders)}")
    unused = [name for name in unused_columns(source, columns) if name not in (options.amount_from or ())]
    kept = [name for name in options.metadata_fields if name in unused]
    unused = [name for name in unused if name not in kept]
    if unused:
        notes.append(f"columns not used: {', '.join(unused)}")
    connection.execute("DROP TABLE IF EXISTS reject_errors; DROP TABLE IF EXISTS reject_scans")
    connection.execute(_insert_sql(source, number, columns, fields, options.metadata_fields, kept))
    return StagedFile(source, columns, tuple(notes), rejected_rows(connection, source))


def unify_ids(connection: Any, files: Sequence[StagedFile]) -> list[str]:
    """Strip the ``.0`` of ids where a field, over all files, has whole numbers or nothing else; return notes."""
    notes = []
    for field in ("event_id", "user_id", "product_id"):
        decimal = f"regexp_full_match({field}, '-?\\d+\\.0+')"
        filled, decimals, wholes = connection.execute(
            f"SELECT count({field}), count(*) FILTER ({decimal}), "
            f"count(*) FILTER (regexp_full_match({field}, '-?\\d+')) FROM staged"
        ).fetchone()
        if decimals and (wholes or decimals == filled):
            connection.execute(f"UPDATE staged SET {field} = split_part({field}, '.', 1) WHERE {decimal}")
            notes.append(whole_note(files[0].columns[field]))
    return notes


def refuse_copies(connection: Any, files: Sequence[StagedFile]) -> None:
    """Raise ``EventFilesError`` if two files have the same valid events, whatever their names and kinds."""
    copies = connection.execute(
        f"""
        SELECT list(file ORDER BY file) AS copies FROM (
            SELECT position >> {_FILE_SHIFT} AS file, count(*) AS size,
                   sum(hash(event_id, user_id, product_id, event_type, amount, "timestamp")) AS content
            FROM staged WHERE faults = 0 GROUP BY file
        ) GROUP BY size, content HAVING count(*) > 1 ORDER BY copies LIMIT 1
        """
    ).fetchone()
    if copies:
        names = ", ".join(str(files[number].source.path) for number in copies[0])
        raise EventFilesError(f"{names} have the same events; keep one of them")


def _insert_sql(
    source: SourceFile,
    number: int,
    columns: dict[str, str],
    fields: dict[str, Expression],
    kept_members: Sequence[str],
    kept_columns: Sequence[str],
) -> str:
    selected = [f"{field.sql} AS v_{name}" for name, field in fields.items()]
    selected += [f"{_json_sql(source, name)} AS {identifier('m_' + name)}" for name in kept_columns]
    faults = " + ".join(
        f"CASE WHEN coalesce({check.sql}, false) THEN {1 << bit} ELSE 0 END"
        for bit, check in enumerate(CHECKS)
        if check.field in columns
    )
    raw = ", ".join(
        f"CAST({identifier(columns[check.field])} AS VARCHAR)" if check.field in columns else "NULL"
        for check in CHECKS
    )
    return f"""
        INSERT INTO staged
        SELECT position, v_event_id, v_user_id, v_product_id, v_event_type,
               CASE WHEN v_event_type = 'view' THEN NULL ELSE v_amount END, v_timestamp,
               CASE WHEN faults = 0 THEN {_members_sql(kept_members, kept_columns)} END,
               faults, CASE WHEN faults <> 0 THEN raw END,
               coalesce(faults = 0 AND v_event_type = 'view' AND v_amount IS NOT NULL, false),
               faults = 0 AND v_naive
        FROM (
            SELECT *, {faults} AS faults
            FROM (
                SELECT {number << _FILE_SHIFT} + {source.row_number} AS position, {", ".join(selected)},
                       {fields["timestamp"].naive} AS v_naive, {fields["timestamp"].doubt} AS v_doubt,
                       [{raw}] AS raw, v_text AS raw_timestamp
                FROM {timed_relation(source, columns["timestamp"])}
            )
        )
    """


def _json_sql(source: SourceFile, column: str) -> str:
    """Return the SQL of a column as JSON text, null where it is missing."""
    name, kind = identifier(column), source.columns[column]
    value = cleaned(name) if kind == "VARCHAR" else name
    if kind in FLOATS:
        value = f"CASE WHEN isfinite({name}) THEN {name} END"
    return f"CAST(to_json({value}) AS VARCHAR)"


def _members_sql(names: Sequence[str], columns: Sequence[str]) -> str:
    """Return the SQL of the metadata with these members alone, null where it has none.

    A member of the name of one of the columns is the column's value, which ``m_`` and its name has as JSON.
    """
    if not names:
        return "NULL"

    def member(name: str) -> str:
        if name in columns:
            return f"'\"{name}\":' || {identifier('m_' + name)}"
        return (
            f"CASE WHEN json_exists(v_metadata, '$.\"{name}\"')"
            f" THEN '\"{name}\":' || CAST(json_extract(v_metadata, '$.\"{name}\"') AS VARCHAR) END"
        )

    members = map(member, names)
    return f"'{{' || nullif(concat_ws(',', {', '.join(members)}), '') || '}}'"


def report_staged(
    connection: Any, files: Sequence[StagedFile], id_notes: Sequence[str], limit: int
) -> ImportReport:
    """Count the rows and their faults; show the first ``limit`` faults."""
    groups = connection.execute(
        """
        SELECT faults, count(*), count(*) FILTER (cleared), count(*) FILTER (naive)
        FROM staged GROUP BY faults
        """
    ).fetchall()
    rejected = sum(len(file.rejected) for file in files)
    dropped = {"the row is not CSV of the header's columns": rejected} if rejected else {}
    for bit, check in enumerate(CHECKS):
        count = sum(rows for faults, rows, _, _ in groups if faults & (1 << bit))
        if count:
            dropped[f"{check.field}: {check.reason}"] = count
    notes = dict.fromkeys([*(note for file in files for note in file.notes), *id_notes])
    unread = not dropped.keys().isdisjoint(UNREAD_TIMES)
    proposal, formats = _propose_timestamps(connection) if unread else (None, ())
    naive = sum(group[3] for group in groups)
    if naive:
        notes[f"{naive:,} timestamps without a zone are taken as UTC"] = None
    return ImportReport(
        files=tuple(file.source.path for file in files),
        rows_read=rejected + sum(group[1] for group in groups),
        bad_rows=rejected + sum(group[1] for group in groups if group[0]),
        dropped=dict(sorted(dropped.items(), key=lambda item: -item[1])),
        problems=tuple(_first_problems(connection, files, limit)),
        proposal=proposal,
        formats=formats,
        cleared_amounts=sum(group[2] for group in groups),
        notes=tuple(notes),
    )


def _propose_timestamps(connection: Any) -> tuple[str | None, tuple[str, ...]]:
    bits = [
        bit
        for bit, check in enumerate(CHECKS)
        if check.field == "timestamp" and check.reason in {"unreadable", _NO_UNIT}
    ]
    faults = " | ".join(str(1 << bit) for bit in bits)
    return propose_reading(
        connection, f"SELECT trim(raw[{bits[0] + 1}]) AS value FROM staged WHERE faults & ({faults}) <> 0"
    )


def _first_problems(connection: Any, files: Sequence[StagedFile], limit: int) -> list[RowProblem]:
    rows = connection.execute(
        "SELECT position, faults, raw FROM staged WHERE faults <> 0 ORDER BY position LIMIT ?", [limit]
    ).fetchall()
    problems: list[RowProblem] = []
    for number, file in enumerate(files):
        faulty = [
            (position - (number << _FILE_SHIFT), faults, raw)
            for position, faults, raw in rows
            if position >> _FILE_SHIFT == number
        ]
        problems += sorted([*file.rejected, *_faulty_values(file, faulty)], key=lambda problem: problem.row)
    return problems[:limit]


def _faulty_values(file: StagedFile, rows: list[tuple[int, int, list[str]]]) -> list[RowProblem]:
    problems: list[RowProblem] = []
    skipped = 0
    for number, faults, raw in rows:
        # DuckDB does not number rejected rows
        while skipped < len(file.rejected) and file.rejected[skipped].row <= number + skipped:
            skipped += 1
        for bit, check in enumerate(CHECKS):
            if faults & (1 << bit):
                value = None if check.reason == "missing" else raw[bit]
                column = file.columns[check.field]
                problems.append(RowProblem(file.source.path, number + skipped, column, value, check.expected))
    return problems


def generate_event_ids(connection: Any) -> None:
    """Set the event id of each valid row to a hash of its content."""
    connection.execute(
        """
        UPDATE staged SET event_id = 'made-' || md5(concat_ws(chr(31), user_id, product_id, event_type,
            CAST(epoch_us("timestamp") AS VARCHAR), coalesce(CAST(amount AS VARCHAR), '')))
        WHERE faults = 0
        """
    )


def find_repeated_ids(connection: Any) -> int:
    """Create the table ``repeats`` of valid rows with the event id of an earlier one; return their number."""
    connection.execute(
        """
        CREATE TABLE repeats AS
        SELECT position, row_number() OVER (PARTITION BY event_id ORDER BY position) AS occurrence
        FROM staged
        SEMI JOIN (
            SELECT event_id FROM staged WHERE faults = 0 GROUP BY event_id HAVING count(*) > 1
        ) USING (event_id)
        WHERE faults = 0
        """
    )
    connection.execute("DELETE FROM repeats WHERE occurrence = 1")
    return int(connection.execute("SELECT count(*) FROM repeats").fetchone()[0])


def write_parquet(connection: Any, path: Path, *, number_repeats: bool) -> None:
    """Write the valid rows in canonical order; number repeated event ids, or else drop their rows."""
    result = "SELECT * FROM staged ANTI JOIN repeats USING (position) WHERE faults = 0"
    if number_repeats:
        result = """
            SELECT staged.* REPLACE (event_id || coalesce('-' || repeats.occurrence, '') AS event_id)
            FROM staged LEFT JOIN repeats USING (position) WHERE faults = 0
        """
    connection.execute(f"CREATE VIEW result AS {result}")
    query = f"""
        SELECT event_id, user_id, product_id, event_type, amount, "timestamp", metadata FROM result
        ORDER BY "timestamp", {event_key()}, event_id
    """
    copy_to_parquet(connection, query, path)


def _largest_ids(connection: Any, field: str) -> list[tuple[str, float, bool]]:
    """Return the largest ids, each with its share, and whether it has a fifth and five times as many as the mean."""
    rows: list[tuple[str, float, bool]] = connection.execute(
        f"""
        SELECT {field}, size / sum(size) OVER () AS share, share >= 0.2 AND size >= 5 * avg(size) OVER ()
        FROM (SELECT {field}, count(*) AS size FROM result GROUP BY {field})
        ORDER BY share DESC, {field} LIMIT 5
        """
    ).fetchall()
    return rows


def report_result(connection: Any, report: ImportReport) -> ImportReport:
    """Return the report with the counts of the written events."""
    rows, users, products, first_us, last_us = connection.execute(
        """
        SELECT count(*), count(DISTINCT user_id), count(DISTINCT product_id),
               min(epoch_us("timestamp")), max(epoch_us("timestamp"))
        FROM result
        """
    ).fetchone()
    types = connection.execute(
        "SELECT event_type, count(*) FROM result GROUP BY event_type ORDER BY count(*) DESC, event_type"
    ).fetchall()
    largest = {field: _largest_ids(connection, field) for field in ("user_id", "product_id")}
    dominant = [
        f"{field} {value} has {share * 100:.0f} % of all events; if it stands for unknown ones, leave its rows out"
        for field, ids in largest.items()
        for value, share, dominates in ids
        if dominates
    ]
    return replace(
        report,
        rows_written=rows,
        users=users,
        products=products,
        first_us=first_us,
        last_us=last_us,
        event_types=dict(types),
        largest={field: ids[0][:2] for field, ids in largest.items() if ids},
        notes=(*report.notes, *dominant),
    )
