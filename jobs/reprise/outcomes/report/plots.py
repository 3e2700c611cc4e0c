"""The plots of the report, each one SVG image."""

import base64
import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import matplotlib
import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from reprise.outcomes.comparison.metric_tests import Look, MetricResult
from reprise.outcomes.evaluation import Measured
from reprise.outcomes.features.feature_drift import FeatureDrift

_COLOURS = ("#475569", "#4338ca", "#d97706", "#059669", "#db2777", "#0ea5e9", "#7c3aed", "#65a30d")
_QUIET = "#94a3b8"
_STYLE: Any = {
    "svg.hashsalt": "reprise",
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _QUIET,
    "axes.labelcolor": "#334155",
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
_TITLES = {
    "brier": "Improvement of the Brier score",
    "conversion": "More users who bought",
}


def reliability_plot(arms: Sequence[tuple[str, Measured]]) -> str:
    """Return how often a purchase followed, by the probability that was given, arm by arm."""
    with _figure("Calibration: said against happened") as (axes, image):
        top = 0.05
        for at, (name, measured) in enumerate(arms):
            said = [point.mean_probability for point in measured.calibration]
            happened = [point.positive_share for point in measured.calibration]
            axes.plot(said, happened, "o-", ms=4, lw=1.6, color=_colour(at), label=name)
            top = max(top, *said, *happened)
        limit = min(1.0, 1.1 * top)
        axes.plot([0, limit], [0, limit], color=_QUIET, ls=":", label="perfect")
        axes.set(
            xlabel="mean probability given", ylabel="share that bought", xlim=(0, limit), ylim=(0, limit)
        )
        axes.legend(loc="upper left")
    return image()


def score_plot(arms: Sequence[tuple[str, Measured]]) -> str:
    """Return the distribution of the probabilities, arm by arm."""
    with _figure("Probabilities given") as (axes, image):
        for at, (name, measured) in enumerate(arms):
            counts = np.array(measured.histogram, dtype=np.float64)
            edges = np.linspace(0.0, 1.0, len(counts) + 1)
            axes.stairs(counts / counts.sum(), edges, color=_colour(at), lw=1.8, label=name)
        axes.set(xlabel="probability", ylabel="share of predictions", xlim=(0, 1))
        axes.legend(loc="upper right")
    return image()


def drift_plot(drift: FeatureDrift) -> str:
    """Return an input's distribution in training and lately, over the bins of training, what is missing at the right.

    The bins are drawn as wide as one another: they hold about as many rows each, and lie anywhere.
    """
    with _figure(f"{drift.feature}: {drift.index:.2f}", height=2.6) as (axes, image):
        bins = np.arange(len(drift.expected))
        for counts, colour, name, shift in (
            (drift.expected, _QUIET, "training", -0.2),
            (drift.found, _COLOURS[1], "lately", 0.2),
        ):
            axes.bar(bins + shift, np.array(counts) / max(1, sum(counts)), 0.4, color=colour, label=name)
        axes.set_xticks(*_bin_ticks(drift.edges, len(bins)))
        axes.set(ylabel="share")
        axes.legend(loc="best", fontsize=8.5)
    return image()


def _bin_ticks(edges: Sequence[float], bins: int) -> tuple[list[float], list[str]]:
    """Return where to write which edge: a few of them, and what the last bin holds."""
    shown = sorted(set(np.linspace(0, len(edges) - 1, min(5, len(edges))).astype(int).tolist()))
    places = [at - 0.5 for at in shown]
    return [*places, bins - 1.0], [*(f"{edges[at]:.3g}" for at in shown), "missing"]


def sequence_plot(result: MetricResult) -> str:
    """Return how the confidence sequence narrowed over time."""
    early = ", early read" if result.early else ""
    with _figure(f"{_TITLES[result.metric]}{early}", width=7.4, height=3.4) as (axes, image):
        axes.axhline(0.0, color="#334155", lw=1.0)
        axes.axhline(-result.margin, color="#dc2626", lw=1.0, ls="--", label="margin of not worse")
        axes.set(ylabel="candidate over baseline")
        known = [look for look in result.looks if not math.isnan(look.lower)]
        if known:
            _plot_looks(axes, known, result.margin)
        else:
            axes.set_xticks([])
            axes.text(0.5, 0.7, "too few users yet", ha="center", transform=axes.transAxes, color="#64748b")
        axes.legend(loc="upper right", ncols=3, fontsize=8.5)
    return image()


def _plot_looks(axes: Any, looks: Sequence[Look], margin: float) -> None:
    at = [datetime.fromtimestamp(look.at_us / 1e6, tz=UTC) for look in looks]
    lower, upper = [look.lower for look in looks], [look.upper for look in looks]
    axes.fill_between(at, lower, upper, color="#c7d2fe", label="confidence sequence")
    axes.plot(at, [look.difference for look in looks], color="#4338ca", lw=1.8, label="estimate")
    # the first looks are too wide to see the last ones beside them
    widest, middle = 4 * max(upper[-1] - lower[-1], margin), looks[-1].difference
    axes.set_ylim(min(middle - widest, -2 * margin), max(middle + widest, 2 * margin))
    around = max(timedelta(hours=1), (at[-1] - at[0]) / 50)
    axes.set_xlim(at[0] - around, at[-1] + around)
    locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


class _Image:
    def __init__(self, figure: Figure) -> None:
        self._figure = figure
        self._source = ""

    def render(self) -> None:
        out = io.BytesIO()
        self._figure.savefig(out, format="svg", metadata={"Date": None})
        self._source = "data:image/svg+xml;base64," + base64.b64encode(out.getvalue()).decode()

    def __call__(self) -> str:
        return self._source


@contextmanager
def _figure(title: str, width: float = 4.8, height: float = 3.9) -> Iterator[tuple[Any, _Image]]:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title)
        image = _Image(figure)
        yield axes, image
        image.render()


def _colour(at: int) -> str:
    return _COLOURS[at % len(_COLOURS)]
