"""The ``status`` command."""

import click


@click.command("status")
@click.option("--host", help="Address to listen on.  [default: API_HOST, or 0.0.0.0]")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="TCP port of the page.  [default: API_PORT, or 8004]"
)
@click.option(
    "--targets",
    help="The services, name=http://host:port separated by commas.  [default: STATUS_TARGETS, or the four services"
    " on their own ports of this machine]",
)
@click.option("--pushgateway", help="Where the jobs' metrics are.  [default: PUSHGATEWAY_URL, or nowhere]")
@click.option(
    "--interval",
    type=click.FloatRange(0.2, 60),
    help="How often to look, seconds.  [default: STATUS_INTERVAL_SECONDS, or 5]",
)
def command(
    host: str | None,
    port: int | None,
    targets: str | None,
    pushgateway: str | None,
    interval: float | None,
) -> None:
    """Serve a page that says what runs, what it measures, and what is wrong with it."""
    from reprise.http.exceptions import ServerStartError
    from reprise.http.server import run
    from reprise.runtime.exceptions import InvalidSettingsError
    from reprise.runtime.logs import configure_logging
    from reprise.status.app import create_app
    from reprise.status.settings import StatusSettings

    try:
        settings = StatusSettings.load(
            api_host=host,
            api_port=port,
            targets=targets,
            pushgateway_url=pushgateway,
            interval_seconds=interval,
        )
        configure_logging(settings.log_level, settings.log_json)
        app = create_app(settings)
        run(app, settings.api_host, settings.api_port)
    except (InvalidSettingsError, ServerStartError) as error:
        raise click.ClickException(str(error)) from error
    if app.state.failed:
        raise click.ClickException("the services could not be looked at any more; the log says why")
