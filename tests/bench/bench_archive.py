"""Processor time to list, read and compact an archive of 100,000 small files in a local folder.

Run ``PYTHONPATH=tests python tests/bench/bench_archive.py [scale]``. The files have ten records each: six partitions
with a segment for each five minutes, as of a quiet shop whose compaction was off for two months. A tenth of the
archive is measured first, so that what grows faster than the files shows. It takes ten minutes.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from bench.standalone import run_alone
from reprise.archive import OfflineStore, Segment, archive_table, compact, log_date, write_events
from reprise.log import EVENTS
from support.archived import START_MS, TOPIC_ID, event_records
from support.histories import make_events

FILES = 100_000
PARTITIONS = 6
RECORDS_IN_FILE = 10
WINDOW_MS = 300_000
GROWTH = 2.0
"""Times the seconds per file of a tenth of the archive that the whole may take."""
Seconds = dict[str, float]


def fill(root: Path, files: int) -> None:
    """Write the segments of the archive, without an archiver."""
    per_partition = files // PARTITIONS
    count = per_partition * RECORDS_IN_FILE
    for partition in range(PARTITIONS):
        instants = [at // RECORDS_IN_FILE * WINDOW_MS for at in range(count)]
        events = [
            replace(event, timestamp_us=(START_MS + instant) * 1_000)
            for event, instant in zip(make_events(count, seed=partition), instants, strict=True)
        ]
        records = event_records(partition, events, instants)
        table = archive_table(EVENTS.name, TOPIC_ID, records)
        for first in range(0, count, RECORDS_IN_FILE):
            last = first + RECORDS_IN_FILE - 1
            day = log_date(records[first].timestamp_ms)
            path = root / Segment(EVENTS.name, TOPIC_ID, day, partition, first, last).path
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table.slice(first, RECORDS_IN_FILE), path)


def timed(step: Callable[[], object]) -> float:
    began = time.process_time()
    step()
    return round(time.process_time() - began, 2)


def measured(folder: Path, files: int) -> Seconds:
    """Return the processor seconds of each step on an archive of so many files."""
    fill(folder / "archive", files)
    store, out = OfflineStore(str(folder / "archive")), folder / "events.parquet"
    return {
        "list": timed(lambda: store.coverage(EVENTS.name)),
        "export": timed(lambda: write_events(store, out)),
        "compact": timed(lambda: compact(store, EVENTS.name, before=date(2999, 1, 1))),
        "export_compacted": timed(lambda: write_events(store, out)),
        "files_after": len(store.segments(EVENTS.name)),
    }


def run(scale: float = 1.0) -> dict[str, Any]:
    files = round(FILES * scale)
    seconds = {}
    for count in (files // 10, files):
        with tempfile.TemporaryDirectory(prefix="reprise-bench-") as folder:
            seconds[str(count)] = measured(Path(folder), count)
    return {"seconds": seconds}


def misses(numbers: dict[str, Any]) -> list[str]:
    """Say which steps grow faster than the files."""
    (few, tenth), (many, whole) = numbers["seconds"].items()
    growth = int(many) / int(few) * GROWTH
    return [
        f"{step} in at most {growth:g} times the seconds of {few} files"
        for step in ("list", "export", "compact")
        if whole[step] > growth * tenth[step]
    ]


if __name__ == "__main__":
    sys.exit(run_alone(run, misses))
