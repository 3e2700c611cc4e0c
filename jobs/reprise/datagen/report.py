"""The report: one self-contained page of plots and numbers that shows at a glance what was generated."""

from datetime import timedelta
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from reprise.datagen.statistics import GAP_DAYS, PROBABILITY_BINS, HistoryStatistics
from reprise.events import format_timestamp
from reprise.reports.figures import date_axis, figure
from reprise.reports.html import html_environment, number
from reprise.runtime.durations import format_duration
from reprise.shop import CATEGORIES, PURCHASE, SEGMENTS, VIEW
from reprise.shop.activity_clock import campaigns_between
from reprise.shop.config import DAY_US

_VIEWS = "#9DB4C8"
_PURCHASES = "#D1495B"
_DARK = "#2B3A4A"
_THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.0f}")
_WIDE = (11.0, 3.0)
_HALF = (5.4, 3.4)


def render_report(title: str, horizon: timedelta, statistics: HistoryStatistics) -> str:
    """Return the HTML page of a history's statistics; the horizon is that of its probabilities."""
    plots = (
        _events_over_time,
        _week,
        _popularity,
        _times_between_purchases,
        _customers,
        _conversion,
        _probability_distribution,
    )
    template = html_environment("reprise.datagen").get_template("report.html.j2")
    return template.render(
        title=title,
        plots={draw.__name__.removeprefix("_"): Markup(draw(statistics)) for draw in plots},  # noqa: S704 - SVG
        horizon=format_duration(horizon),
        cards=_cards(horizon, statistics),
        numbers=_numbers(horizon, statistics),
    )


def _cards(horizon: timedelta, statistics: HistoryStatistics) -> list[tuple[str, str]]:
    return [
        ("events", f"{statistics.events:,}"),
        ("users with an event", f"{int(statistics.users_active.sum()):,}"),
        ("products", f"{statistics.shop.config.products:,}"),
        ("purchases", f"{statistics.purchases:,}"),
        ("of them bought again", _percent(int(statistics.repeats.sum()), statistics.purchases)),
        (f"base rate, {format_duration(horizon)}", f"{statistics.base_rate:.1%}"),
        ("best possible ROC AUC", number(statistics.oracle_auc, ".3f")),
    ]


def _numbers(horizon: timedelta, statistics: HistoryStatistics) -> list[tuple[str, str]]:
    config = statistics.shop.config
    purchases = statistics.purchases
    sold = int((statistics.product_events[:, PURCHASE] > 0).sum())
    mean_after = statistics.probability_sum[PURCHASE] / max(purchases, 1)
    return [
        ("Start", format_timestamp(statistics.start_us)),
        ("Days with events", f"{int((statistics.daily.sum(axis=1) > 0).sum()):,}"),
        ("Seed", str(config.seed)),
        ("Customer base", f"{config.users:,} users in {len(SEGMENTS)} segments"),
        ("Catalogue", f"{config.products:,} products in {len(CATEGORIES)} categories, {sold:,} of them sold"),
        ("Views", f"{statistics.events - purchases:,}"),
        ("Purchases", f"{purchases:,} ({_percent(purchases, statistics.events)} of the events)"),
        ("Bought again by the same user", f"{int(statistics.repeats.sum()):,} purchases"),
        ("Revenue", f"{statistics.amount:,.2f}"),
        ("Mean amount of a purchase", f"{statistics.amount / max(purchases, 1):,.2f}"),
        ("Horizon of the label", format_duration(horizon)),
        ("Expected base rate, all events", f"{statistics.base_rate:.2%}"),
        ("Expected base rate, after a purchase", f"{mean_after:.2%}"),
        ("ROC AUC of the generator's own probability", number(statistics.oracle_auc)),
    ]


def _percent(part: int, whole: int) -> str:
    return f"{part / max(whole, 1):.0%}"


def _events_over_time(statistics: HistoryStatistics) -> str:
    with figure(size=_WIDE) as (axes, image):
        start_us, end_us = statistics.start_us, statistics.start_us + len(statistics.daily) * DAY_US
        for campaign, begins, ends in campaigns_between(start_us, end_us):
            first, last = max(begins, start_us) / DAY_US, min(ends, end_us) / DAY_US
            axes.axvspan(first, last, color="#F4E3C1", alpha=0.7, linewidth=0)
            name = campaign.name.replace(" ", "\n", 1)
            axes.text(first, 0.98, f" {name}", transform=axes.get_xaxis_transform(), va="top", fontsize=7)
        days = start_us / DAY_US + np.arange(len(statistics.daily) + 1)
        purchases, total = statistics.daily[:, PURCHASE], statistics.daily.sum(axis=1)
        axes.stairs(total, days, baseline=purchases, fill=True, color=_VIEWS, label="views")
        axes.stairs(purchases, days, fill=True, color=_PURCHASES, label="purchases")
        date_axis(axes)
        axes.yaxis.set_major_formatter(_THOUSANDS)
        axes.set(ylabel="events a day", ylim=(0, float(max(total.max(initial=1), 1)) * 1.25))
        axes.margins(x=0)
        axes.legend(loc="upper right", ncols=2, fontsize=8)
    return image.svg


