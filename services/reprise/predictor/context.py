"""The parts of one predictor process."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry

from reprise.bundle import Histogram
from reprise.bundle.rehearsal import Rehearsal
from reprise.events.user_ids import user_id_hash
from reprise.http.metrics import process_registry
from reprise.http.middleware.authentication import Authentication
from reprise.http.tracing.factory import Tracing, open_tracing
from reprise.log import EventLogSettings, LogProducer, open_producer
from reprise.predictor.exceptions import NoModelError
from reprise.predictor.metrics import ArmMetrics, PredictorMetrics
from reprise.predictor.services.bundle_loader import BundleLoader
from reprise.predictor.services.configured_model import ConfiguredModel
from reprise.predictor.services.model_router import FetchDocument, ModelRouter
from reprise.predictor.services.prediction import AdmissionControl, PredictionService
from reprise.predictor.services.score_drift import Arm, ScoreDrift
from reprise.predictor.services.shadow_traffic import ShadowTraffic
from reprise.predictor.settings import PredictorSettings
from reprise.predictor.storage.prediction_log import PredictionLog
from reprise.predictor.storage.state_reader import CircuitBreaker, CircuitBreakingReader, StateReader
from reprise.routing import DocumentKeys, document_key
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
    store: StateReader
    reader: CircuitBreakingReader
    rehearsal: Rehearsal | None
    configured_model: ConfiguredModel
    router: ModelRouter
    document_reader: DocumentReader | None
    shadow_traffic: ShadowTraffic
    service: PredictionService
    prediction_log: PredictionLog | None
    authentication: Authentication | None
    stored_id: Callable[[str], str]  # Returns the id under which a user is stored
    single_admission: AdmissionControl
    batch_admission: AdmissionControl
    tracing: Tracing | None


def build_context(
    settings: PredictorSettings,
    store: StateReader | None = None,
    clock: Callable[[], int] = time.time_ns,
    open_log: Callable[[EventLogSettings], LogProducer] = open_producer,
    fetch_routing: FetchDocument | None = None,
    trace: OpenTracing = open_tracing,
) -> PredictorContext:
    """Return the parts of a predictor; nothing is connected or loaded yet.

    ``store`` and ``fetch_routing`` use the configured online store by default. ``clock`` returns nanoseconds since
    1970-01-01 UTC.

    Raises:
        StorageAddressError: The model store's URL is invalid.
        StoreRefusedError: The CA file of the online store is not a PEM file.
        InvalidKeysError: The API keys are invalid.
        InvalidKeyFileError: A file of trusted keys has none.
        InvalidSettingsError: Tracing is on, but OpenTelemetry is not installed, or the key of user ids is unusable.
    """
    registry = process_registry(DISTRIBUTION)
    tracing = trace(settings, DISTRIBUTION, registry)
    metrics, arm_metrics = PredictorMetrics(registry, tracing), ArmMetrics(registry)
    if store is None:
        store = OnlineReader(
            settings, deadline=settings.redis_deadline_seconds, connections=settings.redis_connections
        )
    circuit = CircuitBreaker(settings.circuit_failures, settings.circuit_seconds)
    reader = CircuitBreakingReader(store, circuit, metrics)
    single_admission = AdmissionControl("requests", settings.max_in_flight)
    batch_admission = AdmissionControl("batches", settings.max_batches_in_flight)
    metrics.in_flight.labels("single").set_function(lambda: single_admission.in_flight)
    metrics.in_flight.labels("batch").set_function(lambda: batch_admission.in_flight)
    rehearsal = None
    if settings.rehearsal_seconds:
        rehearsal = Rehearsal(settings.rehearsal_seconds, settings.rehearsal_memory_bytes)
    loader = BundleLoader(settings.open_models(settings.model_store), settings.feast_project, rehearsal)
    configured_model = ConfiguredModel(loader, settings.model_digest, metrics)
    document_reader = None
    if fetch_routing is None:
        document_reader = DocumentReader(settings)
        fetch_routing = document_reader.get
    router = ModelRouter(
        configured_model,
        loader,
        settings.slowest_row_seconds,
        fetch_routing,
        document_key(settings.feast_project),
        DocumentKeys.read(trusted=settings.routing_trusted_keys_file),
        arm_metrics,
    )
    ScoreDrift(registry, lambda: arm_metrics.score_counts, partial(_evaluation_scores, router))
    prediction_log = record_shadow = None
    if settings.logs_predictions:
        prediction_log = PredictionLog(
            partial(open_log, settings), settings.prediction_log_capacity, registry, clock
        )
        record_shadow = partial(prediction_log.append, shadow=True)
    shadow_traffic = ShadowTraffic(reader, settings.shadow_capacity, registry, record_shadow)
    return PredictorContext(
        settings=settings,
        registry=registry,
        metrics=metrics,
        store=store,
        reader=reader,
        rehearsal=rehearsal,
        configured_model=configured_model,
        router=router,
        document_reader=document_reader,
        shadow_traffic=shadow_traffic,
        service=PredictionService(reader, metrics, shadow_traffic, settings, clock),
        prediction_log=prediction_log,
        authentication=Authentication.of(settings),
        stored_id=user_id_hash(settings.user_id_key_file) or str,
        single_admission=single_admission,
        batch_admission=batch_admission,
        tracing=tracing,
    )


def _evaluation_scores(router: ModelRouter) -> dict[Arm, Histogram]:
    try:
        table = router.table
    except NoModelError:
        return {}
    arms = (*table.arms, *table.shadows)
    return {(arm.name, arm.model.digest): arm.model.bundle.manifest.score_histogram for arm in arms}
