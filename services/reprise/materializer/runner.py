"""Construction of the materializer from its settings, and its run modes."""

import gc
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial

from reprise.features.plan import Plan
from reprise.http.app import create_http_app
from reprise.http.metrics import process_registry
from reprise.http.server import run_service
from reprise.log import EVENTS, open_consumer, open_producer
from reprise.materializer.batch_fold import BatchFold
from reprise.materializer.checkpoints import Checkpoints
from reprise.materializer.metrics import MaterializerMetrics
from reprise.materializer.settings import MaterializerSettings
from reprise.materializer.worker import Worker, send_dead_letters
from reprise.runtime.logs import get_logger
from reprise.runtime.worker_threads import WorkerThreads
from reprise.store.online_store import OnlineStore

DISTRIBUTION = "reprise-materializer"
_log = get_logger(__name__)
_CLOSE_SECONDS = 10.0
_GC_THRESHOLD = 100_000
_TIMED = (
    *("read", "write_guarded", "claim_event_ids", "replication_ids", "wait_for_replicas"),
    *("read_values", "write_values"),
)


def serve(settings: MaterializerSettings) -> None:
    """Fold and serve health, readiness and metrics until SIGTERM or SIGINT.

    Raises:
        Exception: What the worker raised.
    """
    metrics = MaterializerMetrics(process_registry(DISTRIBUTION))
    with open_worker(settings, metrics) as worker:
        app = create_http_app(
            title="Reprise materializer",
            description="Folds the event log into online features.",
            registry=metrics.registry,
            docs=settings.api_docs,
            root_path=settings.api_root_path,
            readiness=lambda: [worker.problem] if worker.problem else [],
            workers=WorkerThreads({"worker": worker.run}, settings.stop_seconds),
        )
        run_service(app, settings)


def fold_until_idle(settings: MaterializerSettings, idle_seconds: float) -> dict[str, int]:
    """Fold the log up to its end; return the number of records by outcome."""
    metrics = MaterializerMetrics(process_registry(DISTRIBUTION))
    with open_worker(settings, metrics) as worker:
        worker.run_until_idle(threading.Event(), idle_seconds)
    samples = [sample for metric in metrics.events.collect() for sample in metric.samples]
    return {s.labels["outcome"]: int(s.value) for s in samples if s.name.endswith("_total") and s.value}


@contextmanager
def open_worker(settings: MaterializerSettings, metrics: MaterializerMetrics) -> Iterator[Worker]:
    """Give a worker on the configured log and store, and close both.

    Raises:
        PlanError: The plan cannot be read.
        EventLogError: The log cannot be opened.
    """
    # a batch holds tens of thousands of objects, none of them in a cycle
    gc.set_threshold(_GC_THRESHOLD, 20, 20)
    plan = Plan.load(settings.plan)
    duplicates = timedelta(seconds=settings.duplicate_window_seconds)
    with ExitStack() as stack:
        store = stack.enter_context(OnlineStore.connect(settings))
        for name in _TIMED:
            setattr(store, name, metrics.online_store.timed()(getattr(store, name)))
        producer = open_producer(settings)
        stack.callback(producer.close, _CLOSE_SECONDS)
        refuse = partial(send_dead_letters, producer, metrics)
        fold = BatchFold(
            plan, store, settings.feast_project, metrics, duplicates, settings.arrival_window, refuse
        )
        consumer = open_consumer(settings, EVENTS, settings.group)
        stack.callback(consumer.close)
        _log.info("folding", plan=plan.hash[:12], schema=plan.schema_hash[:12], group=settings.group)
        # the nodes of a cluster lose different writes
        checkpoints = Checkpoints(store, settings.feast_project, settings.group)
        yield Worker(consumer, fold, metrics, settings, None if settings.is_cluster else checkpoints)
