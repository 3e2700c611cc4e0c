"""Saying what came of the checks: to people, and to machines."""

from collections.abc import Sequence
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reprise.doctor.check import Result, Status

_COLOURS: dict[Status, str] = {"ok": "green", "failed": "bold red", "skipped": "yellow"}
_WIDTH_WITHOUT_TERMINAL = 150


def all_is_well(results: Sequence[Result]) -> bool:
    """Return whether something was found well, and nothing to be wrong."""
    statuses = {result.status for result in results}
    return "ok" in statuses and "failed" not in statuses


def print_table(results: Sequence[Result], console: Console) -> None:
    """Print a line for each check; under what failed, what to do."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("seen", overflow="fold")
    for result in results:
        seen = Text(result.seen)
        if result.status == "failed":
            seen.append(f"\n→ {result.advice}\n  {result.runbook}", "bold")
        status = Text(result.status, _COLOURS[result.status])
        table.add_row(Text(result.name), status, f"{result.seconds:.1f}", seen)
    console.print(table)
    console.print(Text(_verdict(results)))


def to_json(results: Sequence[Result]) -> bytes:
    """Return the same as JSON, with a line feed at its end."""
    document = {"ok": all_is_well(results), "checks": [_entry(result) for result in results]}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def plain_or_terminal(console: Console) -> Console:
    """Return the console, wide enough where nobody has said how wide it is."""
    return console if console.is_terminal else Console(width=_WIDTH_WITHOUT_TERMINAL, file=console.file)


def _entry(result: Result) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": result.name,
        "status": result.status,
        "seen": result.seen,
        "seconds": round(result.seconds, 3),
    }
    if result.status == "failed":
        entry |= {"advice": result.advice, "runbook": result.runbook}
    if result.measured:
        entry["measured"] = dict(result.measured)
    return entry


def _verdict(results: Sequence[Result]) -> str:
    counts = {status: sum(result.status == status for result in results) for status in _COLOURS}
    said = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    if not counts["ok"] and not counts["failed"]:
        return f"{said}: nothing was checked"
    return said
