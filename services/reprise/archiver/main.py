"""The ``archive`` command."""

from datetime import timedelta
from pathlib import Path

import click

from reprise.runtime.durations import DURATION


@click.command("archive")
@click.option(
    "--until-idle",
    type=click.FloatRange(0, min_open=True),
    help="Exit once no record has come for so many seconds.  [default: run until SIGTERM or Ctrl-C]",
)
@click.option(
    "--compact", "compacting", is_flag=True, help="Make few large files of many small ones, then exit."
)
@click.option(
    "--settled-after",
    type=DURATION,
    default="1h",
    show_default=True,
    help="With --compact: how long a day must be over, such as 1h, for its files to be compacted.",
)
@click.option(
    "--export",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the archived events to this file, canonical Parquet, each event once, then exit.",
)
@click.option(
    "--accept-holes",
    is_flag=True,
    help="Note that the records which the store lacks are known to be lost, so that what there is is read all the"
    " same, then exit. Rebuild the online store after it: reprise backfill --replace.",
)
@click.option("--store", help="The offline store.  [default: REPRISE_OFFLINE_STORE, or data/offline]")
@click.option(
    "--log-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the embedded log.  [default: REPRISE_LOG_DIR, or data/log]",
)
@click.option("--host", help="Address of health and metrics.  [default: API_HOST, or 0.0.0.0]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="TCP port of health and metrics.  [default: API_PORT, or 8003]",
)
def command(
    until_idle: float | None,
    compacting: bool,
    settled_after: timedelta,
    export: Path | None,
    accept_holes: bool,
    store: str | None,
    log_dir: Path | None,
    host: str | None,
    port: int | None,
) -> None:
    """Keep the event log and the prediction log as Parquet, exactly once."""
    from reprise.archive import OfflineStoreError
    from reprise.archiver import runner
    from reprise.archiver.settings import ArchiverSettings
    from reprise.http.exceptions import HttpLibraryError
    from reprise.log import EventLogError
    from reprise.runtime.exceptions import RuntimeLibraryError
    from reprise.runtime.logs import configure_logging

    if sum((compacting, accept_holes, export is not None, until_idle is not None)) > 1:
        raise click.UsageError("--until-idle, --compact, --accept-holes and --export exclude one another")
    try:
        settings = ArchiverSettings.load(offline_store=store, log_dir=log_dir, api_host=host, api_port=port)
        configure_logging(settings.log_level, settings.log_json)
        if compacting:
            for topic, report in runner.compact_settled(settings, settled_after).items():
                click.echo(f"{topic}: wrote {report.written:,} files, removed {report.removed:,}")
        elif accept_holes:
            accepted = runner.accept_holes(settings)
            for topic, hole in accepted:
                click.echo(f"{topic}: accepted {hole}, {hole.records:,} records")
            if not accepted:
                click.echo("nothing is missing")
        elif export is not None:
            archived = runner.export_events(settings, export)
            click.echo(f"{export}: {archived.events:,} events of {archived.records:,} records")
        elif until_idle is not None:
            counted = runner.archive_until_idle(settings, until_idle)
            click.echo(", ".join(f"{count:,} of {topic}" for topic, count in counted.items()))
        else:
            runner.serve(settings)
    except (EventLogError, HttpLibraryError, OfflineStoreError, RuntimeLibraryError) as error:
        raise click.ClickException(str(error)) from error
