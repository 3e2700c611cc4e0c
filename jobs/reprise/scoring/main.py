"""The ``score`` command."""

from typing import TYPE_CHECKING

import click

from reprise.runtime.settings_command import settings_command
from reprise.scoring.options import HORIZON, OPTIONS, source_options

if TYPE_CHECKING:
    from reprise.scoring.inputs import ScoringInputs


@settings_command("score", "reprise.scoring.settings:ScoringSettings", options=OPTIONS | HORIZON)
@source_options
def command(inputs: "ScoringInputs") -> None:
    """Score every product that each user bought: the probability of buying it again within the horizon.

    Writes date=YYYY-MM-DD/model=<digest>/part-*.parquet (or .csv), and _manifest.json when all parts are there. Scores
    of the same instant and model are not computed twice. An interrupted run continues at the first missing part.
    Scores of the same model and another instant of the date are replaced. Those of a further horizon are in a folder
    of their own, horizon=<seconds>/.
    """
    from reprise.scoring.run import score

    click.echo(str(score(inputs)))
