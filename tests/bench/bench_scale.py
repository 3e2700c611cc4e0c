"""Training rows of growing histories on DuckDB and on Spark, and of a history with a hot product and a hot user.

Run ``PYTHONPATH=tests python tests/bench/bench_scale.py [scale]``; 10 ends at ten million events, and takes hours. Both
engines get this machine and the same memory, and their rows are compared. In the skewed history one product has 30 %
of all events and one user 10 %. The baseline of its tasks is Spark without buckets: windows over whole keys.
``bench_scale.py --curve EVENTS…`` measures only histories of these sizes, with a plan of eight inputs; ``--curve duckdb
EVENTS…`` only one engine, and ``PLAN=whole`` the whole plan.
"""

import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.standalone import history, in_own_process, processor_seconds, run_alone
from reprise.features.executors.batch import BatchExecutor
from reprise.features.executors.plan_executor import PlanExecutor
from reprise.features.executors.spark import SparkExecutor
from reprise.features.parity.comparison import compare, feature_scales
from reprise.features.plan import Plan
from reprise.features.training_rows import build_training_rows
from support.plans import checked_in_plan
from support.served_bundles import small_plan

PLANS: dict[str, Callable[[], Plan]] = {"whole": checked_in_plan, "eight": small_plan}
ENGINES = ("duckdb", "spark")
EVENTS = (100_000, 300_000, 1_000_000)
SKEWED_EVENTS = 300_000
MEMORY = "8GiB"
EXECUTORS: dict[str, Callable[..., PlanExecutor]] = {
    "duckdb": BatchExecutor,
    "spark": SparkExecutor,
    "spark_without_buckets": partial(SparkExecutor, bucket_rows=sys.maxsize),
}
STRAGGLERS = 3.0
"""Times the rows of the median task that the largest may have."""
IN_BATCH = 65_536
MANY_TASKS = "spark.sql.adaptive.coalescePartitions.enabled false"
"""A larger history has many tasks without this."""
Numbers = dict[str, float | int]


def one_build(executor: str, events: Path, out: Path, spark_conf: Path, plan: str) -> Numbers:
    """Build training rows, and return seconds, processor time, peak memory and disk of this process and Spark's."""
    os.environ["SPARK_CONF_DIR"] = str(spark_conf)
    peak_gib = cpu_seconds = disk_gib = 0.0
    used_before = shutil.disk_usage(out.parent).used

    def note(_: int) -> None:
        nonlocal peak_gib, cpu_seconds, disk_gib
        # While rows are written, it is most: tables, sorted rows, and the rows
        disk_gib = max(disk_gib, (shutil.disk_usage(out.parent).used - used_before) / 2**30)
        processes = own_processes()
        peak_gib = max(peak_gib, sum(peak_bytes(pid) for pid in processes) / 2**30)
        cpu_seconds = sum(map(processor_seconds, processes))

    began = time.perf_counter()
    report = build_training_rows(
        events,
        out,
        PLANS[plan](),
        timedelta(days=30),
        questions=True,
        memory_limit=MEMORY,
        temp_directory=out.parent,
        open_executor=EXECUTORS[executor],
        advance=note,
    )
    return {
        "rows": report.rows,
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "peak_gib": round(peak_gib, 2),
        "disk_gib": round(disk_gib, 1),
    }


def own_processes() -> list[int]:
    """Return this process and those that it started: PySpark starts Java."""
    found, unseen = [], [os.getpid()]
    while unseen:
        found.append(pid := unseen.pop())
        unseen += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return found


def peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:")), 0)


def built(executor: str, events: Path, out: Path, settings: str = "", plan: str = "whole") -> Numbers:
    """Build the rows in a process of its own, with Spark's ``settings``, and its event log in ``spark`` beside them."""
    log = out.parent / "spark"
    log.mkdir(exist_ok=True)
    (log / "spark-defaults.conf").write_text(
        f"spark.eventLog.enabled true\nspark.eventLog.dir file://{log}\nspark.eventLog.rolling.enabled false\n"
        f"spark.eventLog.compress false\nspark.io.compression.codec zstd\n{settings}\n"
    )
    return in_own_process(one_build, executor, events, out, log, plan)


def largest_task(log: Path, rows: int) -> float:
    """Return how many times the rows of the median task its largest has, in the worst stage that gets all rows.

    Rows are those of the shuffle. Seconds would say more of Java's warm-up, in a run of minutes.
    """
    read: defaultdict[int, list[int]] = defaultdict(list)
    for line in log.read_text().splitlines():
        event = json.loads(line)
        if event["Event"] == "SparkListenerTaskEnd":
            read[event["Stage ID"]].append(
                event["Task Metrics"]["Shuffle Read Metrics"]["Total Records Read"]
            )
    stages = [each for each in read.values() if sum(each) >= rows and len(each) > 2]
    return round(max(max(each) / statistics.median(each) for each in stages), 1)


def slope_us(seconds: Sequence[float], events: Sequence[int]) -> float:
    """Return the processor time of each further event, between the two largest histories: without start-up."""
    return round(1e6 * (seconds[-1] - seconds[-2]) / (events[-1] - events[-2]), 1)


