"""The table, inside DuckDB, that a file's rows pass through on their way to the canonical Parquet."""

from dataclasses import dataclass
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
from reprise.event_files.source import SourceFile
from reprise.event_files.validation import CHECKS, Reading, first_position
from reprise.sql import copy_to_parquet, event_key, identifier


@dataclass(frozen=True, slots=True)
class Contents:
    """What the result holds: its size, its extent in time (microseconds), and the events per type."""

    rows: int
    users: int
    products: int
    first_us: int
    last_us: int
    event_types: dict[str, int]


def create_table(connection: Any) -> None:
    """Create the empty table of staged rows."""
    connection.execute(
        """
        CREATE TABLE staged (
            position BIGINT, event_id VARCHAR, user_id VARCHAR, product_id VARCHAR, event_type VARCHAR,
            amount DOUBLE, "timestamp" TIMESTAMPTZ, metadata VARCHAR,
            faults INTEGER, raw VARCHAR[], cleared BOOLEAN, zoneless BOOLEAN
        )
        """
    )


def stage_file(connection: Any, source: SourceFile, number: int, options: ImportOptions) -> Reading:
    """Append a file's rows, each with the set of its faults, and return how the file was read.

    Raises:
        MissingColumnsError: The file lacks a column.
        UnusableColumnError: A column has a type that its field cannot be read from.
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
    instant = timestamp_sql(connection, source, columns["timestamp"], options)
    notes.extend([instant.note] if instant.note else [])
    unused = [name for name in source.columns if name not in columns.values()]
    if unused:
        notes.append(f"columns not used: {', '.join(unused)}")
    connection.execute("DROP TABLE IF EXISTS reject_errors; DROP TABLE IF EXISTS reject_scans")
    values["timestamp"] = instant.sql
    connection.execute(_insert_sql(source, number, columns, values, instant.zoneless))
    return Reading(source, columns, tuple(notes), makes_ids="event_id" not in columns)


def _insert_sql(
    source: SourceFile, number: int, columns: dict[str, str], values: dict[str, str], zoneless: str
) -> str:
    selected = ", ".join(f"{sql} AS {identifier('v_' + name)}" for name, sql in values.items())
    given = {check.field for check in CHECKS} & set(columns)
    faults = " + ".join(
        f"CASE WHEN coalesce({check.sql}, false) THEN {1 << bit} ELSE 0 END"
        for bit, check in enumerate(CHECKS)
        if check.field in given
    )
    raw = ", ".join(
        f"CAST({identifier(columns[check.field])} AS VARCHAR)" if check.field in columns else "NULL"
        for check in CHECKS
    )
    raw = f"[{raw}]"
    return f"""
        INSERT INTO staged
        SELECT position, v_event_id, v_user_id, v_product_id, v_event_type,
               CASE WHEN v_event_type = 'view' THEN NULL ELSE v_amount END, v_timestamp, v_metadata,
               faults, CASE WHEN faults <> 0 THEN raw END,
               coalesce(faults = 0 AND v_event_type = 'view' AND v_amount IS NOT NULL, false),
               faults = 0 AND v_zoneless
        FROM (
            SELECT *, {faults} AS faults
            FROM (
                SELECT {first_position(number)} + {source.row_number} AS position, {selected},
                       {zoneless} AS v_zoneless, {raw} AS raw,
                       CAST({identifier(columns["timestamp"])} AS VARCHAR) AS raw_timestamp
                FROM {source.relation}
            )
        )
    """


def settle_ids(connection: Any, *, makes_ids: bool) -> int:
    """Decide what becomes of rows with the same id; return how many follow an earlier one.

    Where ids are made, the rows are numbered; elsewhere they are marked to be left out.
    """
    if makes_ids:
        connection.execute(
            """
            UPDATE staged SET event_id = 'made-' || md5(concat_ws(chr(31), user_id, product_id, event_type,
                CAST(epoch_us("timestamp") AS VARCHAR), coalesce(CAST(amount AS VARCHAR), '')))
            WHERE faults = 0
            """
        )
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
    row = connection.execute("SELECT count(*) FROM repeats").fetchone()
    return int(row[0])


def write_parquet(connection: Any, path: Path, *, makes_ids: bool) -> None:
    """Write the usable rows in canonical order."""
    connection.execute(f"CREATE VIEW result AS {_result_sql(makes_ids)}")
    query = f"""
        SELECT event_id, user_id, product_id, event_type, amount, "timestamp", metadata FROM result
        ORDER BY "timestamp", {event_key()}, event_id
    """
    copy_to_parquet(connection, query, path)


def _result_sql(makes_ids: bool) -> str:
    if makes_ids:
        return """
            SELECT staged.* REPLACE (event_id || coalesce('-' || repeats.occurrence, '') AS event_id)
            FROM staged LEFT JOIN repeats USING (position) WHERE faults = 0
        """
    return "SELECT * FROM staged ANTI JOIN repeats USING (position) WHERE faults = 0"


def describe_result(connection: Any) -> Contents:
    """Count what was written."""
    row = connection.execute(
        """
        SELECT count(*), count(DISTINCT user_id), count(DISTINCT product_id),
               min(epoch_us("timestamp")), max(epoch_us("timestamp"))
        FROM result
        """
    ).fetchone()
    types = connection.execute(
        "SELECT event_type, count(*) FROM result GROUP BY event_type ORDER BY count(*) DESC, event_type"
    ).fetchall()
    return Contents(row[0], row[1], row[2], row[3], row[4], dict(types))
