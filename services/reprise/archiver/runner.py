"""Construction of the archiver from its settings, and its run modes.

Those on the store alone raise ``OfflineStoreError`` where it is damaged, incomplete, or cannot be read or written.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reprise.archive import ArchivedEvents, CompactionReport, Gap, OfflineStore, compact, expire, write_events
from reprise.archiver.metrics import ArchiverMetrics
from reprise.archiver.settings import ArchiverSettings
from reprise.archiver.worker import RebalanceTracker, Worker
from reprise.http.app import create_http_app
from reprise.http.metrics import process_registry
from reprise.http.server import run_service
from reprise.log import EVENTS, PREDICTIONS, open_consumer
from reprise.runtime.job_metrics import reported_job
from reprise.runtime.logs import get_logger
from reprise.runtime.progress import progress
from reprise.runtime.worker_threads import WorkerThreads

DISTRIBUTION = "reprise-archiver"
COMPACTION = "reprise-compaction"
"""The compaction's job in the Pushgateway."""
_log = get_logger(__name__)
_TOPICS = (EVENTS, PREDICTIONS)


def serve(settings: ArchiverSettings) -> None:
    """Archive and serve health, readiness and metrics until SIGTERM or SIGINT.

    Raises:
        Exception: What a worker raised.
    """
    metrics = ArchiverMetrics(process_registry(DISTRIBUTION))
    with _open_workers(settings, metrics) as workers:
        app = create_http_app(
            title="Reprise archiver",
            description="Keeps the event log and the prediction log as Parquet.",
            registry=metrics.registry,
            docs=settings.api_docs,
            root_path=settings.api_root_path,
            readiness=lambda: [f"{w.topic}: {w.problem}" for w in workers if w.problem is not None],
            workers=WorkerThreads({worker.topic: worker.run for worker in workers}, settings.stop_seconds),
        )
        run_service(app, settings)


def archive_until_idle(settings: ArchiverSettings, idle_seconds: float) -> dict[str, int]:
    """Archive the log up to its end; return the number of records by topic."""
    metrics = ArchiverMetrics(process_registry(DISTRIBUTION))
    with _open_workers(settings, metrics) as workers:
        for worker in workers:
            worker.run_until_idle(threading.Event(), idle_seconds)
    counts = dict.fromkeys((topic.name for topic in _TOPICS), 0)
    for sample in (sample for metric in metrics.records.collect() for sample in metric.samples):
        if sample.name.endswith("_total"):
            counts[sample.labels["topic"]] += int(sample.value)
    return counts


def compact_settled(settings: ArchiverSettings, settled_after: timedelta) -> dict[str, CompactionReport]:
    """Compact the days that ended at least ``settled_after`` ago; return the report of each topic.

    Expired predictions are removed before.
    """
    store = OfflineStore(settings.offline_store)
    now = datetime.now(UTC)
    before = (now - settled_after).date()
    with (
        reported_job(COMPACTION, settings),
        progress("Compacting", None, "records") as compacting,
    ):
        if settings.predictions_retention is not None:
            oldest = (now - settings.predictions_retention).date()
            removed = expire(store, PREDICTIONS.name, before=oldest)
            _log.info("predictions_expired", before=oldest.isoformat(), files=removed)
        return {
            topic.name: compact(store, topic.name, before=before, advance=compacting.advance)
            for topic in _TOPICS
        }


def accept_holes(settings: ArchiverSettings) -> list[tuple[str, Gap]]:
    """Accept every gap of the archive; return them with their topics."""
    store = OfflineStore(settings.offline_store)
    accepted = []
    for topic in _TOPICS:
        for coverage in store.coverage(topic.name):
            for gap in coverage.gaps:
                store.accept(topic.name, coverage.topic_id, gap)
                accepted.append((topic.name, gap))
    return accepted


def export_events(settings: ArchiverSettings, path: Path) -> ArchivedEvents:
    """Write the archived events to one canonical Parquet file."""
    with progress("Reading", None, "records") as reading:
        return write_events(OfflineStore(settings.offline_store), path, advance=reading.advance)


@contextmanager
def _open_workers(settings: ArchiverSettings, metrics: ArchiverMetrics) -> Iterator[Sequence[Worker]]:
    store = OfflineStore(settings.offline_store)
    with ExitStack() as stack:
        workers = []
        for topic in _TOPICS:
            rebalances = RebalanceTracker()
            consumer = open_consumer(settings, topic, f"{settings.group}-{topic.name}", rebalances)
            stack.callback(consumer.close)
            workers.append(Worker(topic.name, consumer, rebalances, store, settings, metrics))
        _log.info("archiving", store=store.url, group=settings.group, topics=[w.topic for w in workers])
        yield workers