def mismatches(left: Path, right: Path, plan: Plan, largest_amount: float) -> int:
    """Count the values in which two files of training rows differ, batch by batch; a row that one lacks is one."""
    files = [pq.ParquetFile(path) for path in (left, right)]
    names = list(plan.input_names)
    exact = [name for name in files[0].schema_arrow.names if name not in names]
    found = abs(files[0].metadata.num_rows - files[1].metadata.num_rows)
    for one, other in zip(*(file.iter_batches(IN_BATCH) for file in files), strict=False):
        for name in exact:
            pair = one.column(name), other.column(name)
            present = [column.is_valid() for column in pair]
            found += pc.sum(pc.not_equal(*present)).as_py() + (pc.sum(pc.not_equal(*pair)).as_py() or 0)
        left_values, right_values = (
            np.column_stack([batch.column(name).to_numpy(zero_copy_only=False) for name in names])
            for batch in (one, other)
        )
        scales = feature_scales(plan, names, right_values, largest_amount)
        found += len(compare("Spark and DuckDB", names, left_values, right_values, scales).mismatches)
    return found


def skewed(source: Path, out: Path) -> Path:
    """Give one product 30 % of the events, all in half of the time, and one user 10 %."""
    duckdb.execute(
        f"""
        COPY (SELECT * REPLACE (
            CASE WHEN hash(event_id) % 10 < 6 AND timestamp < (SELECT median(timestamp) FROM '{source}') THEN 'hot'
                 ELSE product_id END AS product_id,
            CASE WHEN hash(event_id || 'user') % 10 = 0 THEN 'hot' ELSE user_id END AS user_id
        ) FROM '{source}') TO '{out}' (FORMAT parquet)
        """
    )
    return out


def measure_curve(
    folder: Path, sizes: Sequence[int], plan: str = "whole", engines: Sequence[str] = ENGINES
) -> dict[str, Any]:
    """Build the rows of histories of these sizes on each engine, and compare those of two."""
    curves: dict[str, Numbers] = {f"{engine}{unit}": {} for engine in engines for unit in ("", "_gib")}
    cpu_seconds: dict[str, list[float]] = {engine: [] for engine in engines}
    different = compared = 0
    for events in sizes:
        size = {"users": max(50, events // 50), "products": max(20, events // 500)}
        source = history(folder / f"{events}.parquet", events, **size)
        rows = {engine: folder / f"{engine}.parquet" for engine in engines}
        for executor, out in rows.items():
            numbers = built(executor, source, out, plan=plan)
            print(f"{events:,} events on {executor}: {numbers}", file=sys.stderr, flush=True)
            curves[executor][str(events)] = numbers["seconds"]
            curves[f"{executor}_gib"][str(events)] = numbers["peak_gib"]
            cpu_seconds[executor].append(numbers["cpu_seconds"])
        if engines == ENGINES:
            largest = pc.max(pq.read_table(source, columns=["amount"])["amount"]).as_py()
            different += mismatches(rows["spark"], rows["duckdb"], PLANS[plan](), largest)
            compared += pq.read_metadata(rows["spark"]).num_rows
        source.unlink()
    slopes = {
        f"{executor}_us_per_event": slope_us(each, sizes)
        for executor, each in cpu_seconds.items()
        if sizes[1:]
    }
    return {"curves": curves, "compared": {"rows": compared, "mismatches": different}, **slopes}


def run(scale: float = 1.0) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="reprise-bench-") as name:
        folder = Path(name)
        sizes = [round(each * scale) for each in EVENTS]
        measured, eight = measure_curve(folder, sizes), measure_curve(folder, sizes[-1:], "eight")
        uneven: Numbers = {"events": round(SKEWED_EVENTS * scale)}
        even = folder / "even.parquet"
        source = history(even, round(SKEWED_EVENTS * scale), users=2_000, products=300)
        for executor in ("spark", "spark_without_buckets"):
            log = folder / executor / "spark"
            log.mkdir(parents=True)
            uneven_history = skewed(source, folder / "skewed.parquet")
            numbers = built(executor, uneven_history, log.parent / "rows.parquet", MANY_TASKS)
            [application] = log.glob("local-*")
            uneven[f"{executor}_seconds"] = numbers["seconds"]
            uneven[f"{executor}_largest_task_times_median"] = largest_task(application, int(numbers["rows"]))
    for name, curve in eight["curves"].items():
        measured["curves"][f"{name}_eight_inputs"] = curve
    measured["compared"] = {
        each: number + eight["compared"][each] for each, number in measured["compared"].items()
    }
    return {**measured, "skewed": uneven}


def misses(numbers: dict[str, Any]) -> list[str]:
    """Say which of the required figures are missed; they are ratios within the run."""
    checks = {
        "the same rows on DuckDB and Spark": numbers["compared"]["mismatches"] == 0,
        f"no task of more than {STRAGGLERS:g} times the rows of the median": (
            numbers["skewed"]["spark_largest_task_times_median"] <= STRAGGLERS
        ),
    }
    return [what for what, held in checks.items() if not held]


def main() -> int:
    if sys.argv[1:2] != ["--curve"]:
        return run_alone(run, misses)
    engines = tuple(each for each in sys.argv[2:] if each in ENGINES) or ENGINES
    sizes = [int(each) for each in sys.argv[2:] if each not in ENGINES]
    with tempfile.TemporaryDirectory(prefix="reprise-bench-") as name:
        print(
            json.dumps(measure_curve(Path(name), sizes, os.environ.get("PLAN", "eight"), engines), indent=2)
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
