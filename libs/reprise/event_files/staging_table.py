"""The staging table in DuckDB, which a file's rows pass on their way to the canonical Parquet file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reprise.event_files.field_expressions import (
    amount_sql,
    event_type_sql,
    id_sql,
    metadata_sql,
    resolve_columns,
    timestamp_sql,
)
from reprise.event_files.options import ImportOptions
from reprise.event_files.report import ImportReport, RowProblem
from reprise.event_files.source import SourceFile, rejected_rows
from reprise.event_files.validation import CHECKS
from reprise.sql import copy_to_parquet, event_key, identifier

_FILE_SHIFT = 40  # a row's position is the file's number in the high bits and its row number in the low ones


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file whose rows are in the staging table.

    Attributes:
        source: The file.
        columns: Its column by field.
        notes: What was assumed about it.
        rejected: Rows that are not valid CSV, which are not in the table.
    """

    source: SourceFile
    columns: dict[str, str]
    notes: tuple[str, ...]
    rejected: list[RowProblem]


def create_table(connection: Any) -> None:
    """Create the empty staging table."""
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
    """Append a file's rows, each with the set of its faults.

    Raises:
        MissingColumnsError: The file lacks a column.
        UnusableColumnError: A column's type does not fit its field.
    """
    columns = resolve_columns(source, options.columns)
    notes: list[str] = []
    values = dict.fromkeys(("event_id", "metadata"), "CAST(NULL AS VARCHAR)")
    for name in ("event_id", "user_id", "product_id"):
        if name in columns:
            values[name], note = id_sql(connection, source, columns[name])
            notes.extend([note] if note else [])
    if "event_type" in columns:
        values["event_type"] = event_type_sql(connection, source, columns["event_type"], options)
    else:
        values["event_type"] = "'purchase'"
        notes.append("no event_type column: every row is taken as a purchase")
    if "amount" in columns:
        values["amount"] = amount_sql(source, columns["amount"])
    else:
        values["amount"] = "CAST(NULL AS DOUBLE)"
        notes.append("no amount column: no amounts")
    if "metadata" in columns:
        values["metadata"] = metadata_sql(source, columns["metadata"])
    timestamp = timestamp_sql(connection, source, columns["timestamp"], options)
    values["timestamp"] = timestamp.sql
    notes.extend([timestamp.note] if timestamp.note else [])
    unused = [name for name in source.columns if name not in columns.values()]
    if unused:
        notes.append(f"columns not used: {', '.join(unused)}")
    connection.execute("DROP TABLE IF EXISTS reject_errors; DROP TABLE IF EXISTS reject_scans")
    connection.execute(_insert_sql(source, number, columns, values, timestamp.naive))
    return StagedFile(source, columns, tuple(notes), rejected_rows(connection, source))


def _insert_sql(
    source: SourceFile, number: int, columns: dict[str, str], values: dict[str, str], naive: str
) -> str:
    selected = ", ".join(f"{sql} AS {identifier('v_' + name)}" for name, sql in values.items())
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
               CASE WHEN v_event_type = 'view' THEN NULL ELSE v_amount END, v_timestamp, v_metadata,
               faults, CASE WHEN faults <> 0 THEN raw END,
               coalesce(faults = 0 AND v_event_type = 'view' AND v_amount IS NOT NULL, false),
               faults = 0 AND v_naive
        FROM (
            SELECT *, {faults} AS faults
            FROM (
                SELECT {number << _FILE_SHIFT} + {source.row_number} AS position, {selected},
                       {naive} AS v_naive, [{raw}] AS raw,
                       CAST({identifier(columns["timestamp"])} AS VARCHAR) AS raw_timestamp
                FROM {source.relation}
            )
        )
    """


def report_staged(connection: Any, files: Sequence[StagedFile], limit: int) -> ImportReport:
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
    notes = dict.fromkeys(note for file in files for note in file.notes)
    naive = sum(group[3] for group in groups)
    if naive:
        notes[f"{naive:,} timestamps without a zone are taken as UTC"] = None
    return ImportReport(
        files=tuple(file.source.path for file in files),
        rows_read=rejected + sum(group[1] for group in groups),
        bad_rows=rejected + sum(group[1] for group in groups if group[0]),
        dropped=dict(sorted(dropped.items(), key=lambda item: -item[1])),
        problems=tuple(_first_problems(connection, files, limit)),
        cleared_amounts=sum(group[2] for group in groups),
        notes=tuple(notes),
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
    return replace(
        report,
        rows_written=rows,
        users=users,
        products=products,
        first_us=first_us,
        last_us=last_us,
        event_types=dict(types),
    )
