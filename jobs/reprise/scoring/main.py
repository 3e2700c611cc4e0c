"""The ``score`` command."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reprise.event_files.options import event_file_options, memory_limit_option
from reprise.runtime.instants import INSTANT
from reprise.runtime.settings_command import settings_command

if TYPE_CHECKING:
    from reprise.scoring.settings import ScoringSettings


@settings_command(
    "score",
    "reprise.scoring.settings:ScoringSettings",
    options={
        "--out": "out",
        "--model-store": "model_store",
        "--model": "model",
        "--format": "format",
        "--chunk": "chunk",
    },
)
@click.option(
    "--events",
    type=click.Path(path_type=Path),
    help="History, CSV or Parquet: a file, a folder or a pattern; with --offline, all events from before the log.",
)
@click.option(
    "--offline",
    metavar="URL",
    help="Offline store.  [default: REPRISE_OFFLINE_STORE, unless --events is given]",
)
@click.option(
    "--at",
    type=INSTANT,
    help="Instant of the scores: earlier events count, later ones do not; a date is midnight UTC."
    "  [default: today, 00:00 UTC]",
)
@memory_limit_option
@event_file_options
def command(
    settings: "ScoringSettings", events: Path | None, offline: str | None, at: datetime | None, **others: Any
) -> None:
    """Score every product that each user bought: the probability of buying it again within the model's horizon.

    Writes date=YYYY-MM-DD/model=<digest>/part-*.parquet (or .csv), and _manifest.json when all parts are there. Scores
    of the same instant and model are not computed twice. An interrupted run continues at the first missing part.
    Scores of the same model and another instant of the date are replaced.
    """
    from datetime import UTC

    from reprise.scoring.run import score

    url = offline or (settings.offline_store if events is None else None)
    if events is None and url is None:
        raise click.UsageError("give --events, --offline, or REPRISE_OFFLINE_STORE")
    instant = at or datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    click.echo(str(score(settings, events, url, instant, **others)))