def _week(statistics: HistoryStatistics) -> str:
    with figure(size=_HALF) as (axes, image):
        relative = statistics.weekly / max(statistics.weekly.mean(), 1e-9)
        mesh = axes.pcolormesh(
            np.arange(25), np.arange(8), relative, cmap="YlGnBu", vmin=0, edgecolors="white", linewidth=0.6
        )
        axes.set_yticks(np.arange(7) + 0.5, ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"])
        axes.set(xticks=np.arange(0, 25, 3), xlabel="hour of the day, UTC")
        axes.invert_yaxis()
        axes.grid(visible=False)
        bar = axes.figure.colorbar(mesh, ax=axes, pad=0.02, label="times the mean hour")
        bar.outline.set_visible(False)
    return image.svg


def _popularity(statistics: HistoryStatistics) -> str:
    with figure(size=_HALF) as (axes, image):
        for kind, colour, label in ((VIEW, _VIEWS, "views"), (PURCHASE, _PURCHASES, "purchases")):
            counts = np.sort(statistics.product_events[:, kind])[::-1]
            counts = counts[counts > 0]
            axes.loglog(np.arange(1, len(counts) + 1), counts, ".", color=colour, markersize=4, label=label)
        axes.set(xlabel="rank of the product", ylabel="events of the product")
        axes.legend(fontsize=8)
    return image.svg


def _times_between_purchases(statistics: HistoryStatistics) -> str:
    with figure(size=(11.0, 5.2), rows=3, columns=4) as (grid, image):
        for axes, category, gaps in zip(grid.flat, CATEGORIES, statistics.gaps, strict=True):
            axes.bar(np.arange(GAP_DAYS) + 0.5, gaps[:GAP_DAYS], width=1.0, color=_PURCHASES, alpha=0.85)
            axes.set_title(category.name, fontsize=9, loc="left", fontweight="bold")
            note = f"n = {gaps.sum():,}"
            if gaps.any():
                median = int(np.searchsorted(np.cumsum(gaps), gaps.sum() / 2))
                note += f"\nmedian {median if median < GAP_DAYS else f'{GAP_DAYS}+'} days"
            axes.text(0.98, 0.95, note, transform=axes.transAxes, ha="right", va="top", fontsize=7.5)
            axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
            axes.yaxis.set_major_formatter(_THOUSANDS)
            axes.set(xlim=(0, GAP_DAYS), ylim=(0, max(float(gaps[:GAP_DAYS].max()) * 1.1, 4.0)))
        for axes in grid[-1]:
            axes.set_xlabel("days")
    return image.svg


def _customers(statistics: HistoryStatistics) -> str:
    stages = {
        "customer base": len(statistics.users_active),
        "with an event": int(statistics.users_active.sum()),
        "bought something": int((statistics.user_purchases > 0).sum()),
        "bought a product again": int(statistics.users_repeating.sum()),
    }
    base = max(len(statistics.users_active), 1)
    with figure(size=_HALF) as (axes, image):
        colours = [_VIEWS, _VIEWS, _PURCHASES, _PURCHASES]
        bars = axes.barh(list(stages), list(stages.values()), color=colours)
        labels = [f"{count:,}  ({_percent(count, base)})" for count in stages.values()]
        axes.bar_label(bars, labels, padding=4, fontsize=8)
        _as_list(axes)
        axes.xaxis.set_major_formatter(_THOUSANDS)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set(xlim=(0, base * 1.3), xlabel="users")
    return image.svg


def _conversion(statistics: HistoryStatistics) -> str:
    category = statistics.shop.population.products.category
    views, purchases = (
        np.bincount(category, statistics.product_events[:, kind], len(CATEGORIES))
        for kind in (VIEW, PURCHASE)
    )
    again = 100 * statistics.repeats / np.maximum(views, 1)
    first = 100 * purchases / np.maximum(views, 1) - again
    with figure(size=_HALF) as (axes, image):
        names = [kind.name for kind in CATEGORIES]
        axes.barh(names, first, color=_DARK, alpha=0.75, label="first by its user")
        axes.barh(names, again, left=first, color=_PURCHASES, label="bought again")
        _as_list(axes)
        axes.set_xlabel("purchases per 100 views")
        axes.legend(fontsize=8, loc="lower right")
    return image.svg


def _probability_distribution(statistics: HistoryStatistics) -> str:
    bins = 40
    with figure(size=_HALF) as (axes, image):
        coarse = statistics.probability_histogram.reshape(bins, PROBABILITY_BINS // bins, 2).sum(axis=1)
        shares = coarse / np.maximum(coarse.sum(axis=0), 1)
        edges = np.linspace(0, 1, bins + 1)
        for kind, colour, label in ((VIEW, _VIEWS, "a view"), (PURCHASE, _PURCHASES, "a purchase")):
            axes.stairs(shares[:, kind], edges, color=colour, fill=True, alpha=0.55)
            axes.stairs(shares[:, kind], edges, color=colour, linewidth=1.2, label=f"after {label}")
        if statistics.events:
            axes.set_yscale("log")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        axes.set(
            xlabel="probability of a purchase of the pair within the horizon", ylabel="share of the events"
        )
        axes.legend(fontsize=8)
    return image.svg


def _as_list(axes: Any) -> None:
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, labelcolor=_DARK)
