"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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


class Progress:
    """Work in progress; ``show`` gets the number of finished units."""

    def __init__(self, show: Callable[[int], None]) -> None:
        self._show = show
        self.finished = 0

    def advance(self, n: int = 1) -> None:
        """Add ``n`` finished units."""
        self.finished += n
        self._show(self.finished)


def progress_is_off() -> bool:
    """Return whether ``REPRISE_PROGRESS`` turns progress off."""
    return os.environ.get("REPRISE_PROGRESS", "").lower() == "off"


@contextmanager
def progress(description: str, total: int | None, unit: str) -> Iterator[Progress]:
    """Show the progress of the block on standard error, as a number of ``unit`` (in the plural), of ``total`` if known.

    A terminal gets a bar. Anything else gets a first line, a last line, and at most one line every five seconds.
    ``REPRISE_PROGRESS=off`` in the environment disables both.
    """
    is_off = progress_is_off()
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
            task = display.add_task(description, total=total, unit=unit)
            yield Progress(lambda finished: display.update(task, completed=finished))
        return
    of_total = "" if total is None else f" of {total:,}"
    started = written = time.monotonic()

    def write(finished: int, ending: str = "") -> None:
        print(f"{description}: {finished:,}{of_total} {unit}{ending}", file=sys.stderr, flush=True)

    def show(finished: int) -> None:
        nonlocal written
        if time.monotonic() - written >= _LINE_SECONDS:
            written = time.monotonic()
            write(finished)

    work = Progress(show)
    write(0)
    outcome = "stopped"
    try:
        yield work
        outcome = "done"
    finally:
        write(work.finished, f", {outcome} in {time.monotonic() - started:.1f} s")
