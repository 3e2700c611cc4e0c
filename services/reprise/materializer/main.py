"""The ``materialize`` command."""

from pathlib import Path

import click


@click.command("materialize")
@click.option(
    "--until-idle",
    type=click.FloatRange(0, min_open=True),
    help="Exit once no event has come for so many seconds.  [default: run until SIGTERM or Ctrl-C]",
)
@click.option(
    "--plan",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The compiled plan.  [default: REPRISE_PLAN, or feature_repo/plan/plan.json]",
)
@click.option(
    "--log-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the embedded log.  [default: REPRISE_LOG_DIR, or data/log]",
)
@click.option("--redis-host", help="Host of the online store.  [default: REDIS_HOST, or localhost]")
@click.option(
    "--redis-port",
    type=click.IntRange(1, 65535),
    help="TCP port of the online store.  [default: REDIS_PORT, or 6379]",
)
@click.option("--host", help="Address of health and metrics.  [default: API_HOST, or 0.0.0.0]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="TCP port of health and metrics.  [default: API_PORT, or 8002]",
)
def command(
    until_idle: float | None,
    plan: Path | None,
    log_dir: Path | None,
    redis_host: str | None,
    redis_port: int | None,
    host: str | None,
    port: int | None,
) -> None:
    """Fold the event log into online features, exactly once."""
    from reprise.features.exceptions import FeatureEngineError
    from reprise.http.exceptions import HttpLibraryError
    from reprise.log import EventLogError
    from reprise.materializer import runner as materializing
    from reprise.materializer.row_writer import MaterializerError
    from reprise.materializer.settings import MaterializerSettings
    from reprise.runtime.exceptions import RuntimeLibraryError
    from reprise.runtime.logs import configure_logging
    from reprise.store.exceptions import StoreError

    try:
        settings = MaterializerSettings.load(
            plan=plan,
            log_dir=log_dir,
            redis_host=redis_host,
            redis_port=redis_port,
            api_host=host,
            api_port=port,
        )
        configure_logging(settings.log_level, settings.log_json)
        if until_idle is None:
            materializing.serve(settings)
        else:
            outcomes = materializing.fold_until_idle(settings, until_idle)
            click.echo(
                ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.items()) or "nothing to fold"
            )
    except (
        EventLogError,
        FeatureEngineError,
        HttpLibraryError,
        MaterializerError,
        RuntimeLibraryError,
        StoreError,
    ) as error:
        raise click.ClickException(str(error)) from error
