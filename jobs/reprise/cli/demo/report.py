"""The report that the demo ends with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from reprise.cli.demo.ab_test import result_lines
from reprise.features.parity.comparison import Comparison


@dataclass(frozen=True)
class DemoResult:
    """All results of the demo."""

    evaluation: Mapping[str, Any]
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
        overall = self.evaluation["overall"]
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
    overall = result.evaluation["overall"]
    baselines = ", ".join(f"{name} {m['roc_auc']:.3f}" for name, m in overall["baselines"].items())
    oracle = f", oracle {overall['oracle']['roc_auc']:.3f}" if overall.get("oracle") else ""
    table.add_row(
        "model",
        f"AUC {overall['model']['roc_auc']:.3f} on {overall['rows']:,} held-out rows of the latest time"
        f" (baselines: {baselines}{oracle})",
    )
    table.add_row("", _gap(overall))
    errors = (
        f"{name} {report['model']['calibration_error']:.3f}"
        for name, report in result.evaluation["questions"].items()
    )
    table.add_row("calibration", f"mean gap between predicted and observed rate: {'; '.join(errors)}")
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
    console.print(
        f"POST {addresses['predictor']}/predict  {orjson.dumps(result.request).decode()}", highlight=False
    )
    console.print(orjson.dumps(result.response, option=orjson.OPT_INDENT_2).decode(), highlight=False)
    _print_buy_again(console, addresses["predictor"], result.buy_again)
    console.print("\n[bold]Where to look next[/bold]")
    console.print(f"  {'API':12} {addresses['predictor']}/docs", highlight=False)
    for name, path in files.items():
        console.print(f"  {name:12} {path}", highlight=False, soft_wrap=True)
    for failure in result.failures:
        console.print(f"[bold red]failed:[/bold red] {failure}", highlight=False)


def _gap(overall: Mapping[str, Any]) -> str:
    share = overall.get("share_of_achievable")
    if share is None or not overall.get("oracle"):
        return "no truth file, so no oracle"
    gap = overall["oracle"]["roc_auc"] - overall["model"]["roc_auc"]
    known = "given hidden constants, last purchase and event type"
    return f"{gap:.3f} below the oracle ({known}): {share:.0%} of the achievable AUC above recency"


def _print_buy_again(console: Console, predictor: str, answer: Mapping[str, Any]) -> None:
    console.print("\n[bold]What to show a real user[/bold]")
    console.print(f"GET {predictor}/users/{answer['user_id']}/buy-again?limit=5", highlight=False)
    for each in answer["results"]:
        days, last = each["due_in_days"], each["last_purchase"][:10]
        due = "unknown" if days is None else f"in {days:.0f} days" if days >= 0 else f"{-days:.0f} days ago"
        line = f"{each['probability']:6.1%}  {each['product_id']:12} bought {last}, due {due}"
        console.print(f"  {line}", highlight=False)
