"""The ``retention`` command."""

from typing import TYPE_CHECKING

import click

from reprise.runtime.settings_command import settings_command
from reprise.scoring.options import OPTIONS, backtests_option, source_options

if TYPE_CHECKING:
    from reprise.scoring.inputs import ScoringInputs


@settings_command("retention", "reprise.scoring.settings:ScoringSettings", options=OPTIONS)
@backtests_option
@source_options
def command(inputs: "ScoringInputs", backtests: int) -> None:
    """Score every user with a purchase: the probability of buying anything within the model's horizon.

    Writes retention/date=YYYY-MM-DD/model=<digest>/part-*.parquet (or .csv) with the drop since one horizon before, the
    usual gap between purchases and the spend in a horizon, then _manifest.json. Prints the users by band, and
    how good the probabilities of earlier instants were. Does nothing if the manifest of the instant and model is there.
    """
    from reprise.scoring.retention.run import score_users

    click.echo(str(score_users(inputs, backtests)))
