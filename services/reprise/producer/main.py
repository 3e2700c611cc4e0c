"""The ``produce`` command."""

from pathlib import Path

import click


@click.command("produce", context_settings={"show_default": True})
@click.option(
    "--mode",
    type=click.Choice(["continuous", "burst", "serve"]),
    default="continuous",
    help="continuous: simulate at a steady rate and take events over HTTP, until stopped. "
    "burst: simulate a number of events as fast as possible, then exit. serve: HTTP only.",
)
@click.option(
    "--rate", type=click.FloatRange(0, 1e6, min_open=True), default=120.0, help="Simulated events a second."
)
@click.option("--count", type=click.IntRange(1), default=10_000, help="Events of a burst.")
@click.option(
    "--http/--no-http", default=True, help="Whether continuous mode takes events over HTTP as well."
)
@click.option(
    "--users", type=click.IntRange(1, 10_000_000), default=2_000, help="Size of the simulated customer base."
)
@click.option(
    "--products", type=click.IntRange(1, 1_000_000), default=300, help="Size of the simulated catalogue."
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=7,
    help="Same seed, users and products as a history: the same people and goods.",
)
@click.option("--host", help="Address to listen on.  [default: API_HOST, or 0.0.0.0]")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="TCP port to listen on.  [default: API_PORT, or 8001]"
)
@click.option(
    "--log-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the embedded log.  [default: REPRISE_LOG_DIR, or data/log]",
)
def command(
    mode: str,
    rate: float,
    count: int,
    http: bool,
    users: int,
    products: int,
    seed: int,
    host: str | None,
    port: int | None,
    log_dir: Path | None,
) -> None:
    """Take shopping events over HTTP, or simulate them, and append them to the event log."""
    from reprise.http.exceptions import HttpLibraryError
    from reprise.log import EventLogError
    from reprise.producer import runner as producing
    from reprise.producer.services.simulator import ProducerError
    from reprise.producer.settings import ProducerSettings
    from reprise.runtime.exceptions import RuntimeLibraryError
    from reprise.runtime.logs import configure_logging
    from reprise.shop import ShopConfig

    try:
        settings = ProducerSettings.load(api_host=host, api_port=port, log_dir=log_dir)
        configure_logging(settings.log_level, settings.log_json)
        shop = ShopConfig(seed=seed, users=users, products=products)
        if mode == "burst":
            taken, seconds = producing.simulate_burst(settings, shop, count)
            click.echo(f"{taken:,} events in {seconds:.1f} s, {taken / seconds:,.0f} a second")
        elif mode == "continuous" and not http:
            producing.simulate_continuously(settings, shop, rate)
        else:
            producing.serve(settings, simulate=shop if mode == "continuous" else None, rate=rate)
    except (EventLogError, HttpLibraryError, RuntimeLibraryError, ProducerError) as error:
        raise click.ClickException(str(error)) from None
