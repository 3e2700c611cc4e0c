"""Figures in the style of all reports, drawn by matplotlib without a display; the same data gives the same SVG."""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import matplotlib
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

GREY = "#94a3b8"
SLATE = "#334155"
INDIGO = "#4338ca"
PALE_INDIGO = "#c7d2fe"
AMBER = "#d97706"
GREEN = "#059669"
SKY = "#0ea5e9"

_STYLE: Any = {
    "svg.hashsalt": "reprise",
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": SLATE,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlecolor": "#0f172a",
    "axes.titlelocation": "left",
    "xtick.color": "#64748b",
    "ytick.color": "#64748b",
    "axes.grid": True,
    "grid.color": "#e2e8f0",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


@dataclass(slots=True)
class Image:
    """What was drawn, as an ``<svg>`` element; empty until the block that draws it has ended."""

    svg: str = ""

    @property
    def data_uri(self) -> str:
        """The source of an ``<img>`` element."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg.encode()).decode()


@contextmanager
def figure(
    title: str = "", *, size: tuple[float, float] = (4.8, 3.9), rows: int = 1, columns: int = 1
) -> Iterator[tuple[Any, Image]]:
    """Give the axes to draw on (an array if there are several) and the image; ``size`` is in inches."""
    with matplotlib.rc_context(_STYLE):
        drawn = Figure(figsize=size, layout="constrained")
        axes = drawn.subplots(rows, columns, sharex=True)
        if title:
            axes.set_title(title)
        image = Image()
        yield axes, image
        out = io.StringIO()
        drawn.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
        text = out.getvalue()
        image.svg = text[text.index("<svg") :]


def date_axis(axes: Any, **ticks: int) -> None:
    """Label the x axis with dates; ``ticks`` are ``minticks`` and ``maxticks``."""
    locator = AutoDateLocator(**ticks)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def calibration_axes(axes: Any, largest: float) -> None:
    """Finish a calibration plot: equal axes up to the largest probability, the diagonal, a legend."""
    limit = min(1.0, largest * 1.1)
    axes.plot([0, limit], [0, limit], color=GREY, ls=":", label="perfect")
    axes.set(xlabel="mean probability", ylabel="share that bought", xlim=(0, limit), ylim=(0, limit))
    axes.legend(loc="upper left")


def instant(timestamp_us: int) -> datetime:
    """Return the UTC instant of microseconds since 1970."""
    return datetime.fromtimestamp(timestamp_us / 1e6, tz=UTC)
