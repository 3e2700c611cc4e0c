"""The ``datagen`` command."""

from pathlib import Path
from typing import Any

import click

from reprise.runtime.durations import DURATION
from reprise.runtime.instants import INSTANT
from reprise.runtime.settings_command import error_messages

_DEFAULT_DAYS = 180
_DEFAULT_OUT = Path("historical_events.csv")


_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("datagen", context_settings={"show_default": True})
@click.argument("file", required=False, type=_FILE)
@click.option("--out", type=_FILE, help=f"Events, .csv or .parquet; same as FILE.  [default: {_DEFAULT_OUT}]")
@click.option("--users", type=click.IntRange(1, 10_000_000), default=2_000, help="Size of the customer base.")
@click.option("--products", type=click.IntRange(1, 1_000_000), default=300, help="Size of the catalogue.")
@click.option("--days", type=click.IntRange(1), help=f"Length in days.  [default: {_DEFAULT_DAYS}]")
@click.option("--events", type=click.IntRange(1), help="Exact number of events, instead of --days.")
@click.option("--start", type=INSTANT, help="First instant; a date is midnight UTC.")
@click.option("--end", type=INSTANT, help="Instant after the last.  [default: today, 00:00 UTC]")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=7, help="Equal seeds, equal files.")
@click.option("--truth", type=_FILE, help="File for each event's true probability, .csv or .parquet.")
@click.option("--horizon", type=DURATION, default="30d", help="Horizon of the probability.")
@click.option("--report", type=_FILE, help="File for a page of plots of the history, .html.")
def command(
    file: Path | None,
    out: Path | None,
    users: int,
    products: int,
    days: int | None,
    events: int | None,
    seed: int,
    **others: Any,
) -> None:
    """Generate a synthetic history of a shop: views and purchases, ordered by time.

    Users have segments, habits and lifetimes, products have prices and popularity, consumables are bought
    again when they are used up. The same options with the same start or end generate the same file, byte for byte.
    """
    from reprise.datagen.history import HistoryOptions, generate_history
    from reprise.runtime.signals import exit_on_sigterm
    from reprise.shop import ShopConfig

    if file is not None and out is not None:
        raise click.UsageError("give the file as FILE or as --out, not as both")
    if days is not None and events is not None:
        raise click.UsageError("give --days or --events, not both")
    options = HistoryOptions(
        out=file or out or _DEFAULT_OUT,
        shop=ShopConfig(seed=seed, users=users, products=products),
        days=_DEFAULT_DAYS if events is None and days is None else days,
        events=events,
        **others,
    )
    with error_messages(options.out), exit_on_sigterm():
        summary = generate_history(options)
    click.echo(summary.render(options))
