"""``make observe``: the platform under a real Prometheus, and what every panel and alert shows.

``make observe OBSERVE=--incidents`` goes on with faults, and says which alerts fired by them and cleared after them.
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from support.incidents import FACTOR, ROUNDS, Outcome, run_round, shortened_prometheus
from support.observed_platform import Platform, Seen, look, missing_programs, observed_platform
from support.status_page import chromium_path, running_chromium, running_status, screenshots

_SHOWN_SERIES = 4
_CURVE_POINTS = 75
"""Minimum points of the curves in the pictures."""


def main() -> int:
    """Run the platform, print the tables, and return 1 if a panel is empty, a rule fails, or an alert does not fire."""
    options = _options()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    missing = missing_programs()
    if options.screenshots is not None and chromium_path() is None:
        missing.append("chromium")
    if missing:
        console.print(f"not installed: {', '.join(missing)} (Debian packages of these names)")
        return 2
    with observed_platform(options.folder, lambda text: console.print(f"• {text}")) as platform:
        status = running_status(platform)
        well = _show(console, platform)
        platform.check()
        if options.screenshots is not None:
            with running_chromium() as browser:
                paths = screenshots(browser, platform, status, options.screenshots, points=_CURVE_POINTS)
            console.print(*(f"wrote {path}" for path in paths), sep="\n")
        if options.incidents:
            well = _break(console, platform) and well
        if options.keep:
            console.print(f"The status page is at {status}")
            console.print(f"Prometheus is at {platform.prometheus.url}; Enter or Ctrl-C stops all of it.")
            sys.stdin.readline()
    return int(not well)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path("build/observe"), help="where to keep what is made"
    )
    parser.add_argument(
        "--incidents", action="store_true", help="make faults, and see their alerts fire and clear"
    )
    parser.add_argument(
        "--keep", action="store_true", help="go on until Ctrl-C, with Prometheus to look into"
    )
    parser.add_argument(
        "--screenshots",
        type=Path,
        metavar="FOLDER",
        help="write there what the status page and Prometheus' alerts look like, by Chromium",
    )
    return parser.parse_args()


def _show(console: Console, platform: Platform) -> bool:
    panels, alerts = look(platform)
    console.print(_table("Panels", panels))
    console.print(_table("Alerts", alerts))
    problems = [seen for seen in (*panels, *alerts) if seen.problem]
    left_out = [seen.state for seen in panels if seen.state]
    console.print(
        f"{len(panels)} panels: {sum(bool(seen.values) and not seen.problem for seen in panels)} with data,"
        f" {len(problems)} with problems, {len(left_out)} left out; {len(alerts)} alerts"
    )
    for reason in sorted(set(left_out)):
        console.print(f"  {left_out.count(reason)} panels: {reason}")
    return not problems


def _break(console: Console, platform: Platform) -> bool:
    console.print(f"• breaking it, under the same rules {FACTOR:g} times as quick")
    prometheus = shortened_prometheus(platform)
    outcomes = []
    for name in ROUNDS:
        console.print(f"• {name}")
        outcomes += run_round(platform, prometheus, name)
    console.print(_incidents(outcomes))
    return all(each.fired_after is not None and each.cleared_after is not None for each in outcomes)


def _incidents(outcomes: list[Outcome]) -> Table:
    title = f"Incidents, with durations of the rules divided by {FACTOR:g}"
    table = Table("alert", "fault", "fired after", "cleared after", title=title, title_justify="left")
    for outcome in outcomes:
        after = [
            "[red]never[/]" if seconds is None else f"{seconds:.0f} s"
            for seconds in (outcome.fired_after, outcome.cleared_after)
        ]
        table.add_row(outcome.alert, outcome.fault, *after)
    return table


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
