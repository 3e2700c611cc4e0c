"""The ``demo`` command."""

import sys
from pathlib import Path
from typing import Any

import click

from reprise.runtime.settings_command import error_messages


@click.command("demo", context_settings={"show_default": True})
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("build/demo"),
    help="Folder for all files; emptied first.",
)
@click.option("--users", type=click.IntRange(10), default=900, help="Size of the customer base.")
@click.option("--products", type=click.IntRange(5), default=150, help="Size of the catalogue.")
@click.option("--days", type=click.IntRange(120), default=270, help="Length of the history, days.")
@click.option("--seed", type=click.IntRange(0), default=7, help="Equal seeds, equal shops.")
@click.option("--rate", type=click.FloatRange(1, 10_000), default=120.0, help="Live events per second.")
@click.option(
    "--live",
    type=click.FloatRange(0),
    default=15.0,
    help="Minimum seconds of live stream before the report.",
)
@click.option(
    "--keep-serving/--exit",
    default=None,
    help="Whether to keep running until Ctrl-C after the report.  [default: only on a terminal]",
)
@click.option(
    "--definitions",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=Path("feature_repo/definitions.py"),
    help="The feature definitions to plan from.",
)
def command(keep_serving: bool | None, **options: Any) -> None:
    """Run the whole platform on this machine, from raw events to a live prediction."""
    from reprise.cli.demo.run import DemoOptions, run_demo
    from reprise.runtime.logs import configure_logging

    configure_logging("warning")
    keep_serving = sys.stdout.isatty() if keep_serving is None else keep_serving
    try:
        with error_messages():
            sys.exit(run_demo(DemoOptions(keep_serving=keep_serving, **options)))
    except KeyboardInterrupt:
        click.echo("\nstopped; nothing is left running")
        sys.exit(130)
