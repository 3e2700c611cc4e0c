"""The ``demand`` command."""

from typing import TYPE_CHECKING

import click

from reprise.runtime.settings_command import settings_command
from reprise.scoring.options import HORIZON, OPTIONS, backtests_option, source_options

if TYPE_CHECKING:
    from reprise.scoring.inputs import ScoringInputs


@settings_command("demand", "reprise.scoring.settings:ScoringSettings", options=OPTIONS | HORIZON)
@backtests_option
@source_options
def command(inputs: "ScoringInputs", backtests: int) -> None:
    """Forecast the demand for each product within the horizon: buyers, units and revenue.

    Writes demand-YYYY-MM-DD-<digest>.parquet (or .csv), with 80 % intervals, and prints the largest products and how
    good the forecasts of earlier instants were. A further horizon's seconds follow the digest.
    """
    from reprise.scoring.demand.run import forecast_demand

    click.echo(str(forecast_demand(inputs, backtests)))
