"""The ``doctor`` command."""

from typing import TYPE_CHECKING

import click

from reprise.runtime.settings_command import settings_command

if TYPE_CHECKING:
    from reprise.doctor.settings import DoctorSettings


@settings_command(
    "doctor",
    "reprise.doctor.settings:DoctorSettings",
    options={
        "--servers": "kafka_servers",
        "--log-dir": "log_dir",
        "--redis-host": "redis_host",
        "--redis-port": "redis_port",
        "--plan": "plan",
        "--model-store": "model_store",
        "--feast-registry": "feast_registry",
        "--predictor": "predictor_url",
        "--producer": "producer_url",
        "--timeout": "check_seconds",
        "--canary-timeout": "canary_seconds",
    },
)
@click.option("--only", multiple=True, metavar="CHECK", help="Run only this check; may be repeated.")
@click.option("--skip", multiple=True, metavar="CHECK", help="Skip this check; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(settings: "DoctorSettings", only: tuple[str, ...], skip: tuple[str, ...], as_json: bool) -> None:
    """Check a running installation end to end, and say how to fix what fails.

    The checks: log, topics, redis, redis-users, feast, model, producer, predictor, served-model, canary. The canary
    sends an event of a user that no shop has (reprise-doctor-…), waits until its features can be read, requests a
    prediction, and removes its rows from Redis. Training and evaluation leave such users out.

    The exit status is 0 if at least one check passed and none failed.
    """
    from rich.console import Console

    from reprise.doctor.installation import examine
    from reprise.doctor.report import all_passed, print_table, to_json

    results = examine(settings, only, skip)
    if as_json:
        click.echo(to_json(results), nl=False)
    else:
        print_table(results, Console())
    if not all_passed(results):
        raise click.exceptions.Exit(1)
