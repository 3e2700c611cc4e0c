"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

_LINE_SECONDS = 5.0


class Progress(Protocol):
    """Work in progress."""

    def advance(self, n: int = 1) -> None:
        """Add ``n`` finished units."""


@contextmanager
def progress(description: str, total: int | None, unit: str) -> Iterator[Progress]:
    """Show the progress of the block on standard error.

    A terminal gets a bar. Anything else gets a first line, a last line, and at most one line every five seconds.
    ``REPRISE_PROGRESS=off`` in the environment disables both.

    Args:
        description: What is done, such as ``Folding events``.
        total: Number of units, ``None`` if unknown.
        unit: Name of the units in the plural, such as ``events``.
    """
    is_off = os.environ.get("REPRISE_PROGRESS", "").lower() == "off"
    if is_off or sys.stderr.isatty():
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=Console(stderr=True), disable=is_off) as display:
            yield _Bar(display, display.add_task(description, total=total, unit=unit))
    else:
        lines = _Lines(description, total, unit)
        outcome = "stopped"
        try:
            yield lines
            outcome = "done"
        finally:
            lines.write(f", {outcome} in {time.monotonic() - lines.started:.1f} s")


class _Bar:
    def __init__(self, display: RichProgress, task: int) -> None:
        self._display = display
        self._task = task

    def advance(self, n: int = 1) -> None:
        self._display.advance(self._task, n)  # type: ignore[arg-type]


class _Lines:
    def __init__(self, description: str, total: int | None, unit: str) -> None:
        self._description = description
        self._of = "" if total is None else f" of {total:,}"
        self._unit = unit
        self._finished = 0
        self.started = self._written = time.monotonic()
        self.write("")

    def advance(self, n: int = 1) -> None:
        self._finished += n
        now = time.monotonic()
        if now - self._written >= _LINE_SECONDS:
            self._written = now
            self.write("")

    def write(self, ending: str) -> None:
        count = f"{self._finished:,}{self._of} {self._unit}"
        print(f"{self._description}: {count}{ending}", file=sys.stderr, flush=True)
