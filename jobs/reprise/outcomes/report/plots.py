"""The plots of the report as SVG images in data URIs."""

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from reprise.outcomes.comparison.results import HorizonResult, MetricResult, SequencePoint
from reprise.outcomes.features.feature_drift import FeatureDrift
from reprise.reports.figures import GREY, calibration_axes, date_axis, figure, instant

_COLOURS = ("#475569", "#4338ca", "#d97706", "#059669", "#db2777", "#0ea5e9", "#7c3aed", "#65a30d")
_TITLES = {"brier": "Improvement of the Brier score", "conversion": "More users who bought"}


def reliability_plot(arms: Sequence[tuple[str, HorizonResult]]) -> str:
    """Return the reliability diagram of each arm."""
    with figure("Calibration") as (axes, image):
        top = 0.05
        for at, (name, result) in enumerate(arms):
            predicted = [point.mean_probability for point in result.calibration]
            observed = [point.positive_share for point in result.calibration]
            axes.plot(predicted, observed, "o-", ms=4, lw=1.6, color=_colour(at), label=name)
            top = max(top, *predicted, *observed)
        calibration_axes(axes, top)
    return image.data_uri


def score_plot(arms: Sequence[tuple[str, HorizonResult]]) -> str:
    """Return the distribution of each arm's probabilities."""
    with figure("Predicted probabilities") as (axes, image):
        for at, (name, result) in enumerate(arms):
            counts = np.array(result.histogram, dtype=np.float64)
            edges = np.linspace(0.0, 1.0, len(counts) + 1)
            axes.stairs(counts / counts.sum(), edges, color=_colour(at), lw=1.8, label=name)
        axes.set(xlabel="probability", ylabel="share of predictions", xlim=(0, 1))
        axes.legend(loc="upper right")
    return image.data_uri


def drift_plot(drift: FeatureDrift) -> str:
    """Return an input's distribution in training and lately over the bins of training, missing values at the right.

    All bins are drawn equally wide, because they are quantiles.
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
    shown = sorted(set(np.linspace(0, len(edges) - 1, min(5, len(edges))).astype(int).tolist()))
    places = [at - 0.5 for at in shown]
    return [*places, bins - 1.0], [*(f"{edges[at]:.3g}" for at in shown), "missing"]


def sequence_plot(result: MetricResult) -> str:
    """Return the confidence sequence over time."""
    early = ", early read" if result.early else ""
    with figure(f"{_TITLES[result.metric]}{early}", size=(7.4, 3.4)) as (axes, image):
        axes.axhline(0.0, color="#334155", lw=1.0)
        axes.axhline(-result.margin, color="#dc2626", lw=1.0, ls="--", label="margin of not worse")
        axes.set(ylabel="candidate over baseline")
        known = [point for point in result.looks if not math.isnan(point.lower)]
        if known:
            _plot_points(axes, known, result.margin)
        else:
            axes.set_xticks([])
            axes.text(
                0.5,
                0.7,
                "too few users or conversions yet",
                ha="center",
                transform=axes.transAxes,
                color="#64748b",
            )
        axes.legend(loc="upper right", ncols=3, fontsize=8.5)
    return image.data_uri


def _plot_points(axes: Any, points: Sequence[SequencePoint], margin: float) -> None:
    at = [instant(point.at_us) for point in points]
    lower, upper = [point.lower for point in points], [point.upper for point in points]
    axes.fill_between(at, lower, upper, color="#c7d2fe", label="confidence sequence")
    axes.plot(at, [point.difference for point in points], color="#4338ca", lw=1.8, label="estimate")
    # Scaled to the latest interval: the first ones are far wider.
    widest, middle = 4 * max(upper[-1] - lower[-1], margin), points[-1].difference
    axes.set_ylim(min(middle - widest, -2 * margin), max(middle + widest, 2 * margin))
    around = max(timedelta(hours=1), (at[-1] - at[0]) / 50)
    axes.set_xlim(at[0] - around, at[-1] + around)
    date_axis(axes, minticks=3, maxticks=7)


def _colour(at: int) -> str:
    return _COLOURS[at % len(_COLOURS)]
