"""The command ``reprise train``, and the trainer's container."""

import sys
from pathlib import Path
from typing import Any

import click

from reprise.event_files.options import event_file_options
from reprise.runtime.durations import DURATION

REFUSED = 3
"""Exit status when the data cannot be learnt from."""


@click.command(
    epilog="Exit status: 0 published, 1 something failed, 2 wrong options, 3 the data cannot be learnt from."
)
@click.option(
    "--events",
    required=True,
    type=click.Path(path_type=Path),
    envvar="TRAINER_EVENTS",
    show_envvar=True,
    help="CSV or Parquet file of events, a folder of them, or a pattern.",
)
@click.option(
    "--out",
    required=True,
    metavar="STORE_URL",
    envvar="TRAINER_OUT",
    show_envvar=True,
    help="Model store: a folder, or a URL such as file://./models or s3://bucket/models.",
)
@click.option(
    "--horizon",
    type=DURATION,
    default="30d",
    show_default=True,
    envvar="TRAINER_HORIZON",
    show_envvar=True,
    help="How far ahead a purchase counts, such as 30d or 12h.",
)
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    envvar="TRAINER_TRUTH",
    show_envvar=True,
    help="CSV or Parquet of the true probability of each event (columns event_id and probability), as datagen "
    "writes it, to report how good any model could be.",
)
@click.option(
    "--plan",
    type=click.Path(path_type=Path),
    default="feature_repo/plan/plan.json",
    show_default=True,
    envvar="TRAINER_PLAN",
    show_envvar=True,
    help="The compiled feature plan.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    envvar="TRAINER_SEED",
    show_envvar=True,
    help="Seed of everything random: same data, same seed, same model.",
)
@click.option(
    "--cv-folds",
    type=click.IntRange(0, 20),
    default=3,
    show_default=True,
    envvar="TRAINER_CV_FOLDS",
    show_envvar=True,
    help="Forward-chaining folds that choose the forest's grain; 0 takes the default grain.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    show_default="best F1 on the calibration rows",
    envvar="TRAINER_THRESHOLD",
    show_envvar=True,
    help="Probability from which a purchase is predicted.",
)
@click.option(
    "--max-rows",
    type=click.IntRange(min=1_000),
    default=1_000_000,
    show_default=True,
    envvar="TRAINER_MAX_ROWS",
    show_envvar=True,
    help="Most rows used; more are sampled evenly, and the report says so.",
)
@click.option(
    "--memory-limit",
    default="4GiB",
    show_default=True,
    envvar="TRAINER_MEMORY_LIMIT",
    show_envvar=True,
    help="What DuckDB may hold in memory, such as 2GiB; the rest spills to disk.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    show_default="all processors",
    envvar="TRAINER_JOBS",
    show_envvar=True,
    help="Threads; the model does not depend on their number.",
)
@click.option(
    "--work-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False, writable=True),
    show_default="the system's",
    envvar="TRAINER_WORK_DIR",
    show_envvar=True,
    help="Folder for temporary files, several times the size of the events.",
)
@click.option(
    "--set-latest/--no-set-latest",
    default=True,
    show_default=True,
    envvar="TRAINER_SET_LATEST",
    show_envvar=True,
    help="Mark the bundle as the store's latest; never with --rollout, which decides what serves.",
)
@click.option(
    "--rollout",
    metavar="[NAMESPACE/]NAME",
    envvar="TRAINER_ROLLOUT",
    show_envvar=True,
    help="ModelRollout whose candidate the bundle becomes, if it is not worse than the baseline on the same "
    "held-out rows.",
)
@click.option(
    "--rollout-candidate",
    metavar="NAME",
    show_default="trained",
    envvar="TRAINER_ROLLOUT_CANDIDATE",
    show_envvar=True,
    help="Name of that candidate; made where the rollout has none of it.",
)
@click.option(
    "--rollout-percent",
    type=click.FloatRange(0, 100, min_open=True),
    show_default="what it has, or 50",
    envvar="TRAINER_ROLLOUT_PERCENT",
    show_envvar=True,
    help="Share of the users that the candidate has in the end, percent.",
)
@click.option(
    "--rollout-brier-tolerance",
    type=click.FloatRange(min=0),
    show_default="0.01",
    envvar="TRAINER_ROLLOUT_BRIER_TOLERANCE",
    show_envvar=True,
    help="How much higher the Brier score may be than the baseline's and be not worse, as a part of that.",
)
@click.option(
    "--rollout-auc-tolerance",
    type=click.FloatRange(min=0),
    show_default="0.005",
    envvar="TRAINER_ROLLOUT_AUC_TOLERANCE",
    show_envvar=True,
    help="How much lower the ROC AUC may be than the baseline's and be not worse.",
)
@event_file_options
def command(import_options: Any, **options: Any) -> None:
    """Train a model on a file of events, judge it, and publish it as a bundle.

    Computes the plan's features for each event as of its own moment, learns on the earlier part of history,
    calibrates on a later part, and reports on the last part against two baselines. Published is one ONNX graph
    with its manifest, and a model card to read in a browser.
    """
    from reprise.bundle import BundleError
    from reprise.event_files import EventFilesError
    from reprise.features.exceptions import FeatureEngineError
    from reprise.runtime.exceptions import RuntimeLibraryError
    from reprise.runtime.job_metrics import reported_job
    from reprise.trainer.exceptions import TrainerError, TrainingRefusedError
    from reprise.trainer.metrics import JOB, TrainerMetrics
    from reprise.trainer.pipeline import train
    from reprise.trainer.publication.summary import render_summary
    from reprise.trainer.settings import TrainerSettings

    try:
        settings = TrainerSettings.load(**options)
        with reported_job(JOB, settings.pushgateway_url) as report:
            result = train(settings, import_options)
            TrainerMetrics(report.registry).show(result)
    except TrainingRefusedError as refused:
        click.echo(f"This cannot be learnt from: {refused}", err=True)
        sys.exit(REFUSED)
    except (TrainerError, BundleError, EventFilesError, FeatureEngineError, RuntimeLibraryError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(render_summary(result))
