"""The ``report`` command."""

from typing import TYPE_CHECKING

import click

from reprise.runtime.settings_command import settings_command

if TYPE_CHECKING:
    from reprise.scoring.settings import ScoringSettings


@settings_command("report", "reprise.scoring.settings:ScoringSettings", options={"--out": "out"})
def command(settings: "ScoringSettings") -> None:
    """Show the latest results of an output on one page, report.html in it.

    The page has the demand by product, what to reorder first, the errors of earlier forecasts, and the users at risk,
    as far as the output has them, and says what it does not have. It loads nothing.
    """
    from reprise.scoring.report.run import write_report

    click.echo(write_report(settings))
