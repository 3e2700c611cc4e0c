"""The ``audience`` command."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reprise.runtime.durations import DURATION
from reprise.runtime.instants import INSTANT
from reprise.runtime.settings_command import settings_command
from reprise.scoring.options import source_options

if TYPE_CHECKING:
    from reprise.scoring.inputs import ScoringInputs
    from reprise.scoring.settings import ScoringSettings

_SETTINGS = "reprise.scoring.settings:ScoringSettings"
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"


class _ShareType(click.ParamType[float]):
    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            share = float(str(value).removesuffix("%")) / 100
        except ValueError:
            share = -1.0
        if not 0 <= share <= 0.9:
            self.fail(f"{value!r} is not a percentage from 0% to 90%, such as 10%", param, ctx)
        return share


class _EdgesType(click.ParamType[tuple[float, ...]]):
    name = "numbers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        try:
            edges = tuple(map(float, str(value).split(",")))
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers, such as 0.2,0.5", param, ctx)
        if len({f"{edge:g}" for edge in edges}) < len(edges):
            self.fail(f"{value!r} has numbers that are equal in six digits", param, ctx)
        if list(edges) != sorted({edge for edge in edges if edge > 0}):
            self.fail(f"{value!r} are not rising numbers above 0", param, ctx)
        return edges


def _campaign(required: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def check(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(_NAME, value):
            raise click.BadParameter("expected letters, digits, and . _ - after the first", ctx, param)
        return value

    return click.option(
        "--campaign",
        metavar="NAME",
        required=required,
        callback=check,
        help="Name of the campaign; it decides who is in the holdout.",
    )


@settings_command("audience", _SETTINGS, options={"--out": "out"}, group=True)
@_campaign(required=False)
@click.option(
    "--at", type=INSTANT, help="Instant of the users' scores.  [default: the campaign's, or the latest]"
)
@click.option(
    "--model", metavar="DIGEST", help="Model of the scores, sha256:…; needed if several scored the instant."
)
@click.option(
    "--by",
    type=click.Choice(["probability", "value"]),
    default="probability",
    show_default=True,
    help="What the bands are of: the probability, or the expected value, which is probability times spend in a horizon"
    " (with --product, its mean amount) times margin.",
)
@click.option(
    "--margin",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Share of the spend that is margin; with --by value.",
)
@click.option(
    "--bands",
    type=_EdgesType(),
    metavar="NUMBERS",
    help="Rising edges between the bands.  [default: 0.2,0.4,0.6,0.8; the quartiles with --by value]",
)
@click.option(
    "--product",
    metavar="ID",
    help="Only users who bought this product, by the probability of buying it again, from the files of reprise score.",
)
@click.option(
    "--at-risk", is_flag=True, help="Only users whose probability fell by 0.2 or more within a horizon."
)
@click.option(
    "--holdout",
    type=_ShareType(),
    metavar="PERCENT",
    default="10%",
    show_default=True,
    help="Share of users who are not written to, to measure what the campaign changes.",
)
@click.option(
    "--suppress",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of user ids, the first column of a CSV or one on each line, who are never written to; as the"
    " events have them, hashed if theirs are.",
)
@click.option(
    "--format",
    type=click.Choice(["csv", "parquet"]),
    default="csv",
    show_default=True,
    help="Format of the files of users.",
)
def command(settings: "ScoringSettings", campaign: str | None, **others: Any) -> None:
    """Choose whom a campaign writes to, from the files of reprise retention or reprise score.

    Writes campaigns/NAME/write-BAND.csv with the user ids and the reason of each in words, holdout.csv with those who
    are not written to, and _manifest.json. The holdout is drawn by a hash of campaign and user, so that the same
    command gives the same files. A campaign that is there is not changed by later scores.
    """
    from reprise.scoring.audience.campaign import choose_audience

    if campaign is None:
        raise click.UsageError("Missing option '--campaign'.")
    if others["product"] is not None and others["at_risk"]:
        raise click.UsageError("--at-risk is about buying anything; leave it out with --product")
    if others["by"] == "probability" and others["bands"] and others["bands"][-1] >= 1:
        raise click.BadParameter("probabilities are below 1, such as 0.2,0.5", param_hint="--bands")
    click.echo(str(choose_audience(settings, campaign, **others)))


@settings_command("lift", _SETTINGS, options={"--out": "out"})
@_campaign(required=True)
@click.option(
    "--start", type=INSTANT, help="When the campaign was sent.  [default: the instant of the scores]"
)
@click.option("--window", type=DURATION, help="How long a purchase counts.  [default: the model's horizon]")
@source_options
def lift(inputs: "ScoringInputs", campaign: str, start: datetime | None, window: timedelta | None) -> None:
    """Compare who bought among the users written to and the holdout, when the campaign is over.

    Prints shares of buyers and their difference with a 95% interval, overall and by band, and the spend per user; and
    writes them to campaigns/NAME/lift.json.
    """
    from reprise.scoring.audience.lift import measure_lift

    click.echo(str(measure_lift(inputs, campaign, start, window)))


command.add_command(lift)
