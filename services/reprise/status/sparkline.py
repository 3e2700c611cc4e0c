"""A curve as SVG paths."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

WIDTH = 240.0
HEIGHT = 48.0
_POINTS = 120
_MARGIN = 3.0


@dataclass(frozen=True)
class Sparkline:
    """Paths of a curve, with gaps at unknown values, and of the area below it in a box of ``WIDTH`` × ``HEIGHT``.

    ``last`` is its end, ``None`` if the latest value is unknown; ``points`` is the number of its points.
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
    runs = [[point for point in run if point] for known, run in groupby(placed, bool) if known]
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


def _path(run: list[tuple[float, float]]) -> str:
    # A single point is a line of no length, which a round cap shows as a dot.
    points = run if len(run) > 1 else [run[0], run[0]]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
