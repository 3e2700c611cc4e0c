"""The ``size`` command: how many of each component a load needs."""

import json
import math
from collections.abc import Callable
from dataclasses import MISSING, asdict, fields
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


def _option(
    name: str, kind: click.ParamType[Any], text: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the option of a field of ``Load`` or ``Margins``, with its default."""
    default = _DEFAULTS[name.replace("-", "_")]
    given: dict[str, Any] = {"default": default, "show_default": True}
    if default is MISSING:
        given = {"required": True}
    return click.option(f"--{name}", type=kind, help=text, **given)


@click.command("size")
@_option("events-per-day", _AT_LEAST_ONE, "Events of a day, such as 1e9.")
@_option("users", _AT_LEAST_ONE, "Users with a row in the online store.")
@_option("products", _AT_LEAST_ONE, "Products with a row in the online store.")
@_option("pairs-per-user", _NUMBER, "Products that a user has an event with.")
@_option("predictions-per-second", _NUMBER, "Predictions a second at the peak.")
@_option("peak", _AT_LEAST_ONE, "Peak of events over the day's mean.")
@_option("kafka-days", _NUMBER, "Retention of the topics.")
@_option("archive-days", _NUMBER, "Retention of the archive.")
@_option("training-days", _NUMBER, "History of a training.")
@_option("training-hours", _Number(min=0.1, max=1e6), "Time in which Spark computes its rows.")
@_option("zones", click.IntRange(2), "Zones, one of which may be lost.")
@_option(
    "utilization",
    click.FloatRange(0, 1, min_open=True),
    "Share of a processor that is used at the peak.",
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
    from reprise.cli.size.unit_costs import UnitCosts

    costs = UnitCosts()
    if bench is not None:
        try:
            costs = UnitCosts.of(json.loads(bench.read_bytes()))
        except ValueError as error:
            raise click.BadParameter(f"{bench}: {error}", param_hint="--bench") from None
    report = Report.of(Load(**load), costs, Margins(utilization=utilization, zones=zones))
    click.echo(json.dumps(asdict(report), indent=2) if as_json else str(report))
