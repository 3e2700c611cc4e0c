"""What the predictor measures of itself."""

from prometheus_client import CollectorRegistry, Counter, Gauge
from reprise_http.histogram import LoopHistogram

from reprise_predictor.holder import ModelHolder

STAGES = ("validate", "read", "finish", "infer", "encode")
_STAGE_BOUNDS = (
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
_SCORE_BOUNDS = tuple(number / 20 for number in range(1, 21))


class PredictorMetrics:
    """The predictor's metrics in one registry.

    Attributes:
        requests: Requests by endpoint and outcome.
        predictions: Answers by arm.
        unknown: Answers that found an entity unknown, by entity.
        store_errors: Failed reads of the online store by kind.
        store_up: Whether the online store answers.
        in_flight: Requests that are under way, by kind.
        stages: Seconds that each stage of a request took, by stage.
        duration: Seconds that requests took, by endpoint.
        scores: Probabilities that were answered, by arm, in fixed bins.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "reprise_predictor_requests", "Requests.", ("endpoint", "outcome"), registry=registry
        )
        self.predictions = Counter("reprise_predictor_predictions", "Answers.", ("arm",), registry=registry)
        self.unknown = Counter(
            "reprise_predictor_unknown_entities",
            "Answers from the empty state of an entity never seen.",
            ("entity",),
            registry=registry,
        )
        self.store_errors = Counter(
            "reprise_predictor_store_errors",
            "Failed reads of the online store.",
            ("kind",),
            registry=registry,
        )
        self.store_up = Gauge(
            "reprise_predictor_store_up", "Whether the online store answers.", registry=registry
        )
        self.in_flight = Gauge(
            "reprise_predictor_in_flight", "Requests that are under way.", ("kind",), registry=registry
        )
        self.stages = LoopHistogram(
            "reprise_predictor_stage_seconds", "Time by stage.", "stage", _STAGE_BOUNDS, registry
        )
        self.duration = LoopHistogram(
            "reprise_predictor_request_seconds", "Time by endpoint.", "endpoint", _STAGE_BOUNDS, registry
        )
        self.scores = LoopHistogram(
            "reprise_predictor_score", "Probabilities that were answered.", "arm", _SCORE_BOUNDS, registry
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
        self._model_refused = Gauge(
            "reprise_predictor_model_refused",
            "1 for a model that was refused.",
            ("digest",),
            registry=registry,
        )

    def show_models(self, models: ModelHolder) -> None:
        """Bring the metrics of the model up to date."""
        self._model_info.clear()
        self._model_refused.clear()
        if models.loaded is not None:
            plan = models.loaded.plan
            self._model_info.labels(models.loaded.digest, plan.hash, plan.schema_hash).set(1)
            self._model_loaded.set(models.loaded.loaded_at.timestamp())
        if models.refusal is not None:
            self._model_refused.labels(models.refusal.digest).set(1)
