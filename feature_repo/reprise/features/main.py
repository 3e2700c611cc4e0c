"""``reprise features``: plan, build and check features."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from reprise.event_files.exceptions import pointing_to_inspect
from reprise.event_files.options import event_file_options, memory_limit_option
from reprise.features.exceptions import NotEnoughEventsError
from reprise.runtime.durations import DURATION
from reprise.runtime.instants import INSTANT
from reprise.runtime.settings_command import error_messages

if TYPE_CHECKING:
    from reprise.features.plan import Plan

_repository = click.option(
    "--repository",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("feature_repo"),
    show_default=True,
    envvar="REPRISE_FEATURE_REPO",
    help="Folder of definitions.py and of the plan.",
)
_horizon = click.option(
    "--horizon",
    type=DURATION,
    default="30d",
    show_default=True,
    help="How far the label looks ahead, such as 30d or 12h.",
)
_events = click.option(
    "--events", type=click.Path(exists=True, path_type=Path), required=True, help="CSV or Parquet."
)


@click.group("features")
def command() -> None:
    """Plan, build and check the features."""


@command.command("plan")
@_repository
@_horizon
@click.option(
    "--events",
    type=click.Path(exists=True, path_type=Path),
    help="History to select features by, CSV or Parquet.  [default: a sample of the synthetic shop]",
)
@click.option(
    "--until",
    type=INSTANT,
    help="Select by the rows before this instant only.  [default: with --events, the first that training does not"
    " learn from, so that a model is not judged on what chose its inputs]",
)
@click.option("--dry-run", is_flag=True, help="Print the plan's features, and write nothing.")
@click.option("--all", "show_all", is_flag=True, help="List every discovered feature instead of a summary.")
@event_file_options
def plan_command(
    repository: Path,
    horizon: timedelta,
    events: Path | None,
    until: datetime | None,
    dry_run: bool,
    show_all: bool,
    import_options: Any,
) -> None:
    """Discover features, compile them, select the best, and write the plan."""
    from reprise.features.console_report import print_plan
    from reprise.features.discovery import planner
    from reprise.features.discovery.definition import load_definition

    with error_messages(), _canonical(events, import_options, horizon=horizon) as canonical:
        if until is None and events is not None:
            until = planner.end_of_training(canonical, horizon)
        result = planner.make_plan(load_definition(repository), canonical, horizon, until)
        if until is not None:
            click.echo(f"selected by the rows before {until:%Y-%m-%d %H:%M} UTC")
        print_plan(result, show_all=show_all)
        if not dry_run:
            for path in planner.write_plan(result, repository / "plan"):
                click.echo(f"wrote {path}")


@command.command("build")
@_repository
@_horizon
@click.option(
    "--refund-window",
    type=DURATION,
    default="0s",
    show_default=True,
    help="A purchase that is returned within this time, such as 14d, does not count; 0s counts every purchase.",
)
@memory_limit_option
@_events
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="File of the training rows to write: .parquet or .csv.",
)
@event_file_options
def build_command(
    repository: Path,
    horizon: timedelta,
    refund_window: timedelta,
    memory_limit: str,
    events: Path,
    out: Path,
    import_options: Any,
) -> None:
    """Build training rows: one per event, computed at its instant, with its label."""
    from reprise.features.plan import Plan
    from reprise.features.training_rows import build_training_rows
    from reprise.runtime.progress import progress

    with error_messages(out):
        plan = Plan.load(repository / "plan" / "plan.json")
        with (
            _canonical(events, import_options, horizon=horizon, plan=plan) as canonical,
            progress("Building training rows", None, "rows") as bar,
        ):
            report = build_training_rows(
                canonical,
                out,
                plan,
                horizon,
                refund_window=refund_window,
                memory_limit=memory_limit,
                advance=bar.advance,
            )
        click.echo(f"{out}: {report}")


@command.command("check")
@_repository
@memory_limit_option
@_events
@click.option(
    "--reference-rows",
    default="200",
    show_default=True,
    help="Number of rows, drawn at random, that Featuretools computes too (about ten a second); or all.",
)
@click.option(
    "--spark",
    "spark_master",
    metavar="MASTER",
    help="Compute every row on Spark too, with this master, such as local[*]; needs reprise[spark] and Java 17.",
)
@click.option(
    "--spark-files",
    metavar="URL",
    help="With --spark: folder, or URL such as s3://bucket/spark, that executors on other machines reach too.",
)
@event_file_options
def check_command(
    repository: Path,
    memory_limit: str,
    events: Path,
    reference_rows: str,
    spark_master: str | None,
    spark_files: str | None,
    import_options: Any,
) -> None:
    """Compute every feature of every row with three executors, and compare."""
    from reprise.features.console_report import print_check
    from reprise.features.discovery.definition import load_definition
    from reprise.features.parity.check import check_parity
    from reprise.features.plan import Plan

    if reference_rows != "all" and not (reference_rows.isdecimal() and int(reference_rows)):
        raise click.BadParameter(
            f"{reference_rows!r} is neither a number of at least 1 nor all", param_hint="--reference-rows"
        )
    with error_messages():
        plan = Plan.load(repository / "plan" / "plan.json")
        with _canonical(events, import_options, plan=plan) as canonical:
            report = check_parity(
                canonical,
                plan,
                load_definition(repository),
                reference_rows=None if reference_rows == "all" else int(reference_rows),
                memory_limit=memory_limit,
                spark_master=spark_master,
                spark_files=spark_files,
            )
    print_check(report)
    sys.exit(1 if report.mismatches else 0)


@command.command("states")
@_repository
@memory_limit_option
@click.option("--events", type=click.Path(exists=True, path_type=Path), help="CSV or Parquet.")
@click.option(
    "--offline",
    metavar="URL",
    help="Offline store, whose records the stream will skip.  [default: REPRISE_OFFLINE_STORE, unless --events]",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for one Parquet file per view.  [default: data/states in the repository]",
)
@event_file_options
def states_command(
    repository: Path,
    memory_limit: str,
    events: Path | None,
    offline: str | None,
    out: Path | None,
    import_options: Any,
) -> None:
    """Write the states over time, which are Feast's offline store."""
    from reprise.features.feast.state_files import write_state_rows
    from reprise.features.plan import Plan
    from reprise.runtime.progress import progress

    url = offline or (os.environ.get("REPRISE_OFFLINE_STORE") if events is None else None)
    if (events is None) == (url is None):
        raise click.UsageError("give one of --events, --offline and REPRISE_OFFLINE_STORE")
    folder = out or repository / "data" / "states"
    with error_messages(folder), _canonical(events, import_options, url) as source:
        plan = Plan.load(repository / "plan" / "plan.json")
        with progress("Writing states", None, "rows") as bar:
            report = write_state_rows(source, folder, plan, memory_limit=memory_limit, advance=bar.advance)
        click.echo(f"{folder}: {report}")


