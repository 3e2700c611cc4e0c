"""The ``status`` command."""

from typing import TYPE_CHECKING

import click

from reprise.runtime.settings_command import settings_command

if TYPE_CHECKING:
    from reprise.status.settings import StatusSettings


@settings_command(
    "status",
    "reprise.status.settings:StatusSettings",
    options={
        "--host": "api_host",
        "--port": "api_port",
        "--targets": "targets",
        "--pushgateway": "pushgateway_url",
        "--interval": "interval_seconds",
        "--scores": "scores",
    },
    logs=True,
)
def command(settings: "StatusSettings") -> None:
    """Serve the status page: what runs, how well, and what is wrong; with --scores, the nightly report too."""
    from reprise.http.server import run_service
    from reprise.status.app import create_app

    app = create_app(settings)
    run_service(app, settings)
    if app.state.poller.failed:
        raise click.ClickException("polling the services has failed; the log has the reason")
