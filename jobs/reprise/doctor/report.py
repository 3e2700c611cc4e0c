"""Reports of check results: a table for people, JSON for machines."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reprise.doctor.check import CheckResult, Status

_COLOURS: dict[Status, str] = {"ok": "green", "failed": "bold red", "skipped": "yellow"}
_WIDTH_WITHOUT_TERMINAL = 150


def all_passed(results: Sequence[CheckResult]) -> bool:
    """Return whether at least one check passed and none failed."""
    statuses = {result.status for result in results}
    return "ok" in statuses and "failed" not in statuses


def print_table(results: Sequence[CheckResult], console: Console) -> None:
    """Print a row for each check; under a failure, its remedy. Other output than a terminal has a fixed width."""
    if not console.is_terminal:
        console.width = _WIDTH_WITHOUT_TERMINAL
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("found", overflow="fold")
    for result in results:
        found = Text(result.found)
        if result.remedy is not None:
            found.append(f"\n→ {result.remedy.advice}\n  {result.runbook}", "bold")
        status = Text(result.status, _COLOURS[result.status])
        table.add_row(Text(result.name), status, f"{result.seconds:.1f}", found)
    console.print(table)
    counts = Counter(result.status for result in results)
    summary = ", ".join(f"{counts[status]} {status}" for status in _COLOURS if counts[status])
    nothing = "" if counts["ok"] or counts["failed"] else ": nothing was checked"
    console.print(Text(summary + nothing))


def to_json(results: Sequence[CheckResult]) -> bytes:
    """Return the results as a JSON line-terminated document."""
    document = {"ok": all_passed(results), "checks": [_entry(result) for result in results]}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _entry(result: CheckResult) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": result.name,
        "status": result.status,
        "seen": result.found,
        "seconds": round(result.seconds, 3),
    }
    if result.remedy is not None:
        entry |= {"advice": result.remedy.advice, "runbook": result.runbook}
    if result.measured:
        entry["measured"] = dict(result.measured)
    return entry
