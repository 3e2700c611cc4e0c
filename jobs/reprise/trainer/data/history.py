"""The history that a model is trained on: events, rows and their split by time."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from reprise import sql
from reprise.evaluation.time_split import HistoryTooShortError, Span, TimeSplit, split_by_time
from reprise.event_files.history_end import end_history
from reprise.event_files.importer import import_events
from reprise.event_files.options import ImportOptions
from reprise.event_files.report import ImportReport
from reprise.features.exceptions import NotEnoughEventsError
from reprise.features.executors.executor_choice import executor_opener
from reprise.features.plan import Plan
from reprise.features.training_rows import build_training_rows
from reprise.runtime.durations import format_duration, microseconds, timed
from reprise.runtime.executor_settings import ExecutorName
from reprise.runtime.progress import progress
from reprise.trainer.data.dataset import Dataset, load_dataset
from reprise.trainer.data.fingerprint import events_sha256
from reprise.trainer.data.rows_cache import CacheUse, cached_rows
from reprise.trainer.exceptions import TrainingRefusedError
from reprise.trainer.settings import TrainerSettings


@dataclass(frozen=True, slots=True)
class History:
    """The events of a training, and the labelled rows that were computed from them."""

    events: Path  # The canonical Parquet of the events
    sha256: str  # Of their content
    report: ImportReport  # The report of their import
    split: TimeSplit  # The spans of the evaluation
    further_splits: Mapping[timedelta, TimeSplit]  # Those of further horizons
    dataset: Dataset  # The labelled rows that are used
    labelled_rows: int  # Number of labelled rows before sampling
    anomalies: Mapping[str, int]  # Number of events by anomaly
    executor: ExecutorName  # What computed the rows
    cache: CacheUse | None  # What came from the cache of rows; None without one


def read_history(
    settings: TrainerSettings, plan: Plan, options: ImportOptions, folder: Path, durations: dict[str, float]
) -> History:
    """Import the events and compute their rows in a folder; adds the seconds of each step to ``durations``."""
    events, rows = folder / "events.parquet", folder / "rows.parquet"
    with timed(durations, "import"), progress("Reading the events", 1, "steps") as bar:
        report = import_events(
            settings.events,
            events,
            options=replace(
                options, metadata_fields=tuple(dict.fromkeys([*options.metadata_fields, *settings.slices]))
            ),
            memory_limit=settings.memory_limit,
            temp_directory=folder,
            frames=plan.frames,
            purchase_type=plan.purchase_type,
        )
        report = end_history(events, report, settings.default_horizon, settings.memory_limit)
        if report.first_us is None or report.last_us is None:
            raise TrainingRefusedError("there are no events", "a file that holds some")
        try:
            split = split_by_time(
                report.first_us, report.last_us, settings.default_horizon, settings.refund_window
            )
            further = {
                horizon: _further_split(split, report.first_us, report.last_us, horizon, settings)
                for horizon in settings.further_horizons
            }
        except HistoryTooShortError as error:
            raise TrainingRefusedError(error.reason, error.remedy) from None
        sha256 = events_sha256(events)
        anomalies = count_anomalies(events, plan.purchase_type, settings.memory_limit)
        bar.advance()
    executor = settings.choose_executor(report.rows_written)
    try:
        dataset, labelled, use = compute_dataset(
            events, rows, plan, settings, durations, executor, report.rows_written, settings.rows_cache
        )
    except NotEnoughEventsError as error:
        raise TrainingRefusedError(str(error), "event types mapped with --event-type TYPE=VALUE") from None
    return History(events, sha256, report, split, further, dataset, labelled, anomalies, executor, use)


def _further_split(
    default: TimeSplit, first_us: int, last_us: int, horizon: timedelta, settings: TrainerSettings
) -> TimeSplit:
    """Return the spans of a further horizon, over the rows that have the label of the default.

    Its evaluation begins no earlier than the default's, so that no evaluated model has learnt from what is judged.
    """
    unknown_us = microseconds(max(settings.default_horizon - horizon, timedelta()))
    split = split_by_time(first_us, last_us - unknown_us, horizon, settings.refund_window)
    start_us = max(split.evaluation.start_us, default.evaluation.start_us)
    if start_us >= split.evaluation.end_us:
        raise HistoryTooShortError(
            f"no rows are left to judge the horizon {format_duration(horizon)} on, which the model of"
            f" {format_duration(settings.default_horizon)} has not learnt from",
            f"a longer history, or no horizon {format_duration(horizon)}",
        )
    return replace(split, evaluation=Span(start_us, split.evaluation.end_us))


def count_anomalies(events: Path, purchase_type: str, memory_limit: str) -> dict[str, int]:
    """Return how many events have each anomaly that may be an error of their source."""
    with sql.connect(memory_limit=memory_limit, temp_directory=events.parent) as connection:
        result = connection.execute(
            """
            SELECT
                count(*) FILTER (event_type = $2 AND amount = 0) AS "purchases of amount 0",
                count(*) FILTER (event_type = $2 AND amount IS NULL) AS "purchases without an amount",
                count(*) - count(DISTINCT (user_id, product_id, event_type, timestamp))
                    AS "repetitions of another at its instant"
            FROM read_parquet($1)
            """,
            [str(events), purchase_type],
        )
        names = [column[0] for column in result.description]
        return dict(zip(names, result.fetchone() or (), strict=True))


def compute_dataset(
    events: Path,
    rows: Path,
    plan: Plan,
    settings: TrainerSettings,
    durations: dict[str, float],
    executor: ExecutorName,
    expected: int | None,
    cache: Path | None = None,
) -> tuple[Dataset, int, CacheUse | None]:
    """Return the rows of a plan, how many of them are labelled, and what came from the cache if there is one."""
    open_executor, use = executor_opener(settings, executor), None

    def build(out: Path) -> None:
        build_training_rows(
            events,
            out,
            plan,
            settings.default_horizon,
            refund_window=settings.refund_window,
            questions=True,
            further=settings.further_horizons,
            memory_limit=settings.memory_limit,
            temp_directory=rows.parent,
            open_executor=open_executor,
            advance=bar.advance,
        )

    with ExitStack() as resources:
        with timed(durations, "rows"), progress("Computing training rows", expected, "rows") as bar:
            if cache is None:
                build(rows)
                files = [rows]
            else:
                kept = cached_rows(cache, events, rows.parent, plan, settings, open_executor, build)
                files, use = resources.enter_context(kept)
        with timed(durations, "load"), progress("Loading training rows", 1, "steps") as bar:
            dataset, labelled = load_dataset(files, events, plan.input_names, plan.purchase_type, settings)
            bar.advance()
    return dataset, labelled, use
