"""How long the steps of a run take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def timed(durations: dict[str, float], step: str) -> Iterator[None]:
    """Note under the step's name how many seconds the block took, if it ends well."""
    start = time.perf_counter()
    yield
    durations[step] = time.perf_counter() - start
