"""The ``serve`` command: one predictor process."""

import click


@click.command("serve")
@click.option("--host", help="Address to listen on. [default: API_HOST, or 0.0.0.0]")
@click.option("--port", type=click.IntRange(0, 65535), help="TCP port. [default: API_PORT, or 8000]")
@click.option("--model-store", help="Where the bundles are, a path or URL. [default: MODEL_STORE]")
@click.option("--model-digest", help="sha256:… or latest. [default: MODEL_DIGEST, or latest]")
@click.option("--redis-host", help="Host of the online store. [default: REDIS_HOST, or localhost]")
@click.option(
    "--redis-port",
    type=click.IntRange(1, 65535),
    help="TCP port of the online store. [default: REDIS_PORT, or 6379]",
)
def command(
    host: str | None,
    port: int | None,
    model_store: str | None,
    model_digest: str | None,
    redis_host: str | None,
    redis_port: int | None,
) -> None:
    """Answer predictions over HTTP until SIGTERM or Ctrl-C.

    Everything is configured by environment variables; the options win over them. The documentation of the
    API is at /docs, the metrics at /metrics.
    """
    from reprise.http.exceptions import InvalidKeysError, ServerStartError
    from reprise.http.server import run
    from reprise.predictor.app import create_app
    from reprise.predictor.context import build_context
    from reprise.predictor.settings import PredictorSettings
    from reprise.runtime.exceptions import InvalidSettingsError
    from reprise.runtime.logs import configure_logging
    from reprise.runtime.storage import StorageAddressError
    from reprise.store.exceptions import StoreRefusedError

    try:
        settings = PredictorSettings.load(
            api_host=host,
            api_port=port,
            model_store=model_store,
            model_digest=model_digest,
            redis_host=redis_host,
            redis_port=redis_port,
        )
        configure_logging(settings.log_level, settings.log_json)
        app = create_app(build_context(settings))
        run(
            app,
            settings.api_host,
            settings.api_port,
            drain_seconds=settings.drain_seconds,
            arrival_seconds=settings.arrival_seconds,
        )
    except (
        InvalidSettingsError,
        InvalidKeysError,
        StorageAddressError,
        StoreRefusedError,
        ServerStartError,
    ) as error:
        raise click.ClickException(str(error)) from error
