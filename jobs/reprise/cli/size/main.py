"""The ``size`` command: how many of each component a load needs."""

import json
import math
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import click

from reprise.cli.size.sizes import Load, Margins


class _Number(click.FloatRange):
    """A range of numbers, which nan is not in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


_NUMBER = _Number(min=0, max=1e15)
_AT_LEAST_ONE = _Number(min=1, max=1e15)
_DEFAULTS = {each.name: each.default for kind in (Load, Margins) for each in fields(kind)}


@click.command("size")
@click.option("--events-per-day", type=_AT_LEAST_ONE, required=True, help="Events of a day, such as 1e9.")
@click.option("--users", type=_AT_LEAST_ONE, required=True, help="Users with a row in the online store.")
@click.option(
    "--products", type=_AT_LEAST_ONE, required=True, help="Products with a row in the online store."
)
@click.option(
    "--pairs-per-user",
    type=_NUMBER,
    default=_DEFAULTS["pairs_per_user"],
    show_default=True,
    help="Products that a user has an event with.",
)
@click.option(
    "--predictions-per-second",
    type=_NUMBER,
    default=_DEFAULTS["predictions_per_second"],
    help="Predictions a second at the peak.",
)
@click.option(
    "--peak",
    type=_AT_LEAST_ONE,
    default=_DEFAULTS["peak"],
    show_default=True,
    help="Peak of events over the day's mean.",
)
@click.option(
    "--kafka-days",
    type=_NUMBER,
    default=_DEFAULTS["kafka_days"],
    show_default=True,
    help="Retention of the topics.",
)
@click.option(
    "--archive-days",
    type=_NUMBER,
    default=_DEFAULTS["archive_days"],
    show_default=True,
    help="Retention of the archive.",
)
@click.option(
    "--training-days",
    type=_NUMBER,
    default=_DEFAULTS["training_days"],
    show_default=True,
    help="History of a training.",
)
@click.option(
    "--training-hours",
    type=_Number(min=0.1, max=1e6),
    default=_DEFAULTS["training_hours"],
    show_default=True,
    help="Time in which Spark computes its rows.",
)
@click.option(
    "--zones",
    type=click.IntRange(2),
    default=_DEFAULTS["zones"],
    show_default=True,
    help="Zones, one of which may be lost.",
)
@click.option(
    "--utilization",
    type=click.FloatRange(0, 1, min_open=True),
    default=_DEFAULTS["utilization"],
    show_default=True,
    help="Share of a processor that is used at the peak.",
)
@click.option(
    "--bench",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Costs measured by make bench on your machine, build/bench.json.  [default: those of docs/bench.json]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(zones: int, utilization: float, bench: Path | None, as_json: bool, **load: float) -> None:
    """Say what a load needs: partitions, materializers, predictors, Redis, brokers, storage, Spark.

    Multiplies costs that were measured for one core. Then simulates the stream in a burst, a rolling update and the
    loss of a zone, and says how late events would be.
    """
    from reprise.cli.size.report import Report
    from reprise.cli.size.unit_costs import FigureError, UnitCosts

    costs = UnitCosts()
    if bench is not None:
        try:
            costs = UnitCosts.of(json.loads(bench.read_bytes()))
        except (FigureError, ValueError) as error:
            raise click.BadParameter(f"{bench}: {error}", param_hint="--bench") from None
    report = Report.of(Load(**load), costs, Margins(utilization=utilization, zones=zones))
    click.echo(json.dumps(asdict(report), indent=2) if as_json else str(report))
