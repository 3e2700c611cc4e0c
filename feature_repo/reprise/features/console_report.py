"""Console output of ``reprise features plan`` and ``check``."""

import sys
from collections import Counter

from rich.console import Console
from rich.table import Table

from reprise.features.discovery.entity_set import TARGETS
from reprise.features.discovery.planner import PlanningResult
from reprise.features.parity.check import ParityReport
from reprise.features.plan import ENTITY_NAMES, EntityName

_SHOWN_MISMATCHES = 10


def print_plan(result: PlanningResult, *, show_all: bool) -> None:
    """Print, per entity, the discovered features: kept, dropped and refused, with reasons."""
    console = _console()
    for entity in ENTITY_NAMES:
        _print_entity(console, result, entity, show_all=show_all)
    plan = result.plan
    fields = {e.name: len(e.view.fields) for e in plan.entities}
    console.print(
        f"\n[bold]{len(plan.inputs)} inputs[/bold], {len(plan.request_inputs)} of them from the request."
        f" State: {fields['user']} numbers a user, {fields['product']} a product, {fields['pair']} a pair."
        f"\nplan {plan.hash[:12]}, schema {plan.schema_hash[:12]}"
    )


def print_check(report: ParityReport) -> None:
    """Print the number of values compared, and the first mismatches."""
    console = _console()
    table = Table("executors", "rows", "comparisons", "mismatches", "worst error ÷ scale")
    for comparison in report.comparisons:
        table.add_row(
            comparison.executors,
            f"{comparison.rows:,}",
            f"{comparison.compared:,}",
            f"{len(comparison.mismatches):,}",
            f"{comparison.worst:.1e}",
        )
    console.print(f"{report.events:,} events")
    console.print(table)
    if report.reference_rows < report.rows:
        console.print(
            f"The reference computed {report.reference_rows:,} of {report.rows:,} rows, drawn at random;"
            " --reference-rows all computes every one."
        )
    for comparison in report.comparisons:
        for mismatch in comparison.mismatches[:_SHOWN_MISMATCHES]:
            console.print(str(mismatch), style="red", markup=False)
        hidden = len(comparison.mismatches) - _SHOWN_MISMATCHES
        if hidden > 0:
            console.print(f"… and {hidden:,} more between {comparison.executors}", style="red")


def _console() -> Console:
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=160)


def _print_entity(console: Console, result: PlanningResult, entity: EntityName, *, show_all: bool) -> None:
    refused = {r.source: r.reason for r in result.discovery.refusals if r.entity == entity}
    names = [c.name for c in result.discovery.candidates if c.entity == entity]
    kept = [c for c in result.selection.kept if c.entity == entity]
    dropped = {name: result.selection.dropped[name] for name in names if name in result.selection.dropped}
    console.print(
        f"\n[bold]{TARGETS[entity]}[/bold]: {len(refused) + len(names):,} discovered,"
        f" {len(refused):,} refused, {len(dropped)} dropped, {len(kept)} kept"
    )
    table = Table("kept", "as Featuretools has it", "unit", "importance", box=None, pad_edge=False)
    for candidate in sorted(kept, key=lambda c: -result.selection.importance.get(c.name, 0.0)):
        importance = result.selection.importance.get(candidate.name)
        shown = "named" if importance is None else f"{importance:.4f}"
        table.add_row(candidate.name, candidate.source, candidate.compiled.unit, shown)
    console.print(table)
    for primitive in result.discovery.unused[entity]:
        console.print(f"  unused {primitive}: no column here is of a type that it takes", markup=False)
    for heading, reasons in (("dropped", dropped), ("refused", refused)):
        if show_all:
            lines = [f"{name}: {reason}" for name, reason in reasons.items()]
        else:
            kinds = Counter(map(_kind, reasons.values())).most_common()
            lines = [f"{count:,}: {kind}" for kind, count in kinds]
        for line in lines:
            console.print(f"  {heading} {line}", markup=False)


def _kind(reason: str) -> str:
    if reason.startswith("importance"):
        return "less important than the best"
    if reason.startswith("every past event would have to be revisited"):
        return "every past event would have to be revisited whenever another feature changes"
    if reason.endswith(foreign := "is not an aggregation of a pair's own events"):
        return f"a feature of the pair's user or product {foreign}"
    kind = reason.split(":", maxsplit=1)[0]
    return "near-duplicate of another" if kind.startswith("near-duplicate") else kind
