"""What can be wrong with a row, and how it is said."""

import re
from dataclasses import dataclass
from typing import Any

from reprise.event_files.report import RowProblem
from reprise.event_files.source import SourceFile

_MAX_ID_LENGTH = 256
_FILE_SHIFT = 40


@dataclass(frozen=True, slots=True)
class Check:
    """A way for a field to be wrong.

    Attributes:
        field: The field of the event.
        sql: True where the value is wrong, over the columns ``v_<field>`` and the raw texts.
        reason: What is wrong, in the counts.
        expected: What was expected, next to a value.
    """

    field: str
    sql: str
    reason: str
    expected: str


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file was read: its column by field, what was assumed, and whether its ids are made."""

    source: SourceFile
    columns: dict[str, str]
    notes: tuple[str, ...]
    makes_ids: bool


@dataclass(frozen=True, slots=True)
class Findings:
    """What staging one file found; ``counts`` holds the number of faults per reason."""

    rows: int
    bad_rows: int
    cleared_amounts: int
    zoneless: int
    counts: dict[str, int]
    shown: list[RowProblem]


def _id_checks(name: str) -> tuple[Check, Check]:
    value = f"v_{name}"
    text = f"text of at most {_MAX_ID_LENGTH} characters without NUL"
    return (
        Check(name, f"{value} IS NULL OR {value} = ''", "missing", "missing"),
        Check(
            name,
            f"length({value}) > {_MAX_ID_LENGTH} OR contains({value}, chr(0))",
            "unusable",
            f"expected {text}",
        ),
    )


_TIME_RANGE = (
    "v_timestamp < TIMESTAMPTZ '1900-01-01 00:00:00Z' OR v_timestamp >= TIMESTAMPTZ '2200-01-01 00:00:00Z'"
)

CHECKS: tuple[Check, ...] = (
    *_id_checks("event_id"),
    *_id_checks("user_id"),
    *_id_checks("product_id"),
    Check("timestamp", "nullif(raw_timestamp, '') IS NULL", "missing", "missing"),
    Check(
        "timestamp",
        "nullif(raw_timestamp, '') IS NOT NULL AND v_timestamp IS NULL",
        "unreadable",
        "expected an ISO 8601 date-time, an epoch number, or what --timestamp-format says",
    ),
    Check("timestamp", _TIME_RANGE, "implausible", "expected an instant between the years 1900 and 2200"),
    Check("event_type", "v_event_type IS NULL OR v_event_type = ''", "missing", "missing"),
    Check(
        "event_type",
        "v_event_type <> '' AND NOT regexp_full_match(v_event_type, '[a-z][a-z0-9_.-]{0,63}')",
        "not a name",
        "expected a name such as view or purchase; rename it with --event-type TYPE=VALUE",
    ),
    Check("amount", "isinf(v_amount)", "not a finite number", "expected a finite number, or nothing"),
    Check("amount", "v_amount < 0 AND NOT isinf(v_amount)", "negative", "expected a number of at least 0"),
    Check(
        "metadata",
        "v_metadata IS NOT NULL AND (NOT json_valid(v_metadata) OR json_type(v_metadata) <> 'OBJECT')",
        "not a JSON object",
        "expected a JSON object, or nothing",
    ),
)
"""Every check; a row's faults are the sum of ``1 << index`` over those that fail."""


def first_position(number: int) -> int:
    """Return the position before the first row of the numbered file, from 0; positions order all rows."""
    return number << _FILE_SHIFT


def collect(connection: Any, reading: Reading, number: int, limit: int) -> Findings:
    """Count the faults of one file's rows and show the first ``limit`` of them."""
    low, high = first_position(number), first_position(number + 1)
    sets = connection.execute(
        """
        SELECT faults, count(*), count(*) FILTER (cleared), count(*) FILTER (zoneless)
        FROM staged WHERE position >= ? AND position < ? GROUP BY faults
        """,
        [low, high],
    ).fetchall()
    rejects = _rejected(connection, reading.source)
    counts: dict[str, int] = {}
    if rejects:
        counts["the row is not CSV of the header's columns"] = len(rejects)
    for bit, check in enumerate(CHECKS):
        count = sum(rows for faults, rows, _, _ in sets if faults & (1 << bit))
        if count:
            counts[f"{check.field}: {check.reason}"] = count
    shown = rejects[: max(limit, 0)]
    if limit > 0:
        rows = connection.execute(
            """
            SELECT position - ?, faults, raw FROM staged
            WHERE faults <> 0 AND position >= ? AND position < ? ORDER BY position LIMIT ?
            """,
            [low, low, high, limit],
        ).fetchall()
        shown += _faulty(reading, rows, [problem.row for problem in rejects])
    shown.sort(key=lambda problem: problem.row)
    return Findings(
        rows=sum(row[1] for row in sets) + len(rejects),
        bad_rows=sum(row[1] for row in sets if row[0]) + len(rejects),
        cleared_amounts=sum(row[2] for row in sets),
        zoneless=sum(row[3] for row in sets),
        counts=counts,
        shown=shown[: max(limit, 0)],
    )


def _rejected(connection: Any, source: SourceFile) -> list[RowProblem]:
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


def _faulty(
    reading: Reading, rows: list[tuple[int, int, list[str]]], rejected: list[int]
) -> list[RowProblem]:
    found: list[RowProblem] = []
    skipped = 0
    for number, faults, raw in rows:
        # DuckDB numbers the rows that it could read; the rejected ones before it count as well
        while skipped < len(rejected) and rejected[skipped] <= number + skipped:
            skipped += 1
        for bit, check in enumerate(CHECKS):
            if faults & (1 << bit):
                value = None if check.reason == "missing" else raw[bit]
                column = reading.columns[check.field]
                found.append(RowProblem(reading.source.path, number + skipped, column, value, check.expected))
    return found
