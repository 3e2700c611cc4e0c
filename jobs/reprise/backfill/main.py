"""The ``backfill`` command."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reprise.event_files.options import event_file_options, memory_limit_option
from reprise.runtime.durations import DURATION
from reprise.runtime.settings_command import EXECUTOR_OPTIONS, settings_command

if TYPE_CHECKING:
    from reprise.backfill.settings import BackfillSettings


@settings_command(
    "backfill",
    "reprise.backfill.settings:BackfillSettings",
    options={
        "--plan": "plan",
        "--redis-host": "redis_host",
        "--redis-port": "redis_port",
        "--log-dir": "log_dir",
        **EXECUTOR_OPTIONS,
    },
)
@click.option(
    "--events",
    type=click.Path(exists=True, path_type=Path),
    help="History (CSV, JSON, Excel or Parquet): all events from before the log.",
)
@click.option(
    "--offline",
    metavar="URL",
    help="Offline store, whose records the stream will skip; with --events, the events after that history."
    "  [default: REPRISE_OFFLINE_STORE, unless --events is given]",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Leave the store with the state of this history alone: overwrite rows that include other events, and remove"
    " rows of other entities. Stop the materializers first.",
)
@click.option(
    "--seek-group",
    "group",
    help="With --offline: set the offsets of this consumer group, such as materializer, to right after the archived"
    " records. Needed if it has read past the archive and its state is lost. Stop the materializers first.",
)
@click.option(
    "--seek-timeout",
    type=DURATION,
    default="60s",
    show_default=True,
    help="With --seek-group: how long to wait for the group to be free, such as 60s.",
)
@memory_limit_option
@event_file_options
def command(
    settings: "BackfillSettings",
    events: Path | None,
    offline: str | None,
    group: str | None,
    import_options: Any,
    **others: Any,
) -> None:
    """Fill the online store with the state after a history of events."""
    from reprise.backfill.runner import run

    url = settings.offline_url(events, offline)
    if group is not None and url is None:
        raise click.UsageError("--seek-group needs --offline: a file's events are no records of the log")
    report = run(settings, events, url, import_options, group=group, **others)
    views = ", ".join(f"{count:,} of {view}" for view, count in report.rows.items())
    removed = f", removed {report.removed:,} others" if report.removed else ""
    on_spark = " on Spark" if report.executor == "spark" else ""
    click.echo(f"{report.events:,} events{on_spark}: wrote {views}{removed}")
