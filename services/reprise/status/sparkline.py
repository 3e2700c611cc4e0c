"""A curve as SVG paths."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 240.0
HEIGHT = 48.0
_POINTS = 120
_MARGIN = 3.0


@dataclass(frozen=True)
class Sparkline:
    """A curve in a box of ``WIDTH`` × ``HEIGHT``.

    Attributes:
        line: Path of the line, with gaps at unknown values.
        area: Path of the area below it.
        last: Its end, ``None`` if the latest value is unknown.
        points: Number of its points.
    """

    line: str
    area: str
    last: tuple[float, float] | None
    points: int


def sparkline(values: Sequence[float | None], *, min_top: float = 0.0) -> Sparkline | None:
    """Return the curve of values, the oldest first; ``None`` if fewer than two are known.

    The lower edge is 0, and the upper edge the largest value or ``min_top``. Many values are averaged in groups. The
    latest value is at the right edge.
    """
    means = _group_means(values)
    known = [value for value in means if value is not None]
    if len(known) < 2:
        return None
    top = max(*known, min_top) or 1.0
    step = WIDTH / (len(means) - 1)
    placed = [
        None if value is None else (at * step, HEIGHT - _MARGIN - (HEIGHT - 2 * _MARGIN) * value / top)
        for at, value in enumerate(means)
    ]
    runs = _runs(placed)
    return Sparkline(
        line=" ".join(_path(run) for run in runs),
        area=" ".join(f"{_path(run)}V{HEIGHT:g}H{run[0][0]:.1f}Z" for run in runs),
        last=placed[-1],
        points=len(known),
    )


def _group_means(values: Sequence[float | None]) -> list[float | None]:
    size = math.ceil(len(values) / _POINTS) or 1
    means = []
    # Groups end with the latest value, so only the oldest may be incomplete.
    for end in range(len(values), 0, -size):
        known = [value for value in values[max(0, end - size) : end] if value is not None]
        means.append(sum(known) / len(known) if known else None)
    return means[::-1]


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
