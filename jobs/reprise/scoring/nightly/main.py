"""The ``nightly`` command, and the scoring job's container."""

from typing import TYPE_CHECKING

import click

from reprise.runtime.settings_command import settings_command
from reprise.scoring.options import OPTIONS, backtests_option, source_options

if TYPE_CHECKING:
    from reprise.scoring.inputs import ScoringInputs


@settings_command(
    "nightly",
    "reprise.scoring.settings:ScoringSettings",
    options={
        **OPTIONS,
        "--horizons": "horizons",
        "--keep-days": "keep_days",
        "--keep-campaign-days": "keep_campaign_days",
    },
)
@backtests_option
@source_options
def command(inputs: "ScoringInputs", backtests: int) -> None:
    """Run score, demand, retention and report, one after another.

    What is there already is not computed again, so a run that failed can be repeated. A step that fails does not
    stop the others; the exit status is 1 then. Scores and demand of --horizons are written too; the
    report and retention are of the model's own horizon. First, scores of dates before --keep-days and
    campaigns of dates before --keep-campaign-days are removed.
    """
    from reprise.scoring.nightly.run import run_nightly

    for summary in run_nightly(inputs, backtests):
        click.echo(summary)
