"""The ``backfill`` command."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from reprise.event_files.options import event_file_options
from reprise.runtime.durations import DURATION


@click.command("backfill")
@click.option(
    "--events",
    type=click.Path(exists=True, path_type=Path),
    help="History, CSV or Parquet: everything that happened before the stream begins.",
)
@click.option(
    "--offline",
    metavar="URL",
    help="The offline store, whose records the stream will skip; with --events, what came after that history."
    "  [default: REPRISE_OFFLINE_STORE, unless --events is given]",
)
@click.option(
    "--plan",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The compiled plan.  [default: REPRISE_PLAN, or feature_repo/plan/plan.json]",
)
@click.option("--redis-host", help="Host of the online store.  [default: REDIS_HOST, or localhost]")
@click.option(
    "--redis-port",
    type=click.IntRange(1, 65535),
    help="TCP port of the online store.  [default: REDIS_PORT, or 6379]",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Leave the store with the state of this history alone: write over rows that hold other events, remove"
    " rows of other entities. Stop the materializers before.",
)
@click.option(
    "--seek-group",
    "group",
    help="With --offline: have this consumer group, such as materializer, go on right after the archived"
    " records; needed where it has read further than was archived and its state is lost. Stop the materializers"
    " before.",
)
@click.option(
    "--seek-timeout",
    type=DURATION,
    default="60s",
    show_default=True,
    help="With --seek-group: how long to wait for the group to be free, such as 60s.",
)
@click.option(
    "--log-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="With --seek-group: folder of the embedded log.  [default: REPRISE_LOG_DIR, or data/log]",
)
@click.option(
    "--memory-limit",
    default="3GiB",
    show_default=True,
    help="What DuckDB may hold in memory before it spills to disk.",
)
@event_file_options
def command(
    events: Path | None,
    offline: str | None,
    plan: Path | None,
    redis_host: str | None,
    redis_port: int | None,
    replace: bool,
    group: str | None,
    seek_timeout: timedelta,
    log_dir: Path | None,
    memory_limit: str,
    import_options: Any,
) -> None:
    """Fill the online store with the state that a history of events leaves."""
    from reprise.archive import OfflineStoreError
    from reprise.backfill.exceptions import BackfillError
    from reprise.backfill.metrics import JOB, BackfillMetrics
    from reprise.backfill.runner import run
    from reprise.backfill.settings import BackfillSettings
    from reprise.event_files import EventFilesError
    from reprise.features.exceptions import FeatureEngineError
    from reprise.log import EventLogError
    from reprise.runtime.exceptions import RuntimeLibraryError
    from reprise.runtime.job_metrics import reported_job
    from reprise.store.exceptions import OnlineStoreError

    try:
        settings = BackfillSettings.load(
            plan=plan, redis_host=redis_host, redis_port=redis_port, log_dir=log_dir
        )
        store = offline or (settings.offline_store if events is None else None)
        if events is None and store is None:
            raise click.UsageError("give --events, --offline, or REPRISE_OFFLINE_STORE")
        if group is not None and store is None:
            raise click.UsageError("--seek-group needs --offline: a file's events are no records of the log")
        with reported_job(JOB, settings.pushgateway_url) as metrics:
            report = run(
                settings,
                events,
                store,
                import_options,
                replace=replace,
                group=group,
                seek_timeout=seek_timeout,
                memory_limit=memory_limit,
            )
            BackfillMetrics(metrics.registry).show(report)
    except (
        BackfillError,
        EventFilesError,
        EventLogError,
        FeatureEngineError,
        OfflineStoreError,
        OnlineStoreError,
        RuntimeLibraryError,
    ) as error:
        raise click.ClickException(str(error)) from error
    views = ", ".join(f"{count:,} of {view}" for view, count in report.rows.items())
    others = f", removed {report.removed:,} others" if report.removed else ""
    click.echo(f"{report.events:,} events: wrote {views}{others}")
