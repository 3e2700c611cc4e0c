"""The command ``reprise outcomes``, and the outcomes job's container."""

import sys
from typing import TYPE_CHECKING

import click

from reprise.runtime.settings_command import settings_command

if TYPE_CHECKING:
    from reprise.outcomes.settings import OutcomesSettings

INCONSISTENT = 4
"""Exit status if online and offline features disagree, or models do not reproduce logged probabilities."""


@settings_command(
    "outcomes",
    "reprise.outcomes.settings:OutcomesSettings",
    options={
        "--offline": "offline_store",
        "--model-store": "model_store",
        "--events": "events",
        "--out": "out",
        "--horizon": "horizon",
        "--early-horizon": "early_horizon",
        "--exposure": "exposure",
        "--lateness": "lateness",
        "--check-rows": "check_rows",
        "--check-window": "check_window",
        "--publish/--no-publish": "publish",
    },
    epilog="Exit status: 0 success, 1 an error, 2 invalid options, 4 the report is written, but logged features or"
    " probabilities are not those of the offline store and the models. Other settings: OUTCOMES_* in the environment.",
)
def command(settings: "OutcomesSettings") -> None:
    """Evaluate the archived predictions, arm by arm, by what users did afterwards.

    Joins every prediction whose horizon is over with the purchases that followed, measures each arm, tests each
    candidate against the baseline with a sequential test, recomputes a sample of the logged features from the offline
    store, and writes a report, metrics, and the evidence for the rollout operator.
    """
    from reprise.outcomes.job import run
    from reprise.outcomes.metrics import JOB, OutcomesMetrics
    from reprise.outcomes.report.summary import render_summary
    from reprise.runtime.job_metrics import reported_job

    with reported_job(JOB, settings) as report:
        result = run(settings)
        OutcomesMetrics(report.registry).show(result.evaluation)
    click.echo(render_summary(result.evaluation))
    click.echo(f"report      {result.report}")
    if result.evaluation.consistency.mismatched or result.evaluation.reproduction.differing:
        sys.exit(INCONSISTENT)
