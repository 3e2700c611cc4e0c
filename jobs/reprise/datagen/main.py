"""The ``datagen`` command."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import click

from reprise.runtime.durations import DURATION

_DEFAULT_DAYS = 180
_DEFAULT_OUT = Path("historical_events.csv")


class _InstantType(click.ParamType[datetime]):
    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(
                f"{value!r} is no date or date-time, such as 2026-01-31 or 2026-01-31T12:00Z", param, ctx
            )
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("datagen", context_settings={"show_default": True})
@click.argument("file", required=False, type=_FILE)
@click.option("--out", type=_FILE, help=f"Events, .csv or .parquet; same as FILE.  [default: {_DEFAULT_OUT}]")
@click.option("--users", type=click.IntRange(1, 10_000_000), default=2_000, help="Size of the customer base.")
@click.option("--products", type=click.IntRange(1, 1_000_000), default=300, help="Size of the catalogue.")
@click.option("--days", type=click.IntRange(1), help=f"Length in days.  [default: {_DEFAULT_DAYS}]")
@click.option("--events", type=click.IntRange(1), help="Exact number of events, instead of --days.")
@click.option("--start", type=_InstantType(), default="2026-01-01", help="First instant, UTC unless it says.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=7, help="Equal seeds, equal files.")
@click.option("--truth", type=_FILE, help="Where to write each event's true probability, .csv or .parquet.")
@click.option("--horizon", type=DURATION, default="30d", help="How far the probability looks ahead.")
@click.option("--report", type=_FILE, help="Where to write a page of plots of the history, .html.")
def command(
    file: Path | None,
    out: Path | None,
    users: int,
    products: int,
    days: int | None,
    events: int | None,
    start: datetime,
    seed: int,
    truth: Path | None,
    horizon: timedelta,
    report: Path | None,
) -> None:
    """Make a synthetic history of a shop: views and purchases, ordered by time.

    Users have segments, habits and lifetimes, products have prices and popularity, consumables are bought
    again when they are used up. The same options make the same file, byte for byte.
    """
    from reprise.datagen.exceptions import DatagenError
    from reprise.datagen.history import generate
    from reprise.datagen.history_options import GenerationPlan
    from reprise.shop import ShopConfig, ShopError

    plan = GenerationPlan(
        out=_one_of(file, out),
        shop=ShopConfig(seed=seed, users=users, products=products),
        start=start,
        days=_days(days, events),
        events=events,
        horizon=horizon,
        truth=truth,
        report=report,
    )
    try:
        with _stoppable():
            summary = generate(plan)
    except (DatagenError, ShopError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(summary.sentence(plan))


def _one_of(file: Path | None, out: Path | None) -> Path:
    if file is not None and out is not None:
        raise click.UsageError("give the file as FILE or as --out, not as both")
    return file or out or _DEFAULT_OUT


def _days(days: int | None, events: int | None) -> int | None:
    if days is not None and events is not None:
        raise click.UsageError("give --days or --events, not both")
    return _DEFAULT_DAYS if events is None and days is None else days


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let SIGTERM unwind the stack, so that unfinished files are removed."""

    def stop(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
