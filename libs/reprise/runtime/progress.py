"""How far long work has come: a bar on a terminal, plain lines elsewhere."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

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

_SECONDS_BETWEEN_LINES = 5.0


class Progress(Protocol):
    """Work that is under way."""

    def advance(self, n: int = 1) -> None:
        """Say that ``n`` more units are done."""


@contextmanager
def progress(description: str, total: int | None, unit: str) -> Iterator[Progress]:
    """Show how far the work inside the block has come, on standard error.

    A terminal gets a bar; anything else gets a first line, a last line, and between them at most one line
    every five seconds. ``REPRISE_PROGRESS=off`` in the environment silences both.

    Args:
        description: What is being done, such as ``Folding events``.
        total: How many units there are, where that is known.
        unit: What is counted, in the plural, such as ``events``.
    """
    if os.environ.get("REPRISE_PROGRESS", "").lower() == "off":
        yield _Silent()
    elif sys.stderr.isatty():
        with _bar(description, total, unit) as bar:
            yield bar
    else:
        lines = _Lines(sys.stderr, description, total, unit)
        try:
            yield lines
        except BaseException:
            lines.close("stopped")
            raise
        lines.close("done")


class _Silent:
    def advance(self, n: int = 1) -> None:
        """Say nothing."""


class _Bar:
    def __init__(self, display: RichProgress, task: int) -> None:
        self._display = display
        self._task = task

    def advance(self, n: int = 1) -> None:
        self._display.advance(self._task, n)  # type: ignore[arg-type]


@contextmanager
def _bar(description: str, total: int | None, unit: str) -> Iterator[_Bar]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as display:
        yield _Bar(display, display.add_task(description, total=total, unit=unit))


class _Lines:
    def __init__(self, out: TextIO, description: str, total: int | None, unit: str) -> None:
        self._out = out
        self._description = description
        self._total = total
        self._unit = unit
        self._done = 0
        self._start = time.monotonic()
        self._spoke = self._start
        self._write("")

    def advance(self, n: int = 1) -> None:
        self._done += n
        now = time.monotonic()
        if now - self._spoke >= _SECONDS_BETWEEN_LINES:
            self._spoke = now
            self._write("")

    def close(self, outcome: str) -> None:
        self._write(f", {outcome} in {time.monotonic() - self._start:.1f} s")

    def _write(self, ending: str) -> None:
        count = f"{self._done:,}" if self._total is None else f"{self._done:,} of {self._total:,}"
        print(f"{self._description}: {count} {self._unit}{ending}", file=self._out, flush=True)
