"""The report: one self-contained page that shows at a glance what was generated."""

from markupsafe import Markup

from reprise.datagen.history_options import HistoryOptions
from reprise.datagen.plots import PLOTS
from reprise.datagen.statistics import HistoryStatistics
from reprise.events import format_timestamp
from reprise.reports.html import html_environment, number
from reprise.runtime.durations import format_duration
from reprise.shop import CATEGORIES, PURCHASE, SEGMENTS


def render_report(options: HistoryOptions, statistics: HistoryStatistics) -> str:
    """Return the HTML page of a history's statistics."""
    template = html_environment("reprise.datagen").get_template("report.html.j2")
    return template.render(
        title=options.out.name,
        plots={name: Markup(draw(statistics)) for name, draw in PLOTS.items()},
        horizon=format_duration(options.horizon),
        cards=_cards(options, statistics),
        numbers=_numbers(options, statistics),
    )


def _cards(options: HistoryOptions, statistics: HistoryStatistics) -> list[tuple[str, str]]:
    return [
        ("events", f"{statistics.events:,}"),
        ("users with an event", f"{int(statistics.users_active.sum()):,}"),
        ("products", f"{statistics.shop.config.products:,}"),
        ("purchases", f"{statistics.purchases:,}"),
        ("of them bought again", _percent(int(statistics.repeats.sum()), statistics.purchases)),
        (f"base rate, {format_duration(options.horizon)}", f"{statistics.base_rate:.1%}"),
        ("best possible ROC AUC", number(statistics.oracle_auc, ".3f")),
    ]


def _numbers(options: HistoryOptions, statistics: HistoryStatistics) -> list[tuple[str, str]]:
    config = statistics.shop.config
    purchases = statistics.purchases
    views = statistics.events - purchases
    sold = int((statistics.product_events[:, PURCHASE] > 0).sum())
    mean_after = statistics.probability_sum[PURCHASE] / max(purchases, 1)
    return [
        ("Start", format_timestamp(options.start_us)),
        ("Days with events", f"{int((statistics.daily.sum(axis=1) > 0).sum()):,}"),
        ("Seed", str(config.seed)),
        ("Customer base", f"{config.users:,} users in {len(SEGMENTS)} segments"),
        ("Catalogue", f"{config.products:,} products in {len(CATEGORIES)} categories, {sold:,} of them sold"),
        ("Views", f"{views:,}"),
        ("Purchases", f"{purchases:,} ({_percent(purchases, statistics.events)} of the events)"),
        ("Bought again by the same user", f"{int(statistics.repeats.sum()):,} purchases"),
        ("Revenue", f"{statistics.amount:,.2f}"),
        ("Mean amount of a purchase", f"{statistics.amount / max(purchases, 1):,.2f}"),
        ("Horizon of the label", format_duration(options.horizon)),
        ("Expected base rate, all events", f"{statistics.base_rate:.2%}"),
        ("Expected base rate, after a purchase", f"{mean_after:.2%}"),
        ("ROC AUC of the generator's own probability", number(statistics.oracle_auc)),
    ]


def _percent(part: int, whole: int) -> str:
    return f"{part / max(whole, 1):.0%}"
