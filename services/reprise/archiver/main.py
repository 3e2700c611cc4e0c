"""The ``archive`` command."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reprise.runtime.durations import DURATION
from reprise.runtime.settings_command import settings_command

if TYPE_CHECKING:
    from reprise.archiver.settings import ArchiverSettings


@settings_command(
    "archive",
    "reprise.archiver.settings:ArchiverSettings",
    options={
        "--store": "offline_store",
        "--log-dir": "log_dir",
        "--host": "api_host",
        "--port": "api_port",
    },
    logs=True,
)
@click.option(
    "--until-idle",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Exit once no record has come for this time.  [default: run until SIGTERM or Ctrl-C]",
)
@click.option(
    "--compact",
    "compact",
    is_flag=True,
    help="Merge the small files of past days into large ones, remove predictions beyond their retention, then exit.",
)
@click.option(
    "--settled-after",
    type=DURATION,
    default="1h",
    show_default=True,
    help="With --compact: time since the end of a day, such as 1h, after which its files are compacted.",
)
@click.option(
    "--export",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the archived events, each once, to this canonical Parquet file, then exit.",
)
@click.option(
    "--accept-holes",
    is_flag=True,
    help="Accept the loss of the records that the store lacks, so that the rest can be read, then exit."
    " Rebuild the online store afterwards: reprise backfill --replace.",
)
def command(
    settings: "ArchiverSettings",
    until_idle: float | None,
    compact: bool,
    settled_after: timedelta,
    export: Path | None,
    accept_holes: bool,
) -> None:
    """Keep the event log and the prediction log as Parquet, exactly once."""
    from reprise.archiver import runner

    if sum((compact, accept_holes, export is not None, until_idle is not None)) > 1:
        raise click.UsageError("--until-idle, --compact, --accept-holes and --export exclude one another")
    if compact:
        for topic, report in runner.compact_settled(settings, settled_after).items():
            click.echo(f"{topic}: wrote {report.written:,} files, removed {report.removed:,}")
    elif accept_holes:
        accepted = runner.accept_holes(settings)
        for topic, gap in accepted:
            click.echo(f"{topic}: accepted {gap}, {gap.records:,} records")
        if not accepted:
            click.echo("nothing is missing")
    elif export is not None:
        archived = runner.export_events(settings, export)
        click.echo(f"{export}: {archived.events:,} events of {archived.records:,} records")
    elif until_idle is not None:
        counts = runner.archive_until_idle(settings, until_idle)
        click.echo(", ".join(f"{count:,} of {topic}" for topic, count in counts.items()))
    else:
        runner.serve(settings)