@contextmanager
def _canonical(
    events: Path | None,
    import_options: Any,
    offline: str | None = None,
    horizon: timedelta | None = None,
    plan: "Plan | None" = None,
) -> Iterator[Path]:
    """Yield a canonical Parquet file of events: imported, archived, or else a sample of the synthetic shop.

    With a horizon, imported events end where training takes history to end. Notes name the event types of the plan.

    Archived events include duplicates, are in the order of arrival, and have their log positions.
    """
    with TemporaryDirectory(prefix="reprise-events-") as folder:
        path = Path(folder) / "events.parquet"
        if offline is not None:
            from reprise.archive import OfflineStore, write_events

            archived = write_events(OfflineStore(offline), path, order="arrival")
            click.echo(f"{archived.records:,} records of {offline}")
        elif events is not None:
            from reprise.event_files.importer import DELIVERED_FRAMES, import_events

            report = import_events(
                events,
                path,
                options=import_options,
                frames=plan.frames if plan else DELIVERED_FRAMES,
                purchase_type=plan.purchase_type if plan else "purchase",
            )
            if horizon is not None:
                from reprise.event_files.history_end import end_history
                from reprise.sql import MEMORY_LIMIT

                report = end_history(path, report, horizon, MEMORY_LIMIT)
            click.echo(report.render())
        else:
            from reprise.features.discovery.planner import write_sample

            click.echo(f"sample of the synthetic shop: {write_sample(path):,} events")
        with pointing_to_inspect(events, NotEnoughEventsError):
            yield path
