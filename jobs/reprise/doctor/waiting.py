"""What is being waited for: a line that changes on a terminal, plain lines elsewhere; on standard error."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

Tell = Callable[[str, str], None]
"""Takes a check's name and what it waits for."""


@contextmanager
def waiting() -> Iterator[Tell]:
    """Give what tells of waiting; ``REPRISE_PROGRESS=off`` silences it."""
    if os.environ.get("REPRISE_PROGRESS", "").lower() == "off":
        yield lambda _name, _text: None
    elif sys.stderr.isatty():
        with Console(stderr=True).status("") as status:
            yield lambda name, text: status.update(_line(name, text))
    else:
        yield lambda name, text: print(_line(name, text), file=sys.stderr, flush=True)


def _line(name: str, text: str) -> str:
    return f"{name}: {text}" if text else f"checking {name}"
