"""The plots of the report, each as one SVG."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from reprise.datagen.statistics import GAP_DAYS, PROBABILITY_BINS, HistoryStatistics
from reprise.reports.figures import date_axis, figure
from reprise.shop import CATEGORIES, PURCHASE, VIEW
from reprise.shop.activity_clock import campaigns_between
from reprise.shop.config import DAY_US

_VIEWS = "#9DB4C8"
_PURCHASES = "#D1495B"
_DARK = "#2B3A4A"
_THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.0f}")
_WIDE = (11.0, 3.0)
_HALF = (5.4, 3.4)


def events_over_time(statistics: HistoryStatistics) -> str:
    """Return views and purchases per day, with the campaigns shaded."""
    with figure(size=_WIDE) as (axes, image):
        days = statistics.start_us / DAY_US + np.arange(len(statistics.daily) + 1)
        end_us = statistics.start_us + len(statistics.daily) * DAY_US
        for campaign, begins, ends in campaigns_between(statistics.start_us, end_us):
            shown = [max(begins, statistics.start_us), min(ends, end_us)]
            first, last = (instant / DAY_US for instant in shown)
            axes.axvspan(first, last, color="#F4E3C1", alpha=0.7, linewidth=0)
            name = campaign.name.replace(" ", "\n", 1)
            axes.text(first, 0.98, f" {name}", transform=axes.get_xaxis_transform(), va="top", fontsize=7)
        purchases = statistics.daily[:, PURCHASE]
        total = purchases + statistics.daily[:, VIEW]
        axes.stairs(total, days, baseline=purchases, fill=True, color=_VIEWS, label="views")
        axes.stairs(purchases, days, fill=True, color=_PURCHASES, label="purchases")
        date_axis(axes)
        axes.yaxis.set_major_formatter(_THOUSANDS)
        axes.set_ylabel("events a day")
        axes.set_ylim(0, float(max(total.max(initial=1), 1)) * 1.25)
        axes.margins(x=0)
        axes.legend(loc="upper right", ncols=2, fontsize=8)
    return image.svg


def week(statistics: HistoryStatistics) -> str:
    """Return a heat map of events by weekday and hour, relative to the mean hour."""
    with figure(size=_HALF) as (axes, image):
        relative = statistics.weekly / max(statistics.weekly.mean(), 1e-9)
        mesh = axes.pcolormesh(
            np.arange(25), np.arange(8), relative, cmap="YlGnBu", vmin=0, edgecolors="white", linewidth=0.6
        )
        axes.set_yticks(np.arange(7) + 0.5, ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"])
        axes.set_xticks(np.arange(0, 25, 3))
        axes.set_xlabel("hour of the day, UTC")
        axes.invert_yaxis()
        axes.grid(visible=False)
        bar = axes.figure.colorbar(mesh, ax=axes, pad=0.02)
        bar.set_label("times the mean hour")
        bar.outline.set_visible(False)
    return image.svg


def popularity(statistics: HistoryStatistics) -> str:
    """Return views and purchases per product by rank, both axes logarithmic."""
    with figure(size=_HALF) as (axes, image):
        for kind, colour, label in ((VIEW, _VIEWS, "views"), (PURCHASE, _PURCHASES, "purchases")):
            counts = np.sort(statistics.product_events[:, kind])[::-1]
            counts = counts[counts > 0]
            rank = np.arange(1, len(counts) + 1)
            axes.loglog(rank, counts, ".", color=colour, markersize=4, label=label)
        axes.set_xlabel("rank of the product")
        axes.set_ylabel("events of the product")
        axes.legend(fontsize=8)
    return image.svg


def times_between_purchases(statistics: HistoryStatistics) -> str:
    """Return, per category, a histogram of the days between two purchases of a product by a user."""
    with figure(size=(11.0, 5.2), rows=3, columns=4) as (grid, image):
        for axes, category, gaps in zip(grid.flat, CATEGORIES, statistics.gaps, strict=True):
            count = int(gaps.sum())
            axes.bar(np.arange(GAP_DAYS) + 0.5, gaps[:GAP_DAYS], width=1.0, color=_PURCHASES, alpha=0.85)
            axes.set_title(category.name, fontsize=9, loc="left", fontweight="bold")
            note = f"n = {count:,}"
            if count:
                note += f"\nmedian {_median_gap(gaps)} days"
            axes.text(0.98, 0.95, note, transform=axes.transAxes, ha="right", va="top", fontsize=7.5)
            axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
            axes.yaxis.set_major_formatter(_THOUSANDS)
            axes.set_xlim(0, GAP_DAYS)
            axes.set_ylim(0, max(float(gaps[:GAP_DAYS].max()) * 1.1, 4.0))
        for axes in grid[-1]:
            axes.set_xlabel("days")
    return image.svg


def customers(statistics: HistoryStatistics) -> str:
    """Return the funnel of users, from the whole base to those who bought a product twice."""
    stages = (
        ("customer base", len(statistics.users_active)),
        ("with an event", int(statistics.users_active.sum())),
        ("bought something", int((statistics.user_purchases > 0).sum())),
        ("bought a product again", int(statistics.users_repeating.sum())),
    )
    with figure(size=_HALF) as (axes, image):
        counts = [count for _, count in stages]
        bars = axes.barh([name for name, _ in stages], counts, color=[_VIEWS, _VIEWS, _PURCHASES, _PURCHASES])
        labels = [f"{count:,}  ({count / max(counts[0], 1):.0%})" for count in counts]
        axes.bar_label(bars, labels, padding=4, fontsize=8)
        _as_list(axes)
        axes.set_xlim(0, max(counts[0], 1) * 1.3)
        axes.xaxis.set_major_formatter(_THOUSANDS)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlabel("users")
    return image.svg


def conversion(statistics: HistoryStatistics) -> str:
    """Return purchases per hundred views, per category, first and repeated ones apart."""
    category = statistics.shop.population.products.category
    views = np.bincount(category, statistics.product_events[:, VIEW], len(CATEGORIES))
    purchases = np.bincount(category, statistics.product_events[:, PURCHASE], len(CATEGORIES))
    again = 100 * statistics.repeats / np.maximum(views, 1)
    first = 100 * (purchases - statistics.repeats) / np.maximum(views, 1)
    with figure(size=_HALF) as (axes, image):
        names = [kind.name for kind in CATEGORIES]
        axes.barh(names, first, color=_DARK, alpha=0.75, label="first by its user")
        axes.barh(names, again, left=first, color=_PURCHASES, label="bought again")
        _as_list(axes)
        axes.set_xlabel("purchases per 100 views")
        axes.legend(fontsize=8, loc="lower right")
    return image.svg


def probability_distribution(statistics: HistoryStatistics) -> str:
    """Return the distribution of the generator's probabilities, after views and after purchases."""
    bins = 40
    with figure(size=_HALF) as (axes, image):
        coarse = statistics.probability_histogram.reshape(bins, PROBABILITY_BINS // bins, 2).sum(axis=1)
        edges = np.linspace(0, 1, bins + 1)
        for kind, colour, label in (
            (VIEW, _VIEWS, "after a view"),
            (PURCHASE, _PURCHASES, "after a purchase"),
        ):
            share = coarse[:, kind] / max(coarse[:, kind].sum(), 1)
            axes.stairs(share, edges, color=colour, fill=True, alpha=0.55)
            axes.stairs(share, edges, color=colour, linewidth=1.2, label=label)
        if statistics.events:
            axes.set_yscale("log")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        axes.set_xlabel("probability of a purchase of the pair within the horizon")
        axes.set_ylabel("share of the events")
        axes.legend(fontsize=8)
    return image.svg


PLOTS: dict[str, Callable[[HistoryStatistics], str]] = {
    "events_over_time": events_over_time,
    "week": week,
    "popularity": popularity,
    "times_between_purchases": times_between_purchases,
    "customers": customers,
    "conversion": conversion,
    "probability_distribution": probability_distribution,
}
"""The plots by the names that the page's template uses."""


def _median_gap(gaps: np.ndarray[Any, np.dtype[np.int64]]) -> str:
    day = int(np.searchsorted(np.cumsum(gaps), gaps.sum() / 2))
    return f"{GAP_DAYS}+" if day >= GAP_DAYS else str(day)


def _as_list(axes: Axes) -> None:
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, labelcolor=_DARK)
