"""The plots of the report, each one SVG image."""

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from reprise.outcomes.comparison.metric_tests import Look, MetricResult
from reprise.outcomes.evaluation import Measured
from reprise.outcomes.features.feature_drift import FeatureDrift
from reprise.reports.figures import GREY, calibration_axes, date_axis, figure, instant

_COLOURS = ("#475569", "#4338ca", "#d97706", "#059669", "#db2777", "#0ea5e9", "#7c3aed", "#65a30d")
_TITLES = {
    "brier": "Improvement of the Brier score",
    "conversion": "More users who bought",
}


def reliability_plot(arms: Sequence[tuple[str, Measured]]) -> str:
    """Return how often a purchase followed, by the probability that was given, arm by arm."""
    with figure("Calibration: said against happened") as (axes, image):
        top = 0.05
        for at, (name, measured) in enumerate(arms):
            said = [point.mean_probability for point in measured.calibration]
            happened = [point.positive_share for point in measured.calibration]
            axes.plot(said, happened, "o-", ms=4, lw=1.6, color=_colour(at), label=name)
            top = max(top, *said, *happened)
        calibration_axes(axes, top)
    return image.data_uri


def score_plot(arms: Sequence[tuple[str, Measured]]) -> str:
    """Return the distribution of the probabilities, arm by arm."""
    with figure("Probabilities given") as (axes, image):
        for at, (name, measured) in enumerate(arms):
            counts = np.array(measured.histogram, dtype=np.float64)
            edges = np.linspace(0.0, 1.0, len(counts) + 1)
            axes.stairs(counts / counts.sum(), edges, color=_colour(at), lw=1.8, label=name)
        axes.set(xlabel="probability", ylabel="share of predictions", xlim=(0, 1))
        axes.legend(loc="upper right")
    return image.data_uri


def drift_plot(drift: FeatureDrift) -> str:
    """Return an input's distribution in training and lately, over the bins of training, what is missing at the right.

    The bins are drawn as wide as one another: they hold about as many rows each, and lie anywhere.
    """
    with figure(f"{drift.feature}: {drift.index:.2f}", size=(4.8, 2.6)) as (axes, image):
        bins = np.arange(len(drift.expected))
        for counts, colour, name, shift in (
            (drift.expected, GREY, "training", -0.2),
            (drift.found, _COLOURS[1], "lately", 0.2),
        ):
            axes.bar(bins + shift, np.array(counts) / max(1, sum(counts)), 0.4, color=colour, label=name)
        axes.set_xticks(*_bin_ticks(drift.edges, len(bins)))
        axes.set(ylabel="share")
        axes.legend(loc="best", fontsize=8.5)
    return image.data_uri


def _bin_ticks(edges: Sequence[float], bins: int) -> tuple[list[float], list[str]]:
    """Return where to write which edge: a few of them, and what the last bin holds."""
    shown = sorted(set(np.linspace(0, len(edges) - 1, min(5, len(edges))).astype(int).tolist()))
    places = [at - 0.5 for at in shown]
    return [*places, bins - 1.0], [*(f"{edges[at]:.3g}" for at in shown), "missing"]


def sequence_plot(result: MetricResult) -> str:
    """Return how the confidence sequence narrowed over time."""
    early = ", early read" if result.early else ""
    with figure(f"{_TITLES[result.metric]}{early}", size=(7.4, 3.4)) as (axes, image):
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
    return image.data_uri


def _plot_looks(axes: Any, looks: Sequence[Look], margin: float) -> None:
    at = [instant(look.at_us) for look in looks]
    lower, upper = [look.lower for look in looks], [look.upper for look in looks]
    axes.fill_between(at, lower, upper, color="#c7d2fe", label="confidence sequence")
    axes.plot(at, [look.difference for look in looks], color="#4338ca", lw=1.8, label="estimate")
    # the first looks are too wide to see the last ones beside them
    widest, middle = 4 * max(upper[-1] - lower[-1], margin), looks[-1].difference
    axes.set_ylim(min(middle - widest, -2 * margin), max(middle + widest, 2 * margin))
    around = max(timedelta(hours=1), (at[-1] - at[0]) / 50)
    axes.set_xlim(at[0] - around, at[-1] + around)
    date_axis(axes, minticks=3, maxticks=7)


def _colour(at: int) -> str:
    return _COLOURS[at % len(_COLOURS)]
