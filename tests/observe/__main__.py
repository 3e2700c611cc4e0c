"""``make observe``: the platform under a real Prometheus, and what every panel and alert shows."""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from support.observed_platform import Seen, look, missing_programs, observed_platform

_SHOWN_SERIES = 4


def main() -> int:
    """Run the platform, print the tables, and return 1 if a panel is empty or a rule fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path("build/observe"), help="where to keep what is made"
    )
    parser.add_argument(
        "--keep", action="store_true", help="go on until Ctrl-C, with Prometheus to look into"
    )
    options = parser.parse_args()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    missing = missing_programs()
    if missing:
        console.print(f"not installed: {', '.join(missing)} (Debian packages of these names)")
        return 2
    with observed_platform(options.folder, lambda text: console.print(f"• {text}")) as prometheus:
        panels, alerts = look(prometheus)
        console.print(_table("Panels", panels))
        console.print(_table("Alerts", alerts))
        problems = [seen for seen in (*panels, *alerts) if seen.problem]
        left_out = [seen for seen in panels if seen.state]
        console.print(
            f"{len(panels)} panels: {len(panels) - len(problems) - len(left_out)} with data, {len(left_out)} left out"
            f" because they need more than this, {len(problems)} with problems; {len(alerts)} alerts"
        )
        if options.keep:
            console.print(f"Prometheus is at {prometheus.url}; Enter or Ctrl-C stops all of it.")
            sys.stdin.readline()
    return int(bool(problems))


def _table(title: str, rows: list[Seen]) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in ("", title[:-1], "state", "now"):
        table.add_column(heading, overflow="fold")
    for seen in rows:
        shown = [f"{name or 'value'}: {value:.4g}" for name, value in seen.values.items()]
        more = [f"… and {len(shown) - _SHOWN_SERIES} more"] if len(shown) > _SHOWN_SERIES else []
        state = "[red]problem[/]" if seen.problem else seen.state
        table.add_row(seen.page, seen.title, state, seen.problem or "\n".join(shown[:_SHOWN_SERIES] + more))
    return table


if __name__ == "__main__":
    sys.exit(main())
