"""The ``produce`` command."""

from typing import TYPE_CHECKING

import click

from reprise.runtime.settings_command import settings_command

if TYPE_CHECKING:
    from reprise.producer.settings import ProducerSettings


@settings_command(
    "produce",
    "reprise.producer.settings:ProducerSettings",
    options={"--host": "api_host", "--port": "api_port", "--log-dir": "log_dir"},
    logs=True,
    context_settings={"show_default": True},
)
@click.option(
    "--mode",
    type=click.Choice(["continuous", "burst", "serve"]),
    default="continuous",
    help="continuous: simulate at a fixed rate and serve HTTP until stopped."
    " burst: simulate a number of events as fast as possible, then exit. serve: HTTP only.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, 1e6, min_open=True),
    default=120.0,
    help="Simulated events per second.",
)
@click.option("--count", type=click.IntRange(1), default=10_000, help="Number of events in a burst.")
@click.option("--http/--no-http", default=True, help="Whether the continuous mode serves HTTP.")
@click.option("--users", type=click.IntRange(1, 10_000_000), default=2_000, help="Number of simulated users.")
@click.option(
    "--products", type=click.IntRange(1, 1_000_000), default=300, help="Number of simulated products."
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=7,
    help="Seed; with the same seed, users and products as a history, the shop is the same.",
)
def command(
    settings: "ProducerSettings",
    mode: str,
    rate: float,
    count: int,
    http: bool,
    users: int,
    products: int,
    seed: int,
) -> None:
    """Take shopping events over HTTP, or simulate them, and append them to the event log."""
    from reprise.producer import runner
    from reprise.shop import ShopConfig

    shop = ShopConfig(seed=seed, users=users, products=products)
    if mode == "burst":
        acknowledged, seconds = runner.simulate_burst(settings, shop, count)
        click.echo(f"{acknowledged:,} events in {seconds:.1f} s, {acknowledged / seconds:,.0f} a second")
    elif mode == "continuous" and not http:
        runner.simulate_continuously(settings, shop, rate)
    else:
        runner.serve(settings, shop=shop if mode == "continuous" else None, rate=rate)
