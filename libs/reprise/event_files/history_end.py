"""The end of a history, before a few events that stand apart, such as one with a wrong date; and its longest gap."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from reprise import sql
from reprise.event_files.report import ImportReport
from reprise.events import format_timestamp
from reprise.runtime.durations import format_duration, microseconds

_SHARE = 0.001
_ROWS = 10
_TIMES_THE_LARGEST = 3
_OF_A_HORIZON = 0.1
_TIMES_ANY_OTHER = 2
_LONG_GAP_US = microseconds(timedelta(days=7))


def end_history(events: Path, report: ImportReport, horizon: timedelta, memory_limit: str) -> ImportReport:
    """Leave out of a canonical file the last events that stand apart; return the report, with notes.

    They are at most a thousandth of all events, or ten, after a gap of a tenth of the horizon and three times any
    earlier gap. The rows before the gap would be labelled as if nobody had bought anything within it. A gap that more
    events follow is noted if it is a week or longer, and twice any other.
    """
    tail = max(_ROWS, int(report.rows_written * _SHARE))
    with sql.connect(memory_limit=memory_limit, temp_directory=events.parent) as connection:
        connection.execute(
            f"""
            CREATE TEMP TABLE gaps AS
            SELECT ts, lag(ts) OVER (ORDER BY ts) AS before_ts, ts - before_ts AS gap,
                   count(*) OVER (ORDER BY ts DESC) AS place
            FROM (SELECT epoch_us("timestamp") AS ts FROM read_parquet({sql.literal(events)}))
            """
        )
        first_us, gap_us, before_us = connection.execute(
            f"""
            SELECT min(ts), arg_min(gap, ts), arg_min(before_ts, ts) FROM gaps
            WHERE place <= {tail} AND gap > greatest(
                {horizon / timedelta(microseconds=1) * _OF_A_HORIZON},
                {_TIMES_THE_LARGEST} * (SELECT coalesce(max(gap), 9e18) FROM gaps WHERE place > {tail})
            )
            """
        ).fetchone()
        if first_us is not None:
            kept = events.with_name(f"kept-{events.name}")
            query = f"""
                SELECT * FROM read_parquet({sql.literal(events)}) WHERE epoch_us("timestamp") < {first_us}
                ORDER BY "timestamp", {sql.event_key()}, event_id
            """
            rows = sql.copy_to_parquet(connection, query, kept)
            kept.replace(events)
            note = (
                f"{report.rows_written - rows:,} events from {format_timestamp(first_us)} on are left out: they come"
                f" {_duration(gap_us)} after the one before, and history is taken to end there"
            )
            report = replace(report, rows_written=rows, last_us=before_us, notes=(*report.notes, note))
        longest = connection.execute(
            "SELECT gap, before_ts, ts FROM gaps WHERE gap IS NOT NULL AND ts <= ? ORDER BY gap DESC LIMIT 2",
            [report.last_us],
        ).fetchall()
        return replace(report, notes=(*report.notes, *_note_gap(longest)))


def _note_gap(gaps: Sequence[tuple[int, int, int]]) -> list[str]:
    """Return a note on the first of the two longest gaps, each its length, start and end, if it is long."""
    longest, *others = gaps or [(0, 0, 0)]
    gap_us, start_us, end_us = longest
    if not others or gap_us < max(_LONG_GAP_US, _TIMES_ANY_OTHER * others[0][0]):
        return []
    return [
        f"no event for {_duration(gap_us)}, from {format_timestamp(start_us)} to {format_timestamp(end_us)}: if events"
        " are missing there, the rows before are labelled as if nobody had bought anything; add the events, or leave"
        " out those before"
    ]


def _duration(us: int) -> str:
    return format_duration(timedelta(seconds=us // 1_000_000))
