"""The ``doctor`` command."""

from pathlib import Path
from typing import Any

import click


@click.command("doctor")
@click.option(
    "--only", multiple=True, metavar="CHECK", help="Run this check only; may be given several times."
)
@click.option(
    "--skip", multiple=True, metavar="CHECK", help="Leave this check out; may be given several times."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
@click.option(
    "--servers", "kafka_servers", help="Kafka's bootstrap servers, host:port,…  [default: KAFKA_SERVERS]"
)
@click.option(
    "--log-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Without Kafka: folder of the embedded log.  [default: REPRISE_LOG_DIR, or data/log]",
)
@click.option("--redis-host", help="Host of the online store.  [default: REDIS_HOST, or localhost]")
@click.option(
    "--redis-port",
    type=click.IntRange(1, 65535),
    help="TCP port of the online store.  [default: REDIS_PORT, or 6379]",
)
@click.option(
    "--plan",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The plan that the materializers run.  [default: REPRISE_PLAN, or feature_repo/plan/plan.json]",
)
@click.option("--model-store", metavar="URL", help="The model store.  [default: MODEL_STORE]")
@click.option(
    "--feast-registry", metavar="URL", help="The file of Feast's registry.  [default: FEAST_REGISTRY]"
)
@click.option(
    "--predictor",
    "predictor_url",
    metavar="URL",
    help="The predictor.  [default: DOCTOR_PREDICTOR_URL, or http://localhost:8000]",
)
@click.option(
    "--producer",
    "producer_url",
    metavar="URL",
    help="The producer, which takes the canary's event; without, the log does.  [default: DOCTOR_PRODUCER_URL]",
)
@click.option(
    "--timeout",
    "check_seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Longest that one check may take.  [default: DOCTOR_CHECK_SECONDS, or 30]",
)
@click.option(
    "--canary-timeout",
    "canary_seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Longest that the canary's event may take to be readable.  [default: DOCTOR_CANARY_SECONDS, or 30]",
)
def command(only: tuple[str, ...], skip: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Check a running installation from end to end, and say what to do about what is wrong.

    The checks: log, topics, redis, redis-users, feast, model, producer, predictor, served-model, canary. The last
    one sends an event of a user that no shop has (reprise-doctor-…), waits until its features can be read, asks for a
    prediction, and removes its rows from Redis. What trains or judges from the archive leaves such users out.

    The exit status is 0 where nothing failed, and something was checked.
    """
    from rich.console import Console

    from reprise.doctor.examining import examine
    from reprise.doctor.exceptions import DoctorError
    from reprise.doctor.report import all_is_well, plain_or_terminal, print_table, to_json
    from reprise.doctor.settings import DoctorSettings
    from reprise.features.exceptions import FeatureEngineError
    from reprise.runtime.exceptions import RuntimeLibraryError
    from reprise.store.exceptions import OnlineStoreError

    try:
        results = examine(DoctorSettings.load(**given), only, skip)
    except (DoctorError, FeatureEngineError, OnlineStoreError, RuntimeLibraryError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(to_json(results), nl=False)
    else:
        print_table(results, plain_or_terminal(Console()))
    if not all_is_well(results):
        raise click.exceptions.Exit(1)
