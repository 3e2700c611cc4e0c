"""The commands ``score``, ``demand``, ``retention``, ``report`` and ``nightly``, the scoring job's container."""

from functools import partial
from typing import TYPE_CHECKING

import click

from reprise.runtime.settings_command import settings_command
from reprise.scoring.options import HORIZON, NIGHTLY, OPTIONS, backtests_option, source_options

if TYPE_CHECKING:
    from reprise.scoring.inputs import ScoringInputs
    from reprise.scoring.settings import ScoringSettings

_command = partial(settings_command, settings="reprise.scoring.settings:ScoringSettings")


@_command("score", options=OPTIONS | HORIZON)
@source_options
def score_command(inputs: "ScoringInputs") -> None:
    """Score every product that each user bought: the probability of buying it again within the horizon.

    Writes date=YYYY-MM-DD/model=<digest>/part-*.parquet (or .csv), and _manifest.json when all parts are there. Scores
    of the same instant and model are not computed twice. An interrupted run continues at the first missing part.
    Scores of the same model and another instant of the date are replaced. Those of a further horizon are in a folder
    of their own, horizon=<seconds>/.
    """
    from reprise.scoring.run import score

    click.echo(str(score(inputs)))


@_command("demand", options=OPTIONS | HORIZON)
@backtests_option
@source_options
def demand_command(inputs: "ScoringInputs", backtests: int) -> None:
    """Forecast the demand for each product within the horizon: buyers, units and revenue.

    Writes demand-YYYY-MM-DD-<digest>.parquet (or .csv), with 80 % intervals, and prints the largest products and how
    good the forecasts of earlier instants were. A further horizon's seconds follow the digest.
    """
    from reprise.scoring.demand.run import forecast_demand

    click.echo(str(forecast_demand(inputs, backtests)))


@_command("retention", options=OPTIONS)
@backtests_option
@source_options
def retention_command(inputs: "ScoringInputs", backtests: int) -> None:
    """Score every user with a purchase: the probability of buying anything within the model's horizon.

    Writes retention/date=YYYY-MM-DD/model=<digest>/part-*.parquet (or .csv) with the drop since one horizon before, the
    usual gap between purchases and the spend in a horizon, then _manifest.json. Prints the users by band, and
    how good the probabilities of earlier instants were. Does nothing if the manifest of the instant and model is there.
    """
    from reprise.scoring.retention.run import score_users

    click.echo(str(score_users(inputs, backtests)))


@_command("report", options={"--out": "out"})
def report_command(settings: "ScoringSettings") -> None:
    """Show the latest results of an output on one page, report.html in it.

    The page has the demand by product, what to reorder first, the errors of earlier forecasts, and the users at risk,
    as far as the output has them, and says what it does not have. It loads nothing.
    """
    from reprise.scoring.report.run import write_report

    click.echo(write_report(settings))


@_command("nightly", options=OPTIONS | NIGHTLY)
@backtests_option
@source_options
def nightly_command(inputs: "ScoringInputs", backtests: int) -> None:
    """Run score, demand, retention and report, one after another.

    What is there already is not computed again, so a run that failed can be repeated. A step that fails does not
    stop the others; the exit status is 1 then. Scores and demand of --horizons are written too; the
    report and retention are of the model's own horizon. First, scores of dates before --keep-days and
    campaigns of dates before --keep-campaign-days are removed.
    """
    from reprise.scoring.nightly.run import run_nightly

    for summary in run_nightly(inputs, backtests):
        click.echo(summary)
