"""What benchmarks share: to run alone or in a process of their own, a history, and processor time."""

import json
import multiprocessing
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from reprise.datagen.history import HistoryOptions, generate_history
from reprise.shop import ShopConfig

T = TypeVar("T")
START = datetime(2026, 1, 1, tzinfo=UTC)


def run_alone(run: Callable[[float], Any], misses: Callable[[Any], list[str]]) -> int:
    """Run a benchmark at the scale of the command line, print numbers and what they miss; return an exit status."""
    os.environ.setdefault("REPRISE_PROGRESS", "off")
    numbers = run(float(sys.argv[1]) if sys.argv[1:] else 1.0)
    print(json.dumps(numbers, indent=2))
    for what in (missed := misses(numbers)):
        print(f"missed: {what}", file=sys.stderr)
    return 1 if missed else 0


def in_own_process(function: Callable[..., T], *arguments: object) -> T:
    """Return what a function of a module returns in a new process, which has its memory to itself."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def history(path: Path, events: int, *, users: int, products: int) -> Path:
    """Write a shop's history of so many events, and return its path."""
    shop = ShopConfig(seed=11, users=users, products=products)
    generate_history(HistoryOptions(path, shop, START, events=events))
    return path


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process so far, user and system; see proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
