"""A benchmark as a command of its own."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any


def run_alone(
    run: Callable[[float], Any], misses: Callable[[Any], list[str]], arguments: Sequence[str]
) -> int:
    """Run a benchmark at the scale of the arguments, print its numbers and what they miss; return an exit status."""
    os.environ.setdefault("REPRISE_PROGRESS", "off")
    numbers = run(float(arguments[0]) if arguments else 1.0)
    print(json.dumps(numbers, indent=2))
    for what in (missed := misses(numbers)):
        print(f"missed: {what}", file=sys.stderr)
    return 1 if missed else 0
