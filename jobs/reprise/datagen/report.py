"""The report: one self-contained page that shows at a glance what was generated."""

import math
from pathlib import Path

from markupsafe import Markup

from reprise.datagen.history_options import GenerationPlan
from reprise.datagen.plots import PLOTS
from reprise.datagen.statistics import HistoryStatistics
from reprise.events import format_timestamp
from reprise.reports.html import html_environment
from reprise.runtime.durations import format_duration
from reprise.shop import CATEGORIES, PURCHASE, SEGMENTS


def write_report(path: Path, plan: GenerationPlan, statistics: HistoryStatistics) -> None:
    """Write the page of a history's statistics."""
    page = (
        html_environment("reprise.datagen")
        .get_template("report.html.j2")
        .render(
            title=plan.out.name,
            plots={name: Markup(draw(statistics)) for name, draw in PLOTS.items()},
            horizon=format_duration(plan.horizon),
            cards=_cards(plan, statistics),
            numbers=_numbers(plan, statistics),
        )
    )
    path.write_text(page, encoding="utf-8")


def _cards(plan: GenerationPlan, statistics: HistoryStatistics) -> list[tuple[str, str]]:
    return [
        ("events", f"{statistics.events:,}"),
        ("users with an event", f"{int(statistics.users_seen.sum()):,}"),
        ("products", f"{statistics.shop.config.products:,}"),
        ("purchases", f"{statistics.purchases:,}"),
        ("of them bought again", _percent(int(statistics.repeats.sum()), statistics.purchases)),
        (f"base rate, {format_duration(plan.horizon)}", f"{statistics.base_rate:.1%}"),
        ("best possible ROC AUC", _auc(statistics, 3)),
    ]


def _numbers(plan: GenerationPlan, statistics: HistoryStatistics) -> list[tuple[str, str]]:
    config = statistics.shop.config
    purchases = statistics.purchases
    views = statistics.events - purchases
    sold = int((statistics.product_events[:, PURCHASE] > 0).sum())
    mean_after = statistics.likely_sum[PURCHASE] / max(purchases, 1)
    return [
        ("Start", format_timestamp(plan.start_us)),
        ("Days with events", f"{int((statistics.daily.sum(axis=1) > 0).sum()):,}"),
        ("Seed", str(config.seed)),
        ("Customer base", f"{config.users:,} users in {len(SEGMENTS)} segments"),
        ("Catalogue", f"{config.products:,} products in {len(CATEGORIES)} categories, {sold:,} of them sold"),
        ("Views", f"{views:,}"),
        ("Purchases", f"{purchases:,} ({_percent(purchases, statistics.events)} of the events)"),
        ("Bought again by the same user", f"{int(statistics.repeats.sum()):,} purchases"),
        ("Revenue", f"{statistics.amount:,.2f}"),
        ("Mean amount of a purchase", f"{statistics.amount / max(purchases, 1):,.2f}"),
        ("Horizon of the label", format_duration(plan.horizon)),
        ("Expected base rate, all events", f"{statistics.base_rate:.2%}"),
        ("Expected base rate, after a purchase", f"{mean_after:.2%}"),
        ("ROC AUC of the generator's own probability", _auc(statistics, 4)),
    ]


def _auc(statistics: HistoryStatistics, digits: int) -> str:
    return "none" if math.isnan(statistics.oracle_auc) else f"{statistics.oracle_auc:.{digits}f}"


def _percent(part: int, whole: int) -> str:
    return f"{part / max(whole, 1):.0%}"
