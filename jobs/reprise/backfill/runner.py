"""A backfill run: from the settings' stores and log, with its metrics pushed."""

import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import pyarrow.parquet as pq
from prometheus_client import CollectorRegistry, Gauge

from reprise.archive import OfflineStore, UserErasedError
from reprise.backfill.history import History, collect_history
from reprise.backfill.replaceable_store import ReplaceableStore
from reprise.backfill.settings import BackfillSettings
from reprise.backfill.state_writer import BackfillError, BackfillReport, backfill
from reprise.event_files.exceptions import pointing_to_inspect
from reprise.event_files.importer import import_events
from reprise.event_files.options import ImportOptions
from reprise.features.exceptions import NotEnoughEventsError
from reprise.features.executors.executor_choice import executor_opener
from reprise.features.plan import Plan
from reprise.log import EVENTS, EventLogSettings, open_consumer
from reprise.runtime.job_metrics import reported_job
from reprise.runtime.progress import progress
from reprise.store.watermarks import Watermarks

JOB = "reprise-backfill"

_POLL_SECONDS = 0.2


class BackfillMetrics:
    """The metrics of the last backfill, in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge = partial(Gauge, registry=registry)
        self._events = gauge("reprise_backfill_events", "Events that made the states of the last backfill.")
        self._rows = gauge("reprise_backfill_rows", "Rows that the last backfill wrote.", ("view",))
        self._removed = gauge(
            "reprise_backfill_removed_rows", "Rows of other entities that the last backfill removed."
        )

    def set(self, report: BackfillReport) -> None:
        """Set the metrics from a report."""
        self._events.set(report.events)
        for view, rows in report.rows.items():
            self._rows.labels(view).set(rows)
        self._removed.set(report.removed)


def run(
    settings: BackfillSettings,
    events: Path | None,
    offline: str | None,
    options: ImportOptions,
    *,
    replace: bool,
    group: str | None,
    seek_timeout: timedelta,
    memory_limit: str,
) -> BackfillReport:
    """Fill the online store from a file of events, from the offline store, or from the one and then the other.

    ``offline`` is the URL of the offline store. The offsets of ``group`` are set to right after its records.

    Raises:
        RepriseError: A store, file, plan or log is unavailable or unusable; the online store includes more records,
            and ``replace`` is not set; or the group is busy.
    """
    with (
        reported_job(JOB, settings) as metrics,
        TemporaryDirectory(prefix="reprise-backfill-") as folder,
        ReplaceableStore.connect(settings) as store,
    ):
        plan = Plan.load(settings.plan)
        archive = None if offline is None else OfflineStore(offline)
        history = _history(Path(folder), events, archive, options, plan, memory_limit)
        executor = settings.choose_executor(pq.read_metadata(history.path).num_rows)
        window = None if offline is None else timedelta(seconds=settings.duplicate_window_seconds)
        if archive is not None:
            _require_same_erasures(archive, store)
        with (
            pointing_to_inspect(events, NotEnoughEventsError),
            progress("Writing states", None, "rows") as bar,
        ):
            report = backfill(
                history,
                plan,
                store,
                settings.feast_project,
                duplicate_window=window,
                replace=replace,
                memory_limit=memory_limit,
                open_executor=executor_opener(settings, executor),
                advance=bar.advance,
            )
        if archive is not None:
            _require_same_erasures(archive, store)
        if group is not None:
            _seek_group(settings, group, history.watermarks, seek_timeout)
        BackfillMetrics(metrics.registry).set(report)
        return report


def _require_same_erasures(archive: OfflineStore, store: ReplaceableStore) -> None:
    """Raise if a user was erased of whom the archive that was read has events: the backfill writes the user's rows."""
    try:
        archive.require_same_erasures()
    except UserErasedError as error:
        raise BackfillError(
            f"{error}: stop the materializers, and run this again with --replace, which removes the user's rows"
        ) from error
    for each in archive.pending_erasures:
        if each.topic_id is None and store.erasure_position(each.erasure_id) is not None:
            raise BackfillError(
                f"the materializer has erased a user whose events {archive.url} still has: run reprise forget until it"
                " is done; then stop the materializers, and run this again with --replace"
            )


def _history(
    folder: Path,
    events: Path | None,
    archive: OfflineStore | None,
    options: ImportOptions,
    plan: Plan,
    memory_limit: str,
) -> History:
    imported = folder / "history.parquet"
    if events is not None:
        report = import_events(
            events, imported, options=options, frames=plan.frames, purchase_type=plan.purchase_type
        )
        click.echo(report.render(), err=True)
    if archive is None:
        return History(imported)
    with progress("Reading the offline store", None, "records") as bar:
        return collect_history(
            archive,
            folder,
            before_log=None if events is None else imported,
            memory_limit=memory_limit,
            advance=bar.advance,
        )


def _seek_group(settings: EventLogSettings, group: str, watermarks: Watermarks, timeout: timedelta) -> None:
    """Commit, for each partition of the events topic, the offset after the watermark, as a group without consumers.

    Raises:
        BackfillError: The watermarks are of another incarnation of the topic, or other consumers of the group hold
            partitions until the timeout.
        EventLogError: The log is unavailable.
    """
    consumer = open_consumer(settings, EVENTS, group)
    deadline = time.monotonic() + timeout.total_seconds()
    try:
        if consumer.topic_id != watermarks.topic:
            raise BackfillError(
                f"the topic {EVENTS.name} has the id {consumer.topic_id.hex()}, but the last archived records are of"
                f" {watermarks.topic.hex()}; the offsets of its group are unchanged"
            )
        while missing := set(range(consumer.partitions)) - consumer.assignment:
            if time.monotonic() > deadline:
                raise BackfillError(
                    f"partitions {', '.join(map(str, sorted(missing)))} are held by other consumers of the group"
                    f" {group}; stop the materializers, and run this again"
                )
            consumer.poll(1, _POLL_SECONDS)
        assigned = sorted(consumer.assignment)
        consumer.commit({partition: watermarks.offsets.get(partition, -1) + 1 for partition in assigned})
    finally:
        consumer.close()
