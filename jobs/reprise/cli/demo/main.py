"""The ``demo`` command."""

import sys
from pathlib import Path

import click


@click.command("demo")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("build/demo"),
    show_default=True,
    help="Where to keep what is made; emptied first.",
)
@click.option(
    "--users", type=click.IntRange(10), default=900, show_default=True, help="Size of the customer base."
)
@click.option(
    "--products", type=click.IntRange(5), default=150, show_default=True, help="Size of the catalogue."
)
@click.option(
    "--days", type=click.IntRange(120), default=270, show_default=True, help="Length of the history, days."
)
@click.option(
    "--seed", type=click.IntRange(0), default=7, show_default=True, help="Equal seeds, equal shops."
)
@click.option(
    "--rate", type=click.FloatRange(1, 10_000), default=120.0, show_default=True, help="Live events a second."
)
@click.option(
    "--live",
    type=click.FloatRange(0),
    default=15.0,
    show_default=True,
    help="Seconds of live stream, at least, before the page is printed.",
)
@click.option(
    "--keep-serving/--exit",
    default=None,
    help="Whether to go on until Ctrl-C after the page.  [default: only on a terminal]",
)
@click.option(
    "--definitions",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=Path("feature_repo/definitions.py"),
    show_default=True,
    help="The feature definitions to plan from.",
)
def command(
    folder: Path,
    users: int,
    products: int,
    days: int,
    seed: int,
    rate: float,
    live: float,
    keep_serving: bool | None,
    definitions: Path,
) -> None:
    """Run the whole platform on this machine, from raw events to a live prediction."""
    from reprise.cli.demo.commands import Shop
    from reprise.cli.demo.exceptions import DemoError
    from reprise.cli.demo.run import DemoOptions, run_demo
    from reprise.log import EventLogError
    from reprise.runtime.exceptions import RuntimeLibraryError
    from reprise.runtime.logs import configure_logging

    configure_logging("warning")
    options = DemoOptions(
        folder=folder,
        definitions=definitions,
        shop=Shop(users, products, days, seed),
        rate=rate,
        live_seconds=live,
        keep_serving=sys.stdout.isatty() if keep_serving is None else keep_serving,
    )
    try:
        sys.exit(run_demo(options))
    except (DemoError, EventLogError, RuntimeLibraryError) as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo("\nstopped; nothing is left running")
        sys.exit(130)
