"""The command ``reprise train``, and the trainer's container."""

import sys
from typing import TYPE_CHECKING, Any

import click

from reprise.event_files.options import event_file_options
from reprise.runtime.settings_command import EXECUTOR_OPTIONS, settings_command

if TYPE_CHECKING:
    from reprise.trainer.settings import TrainerSettings

REFUSED = 3
"""Exit status if the data is not enough to train on."""


@settings_command(
    "train",
    "reprise.trainer.settings:TrainerSettings",
    inherited=tuple(EXECUTOR_OPTIONS.values()),
    environment=True,
    epilog="Exit status: 0 published, 1 something failed, 2 wrong options, 3 the data is not enough to train on.",
)
@event_file_options
def command(settings: "TrainerSettings", import_options: Any) -> None:
    """Train a model on a file of events, evaluate it, and publish it as a bundle.

    Computes the plan's features for each event as of the event's own time. Grows a forest on the earlier part of the
    history, calibrates it on a later part, and evaluates it on the last part against baselines. Then grows a forest
    of the same parameters on everything labelled and publishes it: an ONNX graph with its manifest, and a model card
    to read in a browser.
    """
    from reprise.event_files.exceptions import inspect_hint
    from reprise.runtime.job_metrics import reported_job
    from reprise.runtime.signals import exit_on_sigterm
    from reprise.trainer.exceptions import TrainingRefusedError
    from reprise.trainer.metrics import JOB, TrainerMetrics
    from reprise.trainer.pipeline import train
    from reprise.trainer.summary import render_summary

    try:
        with exit_on_sigterm(), reported_job(JOB, settings) as report:
            result = train(settings, import_options)
            TrainerMetrics(report.registry).show(result)
    except TrainingRefusedError as refused:
        click.echo(
            f"This data is not enough to train on: {refused}\n{inspect_hint(settings.events)}", err=True
        )
        sys.exit(REFUSED)
    click.echo(render_summary(result))
