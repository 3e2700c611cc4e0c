"""A curve as the path of an SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 240.0
HEIGHT = 48.0
_POINTS = 120
_MARGIN = 3.0


@dataclass(frozen=True)
class Sparkline:
    """A curve, in a box of ``WIDTH`` × ``HEIGHT``.

    Attributes:
        line: Path of the line, with a gap where nothing was known.
        area: Path of what lies below it.
        last: Where it ends, ``None`` where nothing is known now.
        points: How many points it has.
        highest: The largest value, at the upper edge.
    """

    line: str
    area: str
    last: tuple[float, float] | None
    points: int
    highest: float


def sparkline(values: Sequence[float | None], *, at_least: float = 0.0) -> Sparkline | None:
    """Return the curve of some values, ``None`` where fewer than two are known.

    The lower edge is 0. More values than can be told apart are averaged. The newest is always at the right edge, and
    a history that has just begun fills as much of the box as it has points.

    Args:
        values: The oldest first.
        at_least: What the upper edge stands for where all values are below it, so that noise looks like noise.
    """
    thinned = _thinned(values)
    known = [value for value in thinned if value is not None]
    if len(known) < 2:
        return None
    highest = max(*known, at_least) or 1.0
    step = WIDTH / (len(thinned) - 1)
    placed = [
        None if value is None else (at * step, HEIGHT - _MARGIN - (HEIGHT - 2 * _MARGIN) * value / highest)
        for at, value in enumerate(thinned)
    ]
    runs = _runs(placed)
    return Sparkline(
        line=" ".join(_path(run) for run in runs),
        area=" ".join(f"{_path(run)}V{HEIGHT:g}H{run[0][0]:.1f}Z" for run in runs),
        last=placed[-1],
        points=len(known),
        highest=max(known),
    )


def _thinned(values: Sequence[float | None]) -> list[float | None]:
    size = math.ceil(len(values) / _POINTS) or 1
    # Groups end with the newest value, so that all of them but the oldest are whole.
    starts = range(len(values) % size - size if len(values) % size else 0, len(values), size)
    return [_mean([v for v in values[max(0, start) : start + size] if v is not None]) for start in starts]


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _runs(placed: list[tuple[float, float] | None]) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for point in placed:
        if point is not None:
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _path(run: list[tuple[float, float]]) -> str:
    # A single point is a line of no length, which a round cap shows as a dot.
    points = run if len(run) > 1 else [run[0], run[0]]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
