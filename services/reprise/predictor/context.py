"""What one predictor process consists of."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry

from reprise.bundle import BundleStore, Histogram
from reprise.http.metrics import process_registry
from reprise.http.middleware.api_keys import ApiKeys
from reprise.http.middleware.authentication import Authentication
from reprise.http.middleware.rate_limit import RateLimit
from reprise.http.tracing.factory import open_tracing
from reprise.http.tracing.stages import Tracing
from reprise.log import EventLogSettings, LogProducer, open_producer
from reprise.predictor.arm_metrics import ArmMetrics
from reprise.predictor.exceptions import NoModelError
from reprise.predictor.metrics import PredictorMetrics
from reprise.predictor.services.admission_control import Admission
from reprise.predictor.services.bundle_loader import Shelf
from reprise.predictor.services.model_cache import ModelHolder
from reprise.predictor.services.model_router import Routing, Source
from reprise.predictor.services.prediction import PredictionService
from reprise.predictor.services.score_drift import Arm, ScoreDrift
from reprise.predictor.services.shadow_traffic import Shadows
from reprise.predictor.settings import PredictorSettings
from reprise.predictor.storage.circuit_breaker import Circuit
from reprise.predictor.storage.guarded_reader import GuardedReader
from reprise.predictor.storage.prediction_log import PredictionLog
from reprise.predictor.storage.state_reader import StateReader
from reprise.predictor.storage.store_health import StoreWatch
from reprise.routing import document_key
from reprise.runtime.settings import TraceSettings
from reprise.store.documents import DocumentReader
from reprise.store.reader import OnlineReader

DISTRIBUTION = "reprise-predictor"
OpenTracing = Callable[[TraceSettings, str, CollectorRegistry], Tracing | None]


@dataclass(frozen=True)
class PredictorContext:
    """The parts of a predictor, built once and passed to whoever needs them.

    Attributes:
        settings: How the process is configured.
        registry: Where its metrics are.
        metrics: Its own metrics.
        reader: Its connections to the online store, behind a circuit breaker.
        store: Whether the online store answers.
        models: The model that answers where nothing else is said.
        routing: Which models answer whom.
        documents: Its connection to the online store for the routing document, where it has one.
        shadows: Has arms score that do not answer.
        service: What predicts.
        log: Keeps the answers, where they are to be kept.
        authentication: The API keys that are asked for, where any are.
        singles: Bounds the single requests that are under way.
        batches: Bounds the batches that are under way.
        tracing: Makes spans of requests, where traces are on.
    """

    settings: PredictorSettings
    registry: CollectorRegistry
    metrics: PredictorMetrics
    reader: GuardedReader
    store: StoreWatch
    models: ModelHolder
    routing: Routing
    documents: DocumentReader | None
    shadows: Shadows
    service: PredictionService
    log: PredictionLog | None
    authentication: Authentication | None
    singles: Admission
    batches: Admission
    tracing: Tracing | None


def build_context(
    settings: PredictorSettings,
    reader: StateReader | None = None,
    clock: Callable[[], int] = time.time_ns,
    open_log: Callable[[EventLogSettings], LogProducer] = open_producer,
    routing_source: Source | None = None,
    trace: OpenTracing = open_tracing,
) -> PredictorContext:
    """Return the parts of a predictor; nothing is connected or loaded yet.

    Args:
        settings: How the process is configured.
        reader: What reads the online store; by default the one that is configured.
        clock: Now, in nanoseconds since 1970-01-01 UTC.
        open_log: Opens the event log for the answers.
        routing_source: Brings the routing document; by default from the online store.
        trace: Opens what makes spans of requests.

    Raises:
        StorageAddressError: The model store's URL cannot be used.
        StoreRefusedError: The online store's file of authorities is no PEM file.
        InvalidKeysError: The API keys are not given as they should be.
        InvalidSettingsError: Traces are on, and cannot be made.
    """
    registry = process_registry(DISTRIBUTION)
    tracing = trace(settings, DISTRIBUTION, registry)
    metrics = PredictorMetrics(registry, tracing)
    if reader is None:
        reader = OnlineReader(
            settings, deadline=settings.redis_deadline_seconds, connections=settings.redis_connections
        )
    guarded = GuardedReader(reader, Circuit(settings.circuit_failures, settings.circuit_seconds), metrics)
    singles = Admission("requests", settings.max_in_flight)
    batches = Admission("batches", settings.max_batches_in_flight)
    metrics.in_flight.labels("single").set_function(lambda: singles.under_way)
    metrics.in_flight.labels("batch").set_function(lambda: batches.under_way)
    bundles = BundleStore(settings.model_store)
    models = ModelHolder(
        bundles, settings.model_digest, settings.feast_project, on_change=metrics.show_models
    )
    documents = None
    if routing_source is None:
        documents = DocumentReader(settings)
        routing_source = partial(documents.get, document_key(settings.feast_project))
    arms = ArmMetrics(registry)
    shelf = Shelf(bundles, settings.feast_project, settings.slowest_row_seconds)
    routing = Routing(models, shelf, routing_source, arms)
    ScoreDrift(registry, lambda: arms.score_counts, lambda: _evaluations(routing))
    log = _prediction_log(settings, registry, clock, open_log)
    shadows = Shadows(
        guarded, settings.shadow_capacity, registry, None if log is None else partial(log.note, shadow=True)
    )
    return PredictorContext(
        settings=settings,
        registry=registry,
        metrics=metrics,
        reader=guarded,
        store=StoreWatch(guarded, metrics),
        models=models,
        routing=routing,
        documents=documents,
        shadows=shadows,
        service=PredictionService(guarded, metrics, shadows, settings, clock),
        log=log,
        authentication=_gatekeeping(settings),
        singles=singles,
        batches=batches,
        tracing=tracing,
    )


def _evaluations(routing: Routing) -> dict[Arm, Histogram]:
    try:
        routes = routing.current
    except NoModelError:
        return {}
    arms = (*routes.arms, *routes.shadows)
    return {(arm.name, arm.model.digest): arm.model.bundle.manifest.score_histogram for arm in arms}


def _prediction_log(
    settings: PredictorSettings,
    registry: CollectorRegistry,
    clock: Callable[[], int],
    open_log: Callable[[EventLogSettings], LogProducer],
) -> PredictionLog | None:
    if not settings.logs_predictions:
        return None
    return PredictionLog(lambda: open_log(settings), settings.prediction_log_capacity, registry, clock)


def _gatekeeping(settings: PredictorSettings) -> Authentication | None:
    keys = ApiKeys.of(settings.api_keys, settings.api_keys_file)
    if keys is None:
        return None
    rate = settings.rate_limit
    return Authentication(keys, None if rate is None else RateLimit(rate, settings.rate_burst))
