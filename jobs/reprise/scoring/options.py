"""Options that the scoring commands share."""

import functools
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from reprise.event_files.options import event_file_options, memory_limit_option
from reprise.runtime.instants import INSTANT
from reprise.runtime.settings_command import EXECUTOR_OPTIONS

_OWN = ("out", "model_store", "model", "format", "chunk")
OPTIONS = {f"--{name.replace('_', '-')}": name for name in _OWN} | EXECUTOR_OPTIONS
"""Field of each option of the settings."""
HORIZON = {"--horizon": "horizon"}
"""That of the commands that answer for further horizons."""
NIGHTLY = {f"--{name.replace('_', '-')}": name for name in ("horizons", "keep_days", "keep_campaign_days")}
"""Those of the nightly run alone."""

backtests_option = click.option(
    "--backtests",
    type=click.IntRange(0, 24),
    default=3,
    show_default=True,
    help="Earlier instants, a horizon apart, at which demand and retention are compared with what users then did. The"
    " errors of the demand give its intervals; each instant takes as long as the forecast.",
)


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the events and the instant; the command receives ``ScoringInputs`` instead of settings.

    It is a usage error if there is no source of events.
    """

    @click.option(
        "--events",
        type=click.Path(path_type=Path),
        help="History (CSV, JSON, Excel or Parquet): a file, a folder or a pattern; with --offline, all events from"
        " before the log.",
    )
    @click.option(
        "--offline",
        metavar="URL",
        help="Offline store.  [default: REPRISE_OFFLINE_STORE, unless --events is given]",
    )
    @click.option(
        "--at",
        type=INSTANT,
        help="The instant: earlier events count, later ones do not; a date is midnight UTC."
        "  [default: today, 00:00 UTC]",
    )
    @memory_limit_option
    @event_file_options
    @functools.wraps(command)
    def wrapped(
        settings: Any,
        events: Path | None,
        offline: str | None,
        at: datetime | None,
        import_options: Any,
        memory_limit: str,
        **others: Any,
    ) -> Any:
        from reprise.scoring.inputs import ScoringInputs  # noqa: PLC0415 - as in main.py

        url = settings.offline_url(events, offline)
        instant = at or datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        with ScoringInputs(settings, events, url, instant, import_options, memory_limit) as inputs:
            return command(inputs, **others)

    return wrapped
