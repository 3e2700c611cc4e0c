"""Building the materializer from its settings, and running it."""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from reprise.features.plan import Plan
from reprise.http.background import BackgroundTasks
from reprise.http.metrics import process_registry
from reprise.http.server import run
from reprise.log import EVENTS, open_consumer, open_producer
from reprise.materializer.app import DISTRIBUTION, create_app
from reprise.materializer.batch_fold import BatchFold
from reprise.materializer.dead_letters import DeadLetters
from reprise.materializer.instrumented_store import MeasuredStore
from reprise.materializer.metrics import MaterializerMetrics
from reprise.materializer.settings import MaterializerSettings
from reprise.materializer.worker import Pace, Worker
from reprise.runtime.logs import get_logger
from reprise.store.online_store import OnlineStore

_log = get_logger(__name__)
_DEAD_LETTER_SECONDS = 10.0
_COLLECTION_OBJECTS = 100_000


@contextmanager
def open_worker(settings: MaterializerSettings, metrics: MaterializerMetrics) -> Iterator[Worker]:
    """Give a worker on the configured log and store, and close both.

    Raises:
        PlanError: The plan cannot be read.
        EventLogError: The log cannot be opened.
    """
    plan = Plan.load(settings.plan)
    window = timedelta(seconds=settings.duplicate_window_seconds)
    pace = Pace(settings.batch_records, settings.poll_seconds, settings.retry_seconds)
    with OnlineStore.connect(settings) as store:
        measured = MeasuredStore(store, metrics.online_store)
        fold = BatchFold(plan, measured, settings.feast_project, metrics, window)
        producer = open_producer(settings)
        try:
            consumer = open_consumer(settings, EVENTS, settings.group)
            try:
                _log.info("folding", plan=plan.hash[:12], schema=plan.schema_hash[:12], group=settings.group)
                yield Worker(consumer, fold, DeadLetters(producer, _DEAD_LETTER_SECONDS), metrics, pace)
            finally:
                consumer.close()
        finally:
            producer.close(_DEAD_LETTER_SECONDS)


def serve(settings: MaterializerSettings) -> None:
    """Fold and answer health, readiness and metrics, until SIGTERM or Ctrl-C.

    Raises:
        Exception: Whatever ended the worker without having been told to.
    """
    _spare_the_collector()
    metrics = MaterializerMetrics(process_registry(DISTRIBUTION))
    with open_worker(settings, metrics) as worker:
        background = BackgroundTasks({"worker": worker.run})

        def readiness() -> list[str]:
            return [] if worker.problem is None else [worker.problem]

        app = create_app(metrics.registry, readiness, background, settings.stop_seconds)
        run(app, settings.api_host, settings.api_port)
        if background.failure is not None:
            raise background.failure


def fold_until_idle(settings: MaterializerSettings, idle_seconds: float) -> dict[str, int]:
    """Fold what the log holds, and return the number of records by outcome."""
    _spare_the_collector()
    metrics = MaterializerMetrics(process_registry(DISTRIBUTION))
    with open_worker(settings, metrics) as worker:
        worker.run_until_idle(threading.Event(), idle_seconds)
    samples = [sample for metric in metrics.events.collect() for sample in metric.samples]
    return {s.labels["outcome"]: int(s.value) for s in samples if s.name.endswith("_total") and s.value}


def _spare_the_collector() -> None:
    """Look for cycles less often: a batch holds tens of thousands of objects, and none of them is in one."""
    gc.set_threshold(_COLLECTION_OBJECTS, 20, 20)
