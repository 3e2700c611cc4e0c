"""The report that the demo ends with."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from reprise.cli.demo.ab_test import result_lines
from reprise.features.parity.comparison import Comparison
from reprise.reports.html import number, percent

_REORDERED = 5


@dataclass(frozen=True)
class DemoResult:
    """All results of the demo."""

    metadata: Mapping[str, Any]  # ``metadata.json`` of the model
    demand: Mapping[str, Any]
    retention: Mapping[str, Any] | None
    comparisons: tuple[Comparison, ...]
    history_events: int
    streamed_events: int
    folded: int
    freshness: str
    predictions: str
    request: Mapping[str, Any]
    response: Mapping[str, Any]
    buy_again: Mapping[str, Any]
    ab_test: Mapping[str, Any] | None
    seconds: float

    @property
    def failures(self) -> list[str]:
        """Each check that failed, as a sentence."""
        overall = self.metadata["evaluation"]["overall"]
        model = overall["model"]["roc_auc"]
        found = [
            f"the model's AUC {model:.3f} does not beat {name}'s {measures['roc_auc']:.3f}"
            for name, measures in overall["baselines"].items()
            if model <= measures["roc_auc"]
        ]
        found += [
            f"{len(c.mismatches)} of {c.compared:,} values differ between {c.executors}, first: {c.mismatches[0]}"
            for c in self.comparisons
            if c.mismatches
        ]
        if self.folded != self.streamed_events:
            found.append(f"{self.streamed_events:,} events were streamed, but {self.folded:,} were folded")
        return found


def print_report(
    console: Console, result: DemoResult, addresses: Mapping[str, str], files: Mapping[str, Path]
) -> None:
    """Print the results and where to look next."""
    table = Table(
        show_header=False, box=None, padding=(0, 2), title="Reprise, end to end", title_justify="left"
    )
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    evaluation, overall = result.metadata["evaluation"], result.metadata["evaluation"]["overall"]
    baselines = ", ".join(f"{name} {m['roc_auc']:.3f}" for name, m in overall["baselines"].items())
    oracle = f", oracle {overall['oracle']['roc_auc']:.3f}" if overall.get("oracle") else ""
    table.add_row(
        "model",
        f"AUC {overall['model']['roc_auc']:.3f} on {overall['rows']:,} held-out rows of the latest time"
        f" (baselines: {baselines}{oracle})",
    )
    table.add_row("", _gap(overall))
    table.add_row("calibration", _calibration(evaluation))
    for line in _backtest_lines(result.metadata):
        table.add_row("backtest", line)
    for comparison in result.comparisons:
        table.add_row(
            "parity",
            f"{comparison.executors}: {comparison.compared:,} comparisons, {len(comparison.mismatches):,} mismatches"
            f" (worst error {comparison.worst:.0e} of the feature's scale)",
        )
    table.add_row(
        "events",
        f"{result.history_events:,} of history, {result.streamed_events:,} streamed live, {result.folded:,} folded",
    )
    table.add_row("freshness", f"event → readable: {result.freshness}")
    table.add_row("predictions", f"{result.predictions} over HTTP, one at a time")
    skipped = ["skipped: a shared Kafka holds other predictions as well"]
    for line in skipped if result.ab_test is None else result_lines(result.ab_test):
        table.add_row("A/B test", line)
    table.add_row("took", f"{result.seconds:.0f} s")
    console.print()
    console.print(table)
    console.print("\n[bold]A real prediction[/bold]")
    console.print(f"POST {addresses['predictor']}/predict  {orjson.dumps(result.request).decode()}")
    console.print(orjson.dumps(result.response, option=orjson.OPT_INDENT_2).decode())
    _print_buy_again(console, addresses["predictor"], result.buy_again)
    _print_reorder(console, result.demand)
    console.print("\n[bold]How good these answers were[/bold]")
    for name, line in (
        ("buy again", _ranking_line(result.metadata["buy_again"])),
        ("demand", _demand_line(result.demand)),
        ("retention", _retention_line(result.retention)),
    ):
        console.print(f"  {name:12} {line}")
    console.print("\n[bold]Where to look next[/bold]")
    console.print(f"  {'API':12} {addresses['predictor']}/docs")
    for name, path in files.items():
        console.print(f"  {name:12} {path}", soft_wrap=True)
    for failure in result.failures:
        console.print(f"[bold red]failed:[/bold red] {failure}")


def _gap(overall: Mapping[str, Any]) -> str:
    share = overall.get("share_of_achievable")
    if share is None or not overall.get("oracle"):
        return "no truth file, so no oracle"
    gap = overall["oracle"]["roc_auc"] - overall["model"]["roc_auc"]
    known = "given hidden constants, last purchase and event type"
    return f"{gap:.3f} below the oracle ({known}): {share:.0%} of the oracle's AUC above recency"


def _calibration(evaluation: Mapping[str, Any]) -> str:
    errors = (
        f"{name} {report['model']['calibration_error']:.3f}"
        for name, report in evaluation["questions"].items()
    )
    return f"mean gap between predicted and observed rate: {'; '.join(errors)}"


def _backtest_lines(metadata: Mapping[str, Any]) -> list[str]:
    """Return what a model as of an earlier date was worth in its first label window in service."""
    if not metadata["backtests"]:
        return [f"none: {metadata['backtests_ended']}"]
    test = metadata["backtests"][0]
    overall, repeat = test["evaluation"]["overall"], test["evaluation"]["repeat_candidates"]
    auc, before = overall["model"]["roc_auc"], _auc(repeat and repeat["model"]["roc_auc"])
    line = f"a model as of {test['start'][:10]}, judged until {test['end'][:10]}: AUC {auc:.3f}, bought before {before}"
    if overall.get("oracle"):
        oracle = overall["oracle"]["roc_auc"]
        line += f"; oracle {oracle:.3f}, (AUC − 0.5) is {(auc - 0.5) / (oracle - 0.5):.1%} of the oracle's"
    return [line, _calibration(test["evaluation"])]


def _print_buy_again(console: Console, predictor: str, answer: Mapping[str, Any]) -> None:
    console.print("\n[bold]What to show a real user[/bold]")
    console.print(f"GET {predictor}/users/{answer['user_id']}/buy-again?limit=5")
    for each in answer["results"]:
        days, last = each["due_in_days"], each["last_purchase"][:10]
        due = "unknown" if days is None else f"in {days:.0f} days" if days >= 0 else f"{-days:.0f} days ago"
        line = f"{each['probability']:6.1%}  {each['product_id']:12} bought {last}, due {due}"
        console.print(f"  {line}")


def _print_reorder(console: Console, demand: Mapping[str, Any]) -> None:
    until = datetime.fromisoformat(demand["at"]) + timedelta(seconds=demand["horizon_seconds"])
    console.print(f"\n[bold]What to reorder first, until {until:%Y-%m-%d}[/bold]")
    for row in demand["by_revenue"][:_REORDERED]:
        line = f"{row['product_id']:12} stock up to {number(row['units_high'], ',.0f'):>5}, expected {row['units']:.0f}"
        console.print(f"  {line}, revenue {row['revenue']:,.0f}")


def _ranking_line(ranking: Mapping[str, Any] | None) -> str:
    if ranking is None:
        return "no user of the evaluation bought anything again"
    found = {name: metrics["NDCG@10"]["value"] for name, metrics in ranking["rankings"].items()}
    model = found.pop("model")
    best = max(found, key=found.__getitem__)
    others = f"last purchase {found['last purchase']:.3f}, best baseline, {best}, {found[best]:.3f}"
    return f"NDCG@10 {model:.3f} for {ranking['users']:,} users ({others})"


def _demand_line(demand: Mapping[str, Any]) -> str:
    if not demand["backtests"]:
        return "the history is too short for a backtest"
    test = demand["backtests"][-1]
    others = (
        f"seasonal-naive {percent(test['seasonal_naive'])}, moving average {percent(test['moving_average'])}"
    )
    covered = f"{percent(test['covered'])} of the products in the interval"
    note = "; the model has learnt from it" if test["in_sample"] else ""
    return f"WAPE from {test['at'][:10]} {percent(test['wape'])} ({others}), {covered}{note}"


def _retention_line(retention: Mapping[str, Any] | None) -> str:
    if retention is None:
        return "too few users for a model of users"
    if not retention["backtests"]:
        return "the history is too short for a backtest"
    test = retention["backtests"][-1]
    ranked = f"ROC AUC {_auc(test['roc_auc'])} (by recency {_auc(test['recency_roc_auc'])})"
    bought = f"{test['expected_buyers']:,.0f} of {test['users']:,} users expected to buy, {test['buyers']:,} bought"
    note = "; the model has learnt from it" if test["in_sample"] else ""
    return f"from {test['at'][:10]} {ranked}, {bought}{note}"


def _auc(value: float | None) -> str:
    return number(value, ".3f")
