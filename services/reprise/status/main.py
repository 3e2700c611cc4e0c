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
    },
    logs=True,
)
def command(settings: "StatusSettings") -> None:
    """Serve a page that says what runs, what it measures, and what is wrong with it."""
    from reprise.http.server import run_service
    from reprise.status.app import create_app

    app = create_app(settings)
    run_service(app, settings)
    if app.state.failed:
        raise click.ClickException("the services could not be looked at any more; the log says why")
