"""The ``backfill`` command."""

from pathlib import Path
from typing import Any

import click
from reprise_eventfiles.command_line import event_file_options


@click.command("backfill")
@click.option(
    "--events",
    type=click.Path(exists=True, path_type=Path),
    required=True,
    help="History, CSV or Parquet: everything that happened before the stream begins.",
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
@click.option("--replace", is_flag=True, help="Write over rows that the stream has folded events into.")
@click.option(
    "--memory-limit",
    default="3GiB",
    show_default=True,
    help="What DuckDB may hold in memory before it spills to disk.",
)
@event_file_options
def command(
    events: Path,
    plan: Path | None,
    redis_host: str | None,
    redis_port: int | None,
    replace: bool,
    memory_limit: str,
    import_options: Any,
) -> None:
    """Fill the online store with the state that a history of events leaves."""
    from tempfile import TemporaryDirectory

    from reprise_eventfiles import EventFilesError, import_events
    from reprise_features.exceptions import FeatureEngineError
    from reprise_features.plan import Plan
    from reprise_online.exceptions import OnlineError
    from reprise_online.store import OnlineStore
    from reprise_runtime.exceptions import RuntimeLibraryError
    from reprise_runtime.progress import progress

    from reprise_backfill.backfilling import backfill
    from reprise_backfill.exceptions import BackfillError
    from reprise_backfill.settings import BackfillSettings

    try:
        settings = BackfillSettings.load(plan=plan, redis_host=redis_host, redis_port=redis_port)
        with (
            TemporaryDirectory(prefix="reprise-backfill-") as folder,
            OnlineStore.connect(settings) as store,
            progress("Writing states", None, "rows") as writing,
        ):
            canonical = Path(folder) / "events.parquet"
            import_events(events, canonical, options=import_options)
            report = backfill(
                canonical,
                Plan.load(settings.plan),
                store,
                settings.feast_project,
                replace=replace,
                memory_limit=memory_limit,
                advance=writing.advance,
            )
    except (BackfillError, EventFilesError, FeatureEngineError, OnlineError, RuntimeLibraryError) as error:
        raise click.ClickException(str(error)) from error
    views = ", ".join(f"{count:,} of {view}" for view, count in report.rows.items())
    click.echo(f"{report.events:,} events: wrote {views}")
