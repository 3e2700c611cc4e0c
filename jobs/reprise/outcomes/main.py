"""The command ``reprise outcomes``, and the outcomes job's container."""

import sys
from pathlib import Path
from typing import Any

import click

from reprise.runtime.durations import DURATION

INCONSISTENT = 4
"""Exit status when online and offline features disagree, or logged probabilities cannot be had again."""


@click.command(
    "outcomes",
    epilog="Exit status: 0 all is well, 1 something failed, 2 wrong options, 4 the report is written, but logged"
    " features are not those of the offline store. Everything else is set by OUTCOMES_* in the environment.",
)
@click.option(
    "--offline", metavar="URL", help="The offline store.  [default: REPRISE_OFFLINE_STORE, or data/offline]"
)
@click.option(
    "--model-store", metavar="URL", help="Where the bundles are.  [default: MODEL_STORE, or models]"
)
@click.option(
    "--events",
    type=click.Path(exists=True, path_type=Path),
    help="History from before the log began, where the online store was filled from it.",
)
@click.option("--out", metavar="URL", help="Where the report goes.  [default: OUTCOMES_OUT, or outcomes]")
@click.option(
    "--horizon",
    type=DURATION,
    help="How far ahead a purchase counts, such as 30d.  [default: what the arms' models predict]",
)
@click.option(
    "--early-horizon",
    type=DURATION,
    help="Horizon of the early read.  [default: OUTCOMES_EARLY_HORIZON, or 1d]",
)
@click.option(
    "--exposure",
    type=DURATION,
    help="How long after a user's first prediction its predictions count.  [default: OUTCOMES_EXPOSURE, or 1d]",
)
@click.option(
    "--lateness",
    type=DURATION,
    help="How late an event may be archived.  [default: OUTCOMES_LATENESS, or 15m]",
)
@click.option(
    "--check-rows",
    type=click.IntRange(0),
    help="How many predictions have their features recomputed; 0 for none.  [default: OUTCOMES_CHECK_ROWS, or 5000]",
)
@click.option(
    "--check-window",
    type=DURATION,
    help="How far back these are drawn.  [default: OUTCOMES_CHECK_WINDOW, or 1d]",
)
@click.option(
    "--publish/--no-publish",
    default=None,
    help="Read the routing document from Redis and publish evidence there.  [default: OUTCOMES_PUBLISH, or yes]",
)
def command(offline: str | None, **options: Any) -> None:
    """Judge the archived predictions by what users then did, arm by arm.

    Joins every prediction whose horizon is over with the purchases that followed, measures each arm, tests each
    candidate against the baseline in a way that may be looked at every hour, recomputes a sample of the logged
    features from the offline store, and writes a report, metrics, and the evidence that the operator promotes by.
    """
    from reprise.archive import OfflineStoreError
    from reprise.bundle import BundleError
    from reprise.event_files import EventFilesError
    from reprise.features.exceptions import FeatureEngineError
    from reprise.outcomes.exceptions import OutcomesError
    from reprise.outcomes.job import run
    from reprise.outcomes.metrics import JOB, OutcomesMetrics
    from reprise.outcomes.report.summary import render_summary
    from reprise.outcomes.settings import OutcomesSettings
    from reprise.routing import RoutingError
    from reprise.runtime.exceptions import RuntimeLibraryError
    from reprise.runtime.job_metrics import reported_job
    from reprise.store.exceptions import OnlineStoreError

    try:
        settings = OutcomesSettings.load(offline_store=offline, **options)
        with reported_job(JOB, settings.pushgateway_url) as report:
            ran = run(settings)
            OutcomesMetrics(report.registry).show(ran.findings)
    except (
        BundleError,
        EventFilesError,
        FeatureEngineError,
        OfflineStoreError,
        OnlineStoreError,
        OutcomesError,
        RoutingError,
        RuntimeLibraryError,
    ) as error:
        raise click.ClickException(str(error)) from error
    click.echo(render_summary(ran.findings))
    click.echo(f"report      {ran.report}")
    if ran.findings.consistency.mismatched or ran.findings.reproduction.differing:
        sys.exit(INCONSISTENT)
