"""A few events that stand apart at the end of a history do not move its end."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reprise.event_files.history_end import end_history
from reprise.event_files.importer import import_events

HORIZON = timedelta(days=30)
LATEST = datetime(2028, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("strays", "kept"),
    [
        (["2026-05-01T00:00:00Z"], 200),
        (["2026-05-01T00:00:00Z", "2027-01-01T00:00:00Z"], 200),
        (["2026-04-25T00:00:00Z"], 201),  # a pause as there was before
        (["2026-05-01T00:00:00Z"] * 15, 215),  # an outage, although all after it is of one instant
        ([], 200),
    ],
)
def test_history_ends_before_a_gap_that_only_a_few_events_follow(
    tmp_path: Path, strays: list[str], kept: int
) -> None:
    # an event at every twelve hours, with a pause of three days in between
    days = [at // 2 + (3 if at > 100 else 0) for at in range(200)]
    lines = [
        f"u{at % 7},p,2026-{1 + day // 28:02d}-{1 + day % 28:02d}T{at % 2 * 12:02d}:00:00Z"
        for at, day in enumerate(days)
    ]
    source, events = tmp_path / "in.csv", tmp_path / "events.parquet"
    lines += [f"u,s{at},{text}" for at, text in enumerate(strays)]
    source.write_text("\n".join(["user_id,product_id,timestamp", *lines]) + "\n")
    report = import_events(source, events, latest=LATEST)
    ended = end_history(events, report, HORIZON, "1GiB")
    assert ended.rows_written == kept
    assert import_events(events, tmp_path / "again.parquet").rows_read == kept
    if kept < report.rows_written:
        assert "2026-05-01T00:00:00Z" in ended.notes[-1]
        assert ended.last_us < report.last_us
    elif len(strays) > 10:
        assert "no event for 11d12h, from 2026-04-19T12:00:00Z to 2026-05-01T00:00:00Z" in ended.notes[-1]
    else:
        assert ended == report
