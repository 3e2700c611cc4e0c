"""Processor time of one night's rows, without and with the cache of the night before, by days of history.

``PYTHONPATH=tests python tests/bench/trainer/measure_rows_cache.py 2000 500 30 90 180``, which are users, products
and days, prints a row of docs/scale.md for each number of days.
"""

import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from reprise.features.executors.batch import BatchExecutor
from reprise.features.training_rows import build_training_rows
from reprise.trainer.data.rows_cache import CacheUse, cached_rows
from reprise.trainer.settings import TrainerSettings
from support.hard_histories import random_history
from support.histories import event_table
from support.plans import checked_in_plan

DAY_US = 86_400_000_000
EVENTS_PER_DAY = 1_000
PLAN = checked_in_plan()


def night(events: pa.Table, root: Path, name: str) -> tuple[float, CacheUse]:
    """Return the seconds of processor time, and the use of the cache."""
    folder = root / name
    folder.mkdir()
    source = folder / "events.parquet"
    pq.write_table(events, source, row_group_size=122_880)  # As the importer writes it
    settings = TrainerSettings.load(events=source, out=str(folder), horizon="7d")
    build = partial(build_training_rows, source, plan=PLAN, horizon=settings.default_horizon, questions=True)
    started = time.process_time()
    kept = cached_rows(root / "cache", source, folder, PLAN, settings, BatchExecutor, build)
    with kept as (_, use):
        return time.process_time() - started, use


def main() -> None:
    users, products, *all_days = map(int, sys.argv[1:])
    for days in all_days:
        history = random_history(1, days * EVENTS_PER_DAY, users=users, products=products, years=days / 365)
        end_us = history[-1].timestamp_us - DAY_US
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            earlier = event_table([each for each in history if each.timestamp_us < end_us])
            all_rows, _ = night(earlier, root, "before")
            one_night, use = night(event_table(history), root, "after")
        print(
            f"| {days} | {len(history):,} | {all_rows:.1f} s | {one_night:.1f} s |  <!-- {use} -->",
            flush=True,
        )


if __name__ == "__main__":
    main()
