"""The parts of one predictor process."""

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
from reprise.predictor.exceptions import NoModelError
from reprise.predictor.metrics import ArmMetrics, PredictorMetrics
from reprise.predictor.services.admission_control import AdmissionControl
from reprise.predictor.services.bundle_loader import BundleLoader
from reprise.predictor.services.model_cache import ConfiguredModel, ModelCache
from reprise.predictor.services.model_router import FetchDocument, ModelRouter
from reprise.predictor.services.prediction import PredictionService
from reprise.predictor.services.score_drift import Arm, ScoreDrift
from reprise.predictor.services.shadow_traffic import ShadowTraffic
from reprise.predictor.settings import PredictorSettings
from reprise.predictor.storage.circuit_breaker import CircuitBreaker, CircuitBreakingReader
from reprise.predictor.storage.prediction_log import PredictionLog
from reprise.predictor.storage.state_reader import StateReader
from reprise.predictor.storage.store_health import StoreHealth
from reprise.routing import document_key
from reprise.runtime.settings import TraceSettings
from reprise.store.async_client import DocumentReader
from reprise.store.reader import OnlineReader

DISTRIBUTION = "reprise-predictor"
OpenTracing = Callable[[TraceSettings, str, CollectorRegistry], Tracing | None]


@dataclass(frozen=True)
class PredictorContext:
    """The parts of a predictor, built once and passed in; ``None`` where the settings turn a part off."""

    settings: PredictorSettings
    registry: CollectorRegistry
    metrics: PredictorMetrics
    reader: CircuitBreakingReader
    store_health: StoreHealth
    configured_model: ConfiguredModel
    router: ModelRouter
    document_reader: DocumentReader | None
    shadow_traffic: ShadowTraffic
    service: PredictionService
    prediction_log: PredictionLog | None
    authentication: Authentication | None
    single_admission: AdmissionControl
    batch_admission: AdmissionControl
    tracing: Tracing | None


def build_context(
    settings: PredictorSettings,
    reader: StateReader | None = None,
    clock: Callable[[], int] = time.time_ns,
    open_log: Callable[[EventLogSettings], LogProducer] = open_producer,
    fetch_routing: FetchDocument | None = None,
    trace: OpenTracing = open_tracing,
) -> PredictorContext:
    """Return the parts of a predictor; nothing is connected or loaded yet.

    ``reader`` and ``fetch_routing`` use the configured online store by default. ``clock`` returns nanoseconds since
    1970-01-01 UTC.

    Raises:
        StorageAddressError: The model store's URL is invalid.
        StoreRefusedError: The CA file of the online store is not a PEM file.
        InvalidKeysError: The API keys are invalid.
        InvalidSettingsError: Tracing is on, but OpenTelemetry is not installed.
    """
    registry = process_registry(DISTRIBUTION)
    tracing = trace(settings, DISTRIBUTION, registry)
    metrics, arm_metrics = PredictorMetrics(registry, tracing), ArmMetrics(registry)
    if reader is None:
        reader = OnlineReader(
            settings, deadline=settings.redis_deadline_seconds, connections=settings.redis_connections
        )
    circuit = CircuitBreaker(settings.circuit_failures, settings.circuit_seconds)
    breaking_reader = CircuitBreakingReader(reader, circuit, metrics)
    single_admission = AdmissionControl("requests", settings.max_in_flight)
    batch_admission = AdmissionControl("batches", settings.max_batches_in_flight)
    metrics.in_flight.labels("single").set_function(lambda: single_admission.in_flight)
    metrics.in_flight.labels("batch").set_function(lambda: batch_admission.in_flight)
    loader = BundleLoader(BundleStore(settings.model_store), settings.feast_project)
    configured_model = ConfiguredModel(loader, settings.model_digest, partial(_show_model, metrics))
    document_reader = None
    if fetch_routing is None:
        document_reader = DocumentReader(settings)
        fetch_routing = partial(document_reader.get, document_key(settings.feast_project))
    cache = ModelCache(loader, settings.slowest_row_seconds)
    router = ModelRouter(configured_model, cache, fetch_routing, arm_metrics)
    ScoreDrift(registry, lambda: arm_metrics.score_counts, partial(_evaluation_scores, router))
    prediction_log = None
    if settings.logs_predictions:
        prediction_log = PredictionLog(
            partial(open_log, settings), settings.prediction_log_capacity, registry, clock
        )
    shadow_traffic = ShadowTraffic(
        breaking_reader,
        settings.shadow_capacity,
        registry,
        partial(prediction_log.append, shadow=True) if prediction_log else None,
    )
    return PredictorContext(
        settings=settings,
        registry=registry,
        metrics=metrics,
        reader=breaking_reader,
        store_health=StoreHealth(breaking_reader, metrics),
        configured_model=configured_model,
        router=router,
        document_reader=document_reader,
        shadow_traffic=shadow_traffic,
        service=PredictionService(breaking_reader, metrics, shadow_traffic, settings, clock),
        prediction_log=prediction_log,
        authentication=_authentication(settings),
        single_admission=single_admission,
        batch_admission=batch_admission,
        tracing=tracing,
    )


def _show_model(metrics: PredictorMetrics, configured: ConfiguredModel) -> None:
    if (model := configured.loaded) is not None:
        metrics.set_model(model.bundle, model.loaded_at)
    metrics.set_refused_model(configured.refusal.digest if configured.refusal else None)


def _evaluation_scores(router: ModelRouter) -> dict[Arm, Histogram]:
    try:
        table = router.table
    except NoModelError:
        return {}
    arms = (*table.arms, *table.shadows)
    return {(arm.name, arm.model.digest): arm.model.bundle.manifest.score_histogram for arm in arms}


def _authentication(settings: PredictorSettings) -> Authentication | None:
    keys = ApiKeys.of(settings.api_keys, settings.api_keys_file)
    if keys is None:
        return None
    rate = settings.rate_limit
    return Authentication(keys, None if rate is None else RateLimit(rate, settings.rate_burst))
