"""What the predictor measures of itself."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from reprise.events import parse_timestamp
from reprise.http.dependency_metrics import DependencyMetrics
from reprise.http.histogram import LoopHistogram
from reprise.http.tracing.stages import Stage, StageHistogram, Tracing
from reprise.predictor.services.model_cache import ModelHolder

STAGES = ("validate", "read", "finish", "infer", "encode")
_SPANS = (
    Stage("validate"),
    Stage("read", kind="client", attributes={"db.system.name": "redis"}, before="finish"),
    Stage("finish", before="infer"),
    Stage("infer"),
    Stage("encode"),
)
STAGE_BOUNDS = (
    1e-5,
    2.5e-5,
    5e-5,
    1e-4,
    2.5e-4,
    5e-4,
    1e-3,
    2.5e-3,
    5e-3,
    1e-2,
    2.5e-2,
    5e-2,
    0.1,
    0.25,
    1.0,
)


_ENTITIES = ("user", "product", "pair")


class PredictorMetrics:
    """The predictor's metrics in one registry.

    Args:
        registry: Where they are.
        tracing: Notes stages and failures in the traces of requests, where traces are on.

    Attributes:
        requests: Requests by endpoint and outcome.
        online_store: How long reads of the online store take, and which fail.
        store_up: Whether the online store answers.
        in_flight: Requests that are under way, by kind.
        stages: Seconds that each stage of a request took, by stage.
        duration: Seconds that requests took, by endpoint.
    """

    def __init__(self, registry: CollectorRegistry, tracing: Tracing | None = None) -> None:
        self.requests = Counter(
            "reprise_predictor_requests",
            "Requests that ask for predictions, by outcome: ok, or the name of the problem they were answered with.",
            ("endpoint", "outcome"),
            registry=registry,
        )
        unknown = Counter(
            "reprise_predictor_unknown_entities",
            "Answers from the empty state of an entity never seen.",
            ("entity",),
            registry=registry,
        )
        self._unknown = [unknown.labels(entity) for entity in _ENTITIES]
        self.online_store = DependencyMetrics(registry, None if tracing is None else tracing.failed).of(
            "online_store"
        )
        self.store_up = Gauge(
            "reprise_predictor_store_up", "1 where the online store answers, else 0.", registry=registry
        )
        self.in_flight = Gauge(
            "reprise_predictor_in_flight",
            "Requests that are under way, single ones and batches.",
            ("kind",),
            registry=registry,
        )
        stages = LoopHistogram(
            "reprise_predictor_stage_seconds",
            "Time that requests take in each stage: validate, read, finish, infer, encode.",
            ("stage",),
            STAGE_BOUNDS,
            registry,
        )
        self.stages = StageHistogram(stages, _SPANS, tracing)
        self.duration = LoopHistogram(
            "reprise_predictor_request_seconds",
            "Time that requests for predictions take in all, by endpoint.",
            ("endpoint",),
            STAGE_BOUNDS,
            registry,
        )
        self._model_info = Gauge(
            "reprise_predictor_model_info",
            "1 for the model that answers.",
            ("digest", "plan_hash", "schema_hash"),
            registry=registry,
        )
        self._model_loaded = Gauge(
            "reprise_predictor_model_loaded_timestamp_seconds",
            "When the model that answers was loaded.",
            registry=registry,
        )
        self._model_data = Gauge(
            "reprise_predictor_model_data_timestamp_seconds",
            "Time of the newest event that the model that answers was trained from.",
            registry=registry,
        )
        self._model_refused = Gauge(
            "reprise_predictor_model_refused",
            "1 for a model that was refused.",
            ("digest",),
            registry=registry,
        )

    def unknown(self, *known: bool) -> None:
        """Count an answer's entities that the store has never seen: user, product and pair."""
        for seen, counter in zip(known, self._unknown, strict=True):
            if not seen:
                counter.inc()

    def unknown_of_many(self, *known: int, among: int) -> None:
        """Count many answers' entities: how many users, products and pairs were known."""
        for seen, counter in zip(known, self._unknown, strict=True):
            counter.inc(among - seen)

    def show_models(self, models: ModelHolder) -> None:
        """Bring the metrics of the model up to date."""
        self._model_info.clear()
        self._model_refused.clear()
        if models.loaded is not None:
            plan = models.loaded.plan
            self._model_info.labels(models.loaded.digest, plan.hash, plan.schema_hash).set(1)
            self._model_loaded.set(models.loaded.loaded_at.timestamp())
            self._model_data.set(parse_timestamp(models.loaded.bundle.manifest.data.last) / 1e6)
        if models.refusal is not None:
            self._model_refused.labels(models.refusal.digest).set(1)
