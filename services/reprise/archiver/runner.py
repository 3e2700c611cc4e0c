"""Building the archiver from its settings, and running it."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reprise.archive import ArchivedEvents, CompactionReport, Hole, OfflineStore, compact, write_events
from reprise.archiver.app import DISTRIBUTION, create_app
from reprise.archiver.metrics import ArchiverMetrics
from reprise.archiver.rotation import CutRule
from reprise.archiver.settings import ArchiverSettings
from reprise.archiver.worker import Assignments, Pace, Worker
from reprise.http.background import BackgroundTasks
from reprise.http.metrics import process_registry
from reprise.http.server import run
from reprise.log import EVENTS, PREDICTIONS, open_consumer
from reprise.runtime.logs import get_logger
from reprise.runtime.progress import progress

_log = get_logger(__name__)
TOPICS = (EVENTS, PREDICTIONS)
"""The topics that are archived."""


@contextmanager
def open_workers(settings: ArchiverSettings, metrics: ArchiverMetrics) -> Iterator[Sequence[Worker]]:
    """Give one worker for each topic, on the configured log and store, and close their consumers.

    Raises:
        StorageAddressError: The offline store's URL names nothing that can be reached.
        EventLogError: The log cannot be opened.
    """
    store = OfflineStore(settings.offline_store)
    rule = CutRule(settings.segment_records, settings.segment_bytes, settings.window_seconds * 1_000)
    pace = Pace(settings.batch_records, settings.poll_seconds, settings.retry_seconds, settings.grace_seconds)
    with ExitStack() as stack:
        workers = []
        for topic in TOPICS:
            assignments = Assignments()
            consumer = open_consumer(settings, topic, f"{settings.group}-{topic.name}", assignments)
            stack.callback(consumer.close)
            workers.append(Worker(topic.name, consumer, assignments, store, rule, pace, metrics))
        _log.info("archiving", store=store.url, group=settings.group, topics=[w.topic for w in workers])
        yield workers


def serve(settings: ArchiverSettings) -> None:
    """Archive and answer health, readiness and metrics, until SIGTERM or Ctrl-C.

    Raises:
        Exception: Whatever ended a worker without having been told to.
    """
    metrics = ArchiverMetrics(process_registry(DISTRIBUTION))
    with open_workers(settings, metrics) as workers:
        background = BackgroundTasks({worker.topic: worker.run for worker in workers})

        def readiness() -> list[str]:
            return [f"{w.topic}: {w.problem}" for w in workers if w.problem is not None]

        app = create_app(metrics.registry, readiness, background, settings.stop_seconds)
        run(app, settings.api_host, settings.api_port)
        if background.failure is not None:
            raise background.failure


def archive_until_idle(settings: ArchiverSettings, idle_seconds: float) -> dict[str, int]:
    """Archive what the log holds, to its last record, and return the number of records by topic."""
    metrics = ArchiverMetrics(process_registry(DISTRIBUTION))
    with open_workers(settings, metrics) as workers:
        for worker in workers:
            worker.run_until_idle(threading.Event(), idle_seconds)
    counted = dict.fromkeys((topic.name for topic in TOPICS), 0)
    for sample in (sample for metric in metrics.records.collect() for sample in metric.samples):
        if sample.name.endswith("_total"):
            counted[sample.labels["topic"]] += int(sample.value)
    return counted


def compact_settled(settings: ArchiverSettings, settled_after: timedelta) -> dict[str, CompactionReport]:
    """Compact the days that ended so long ago, and return what was done by topic.

    Raises:
        OfflineStoreError: The store could not be read or written, or is damaged.
    """
    store = OfflineStore(settings.offline_store)
    before = (datetime.now(UTC) - settled_after).date()
    reports = {}
    with progress("Compacting", None, "records") as compacting:
        for topic in TOPICS:
            reports[topic.name] = compact(store, topic.name, before=before, advance=compacting.advance)
    return reports


def accept_holes(settings: ArchiverSettings) -> list[tuple[str, Hole]]:
    """Note every hole of the archive as known, and return them with their topics.

    Raises:
        OfflineStoreError: The store could not be read or written.
    """
    store = OfflineStore(settings.offline_store)
    accepted = []
    for topic in TOPICS:
        for coverage in store.coverage(topic.name):
            for hole in coverage.holes:
                store.accept(topic.name, coverage.topic_id, hole)
                accepted.append((topic.name, hole))
    return accepted


def export_events(settings: ArchiverSettings, path: Path) -> ArchivedEvents:
    """Write the archived events to one canonical Parquet file.

    Raises:
        OfflineStoreError: The store is empty, lacks records, is damaged, or could not be read.
    """
    with progress("Reading", None, "records") as reading:
        return write_events(OfflineStore(settings.offline_store), path, advance=reading.advance)
