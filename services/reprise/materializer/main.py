"""The ``materialize`` command."""

from typing import TYPE_CHECKING

import click

from reprise.runtime.settings_command import settings_command

if TYPE_CHECKING:
    from reprise.materializer.settings import MaterializerSettings


@settings_command(
    "materialize",
    "reprise.materializer.settings:MaterializerSettings",
    options={
        "--plan": "plan",
        "--log-dir": "log_dir",
        "--redis-host": "redis_host",
        "--redis-port": "redis_port",
        "--host": "api_host",
        "--port": "api_port",
    },
    logs=True,
)
@click.option(
    "--until-idle",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Exit once no event has come for this time.  [default: run until SIGTERM or Ctrl-C]",
)
def command(settings: "MaterializerSettings", until_idle: float | None) -> None:
    """Fold the event log into online features, exactly once."""
    from reprise.materializer import runner

    if until_idle is None:
        runner.serve(settings)
    else:
        outcomes = runner.fold_until_idle(settings, until_idle)
        click.echo(
            ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.items()) or "nothing to fold"
        )
