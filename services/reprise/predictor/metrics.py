"""Metrics of the predictor: of requests and models, and of each arm of a rollout."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge

from reprise.bundle import Bundle
from reprise.events import parse_timestamp
from reprise.http.metrics import DependencyMetrics, LoopHistogram, Observe, ObserveMany
from reprise.http.tracing.factory import Tracing
from reprise.http.tracing.trace_context import StageKind
from reprise.routing.metric_names import ANSWERS, SCORE_BOUNDS, SCORES, SECONDS, USERS

_SECONDS_BOUNDS = (
    *(1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3),
    *(2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 1.0),
)
_CLIENT_STAGES: dict[str, tuple[StageKind, Mapping[str, str]]] = {
    "read": ("client", {"db.system.name": "redis"})
}
_ARM_LABELS = ("arm", "digest")
_ARM_OUTCOMES = ("answered", "failed")


class PredictorMetrics:
    """Metrics of requests, of the online store and of the configured model."""

    def __init__(self, registry: CollectorRegistry, tracing: Tracing | None = None) -> None:
        gauge = partial(Gauge, registry=registry)
        self.requests = Counter(
            "reprise_predictor_requests",
            "Requests by endpoint and outcome: ok, or the slug of the problem in the response.",
            ("endpoint", "outcome"),
            registry=registry,
        )
        unknown = Counter(
            "reprise_predictor_unknown_entities",
            "Predictions from the empty state of an entity that the store does not know.",
            ("entity",),
            registry=registry,
        )
        self._unknown = [unknown.labels(entity) for entity in ("user", "product", "pair")]
        dependencies = DependencyMetrics(registry, None if tracing is None else tracing.failed)
        self.online_store = dependencies.of("online_store")
        self.store_up = gauge("reprise_predictor_store_up", "1 if the online store responds, else 0.")
        self.in_flight = gauge(
            "reprise_predictor_in_flight", "Requests in flight, single or batch.", ("kind",)
        )
        self._tracing = tracing
        self._stages = LoopHistogram(
            "reprise_predictor_stage_seconds",
            "Duration of each stage of a request: validate, read, finish, infer, encode.",
            ("stage",),
            _SECONDS_BOUNDS,
            registry,
        )
        self.duration = LoopHistogram(
            "reprise_predictor_request_seconds",
            "Duration of requests by endpoint.",
            ("endpoint",),
            _SECONDS_BOUNDS,
            registry,
        )
        self._model_info = gauge(
            "reprise_predictor_model_info",
            "1 for the configured model that is loaded.",
            ("digest", "plan_hash", "schema_hash"),
        )
        self._model_loaded = gauge(
            "reprise_predictor_model_loaded_timestamp_seconds", "When the configured model was loaded."
        )
        self._model_data = gauge(
            "reprise_predictor_model_data_timestamp_seconds",
            "Time of the newest event in the training data of the configured model.",
        )
        self._model_refused = gauge(
            "reprise_predictor_model_refused", "1 for a model that was refused.", ("digest",)
        )

    def stage(self, name: str) -> Observe:
        """Return the observer to call when a stage ends, which becomes a span too where traces are on."""
        observe = self._stages.of(name)
        if self._tracing is None:
            return observe
        return self._tracing.staged(name, observe, *_CLIENT_STAGES.get(name, ()))

    def count_unknown(self, *known: int, total: int = 1) -> None:
        """Count unknown entities, given how many users, products and pairs of ``total`` predictions are known."""
        for number, counter in zip(known, self._unknown, strict=True):
            if number < total:
                counter.inc(total - number)

    def set_model(self, bundle: Bundle, loaded_at: datetime) -> None:
        """Show the configured model."""
        manifest = bundle.manifest
        self._model_info.clear()
        self._model_info.labels(bundle.digest, manifest.plan_hash, manifest.schema_hash).set(1)
        self._model_loaded.set(loaded_at.timestamp())
        self._model_data.set(parse_timestamp(manifest.data.last) / 1e6)

    def set_refused_model(self, digest: str | None) -> None:
        """Show the model that was refused, if any."""
        self._model_refused.clear()
        if digest is not None:
            self._model_refused.labels(digest).set(1)


def ignore(_: object) -> None:
    """Observe nothing."""


@dataclass(frozen=True, slots=True)
class ArmMeter:
    """The metrics of one arm; ``users`` counts each user who is assigned to it once."""

    answered: Counter
    failed: Counter
    users: Counter
    observe_seconds: Observe
    observe_score: Observe
    observe_scores: ObserveMany

    def of_further_horizon(self) -> "ArmMeter":
        """Return the metrics without scores and durations, by which the operator compares arms."""
        return replace(self, observe_seconds=ignore, observe_score=ignore, observe_scores=ignore)


class ArmMetrics:
    """Metrics of all arms and of the routing document; the rollout operator queries those of ``metric_names``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._answers = Counter(
            ANSWERS,
            "Requests scored by an arm: answered, or failed so that the baseline answered instead.",
            (*_ARM_LABELS, "outcome"),
            registry=registry,
        )
        self._users = Counter(
            USERS,
            "Users first seen since the routing document was applied, by the arm they are assigned to.",
            _ARM_LABELS,
            registry=registry,
        )
        self._seconds = LoopHistogram(
            SECONDS, "Duration from state to probability, by arm.", _ARM_LABELS, _SECONDS_BOUNDS, registry
        )
        self._scores = LoopHistogram(
            SCORES,
            "Probabilities that an arm returned for the default horizon.",
            _ARM_LABELS,
            SCORE_BOUNDS,
            registry,
        )
        gauge = partial(Gauge, registry=registry)
        self._weight = gauge(
            "reprise_predictor_arm_weight",
            "Share of users that the routing document gives an arm, basis points.",
            _ARM_LABELS,
        )
        self._loaded = gauge(
            "reprise_predictor_arm_loaded",
            "1 if the arm's model is loaded, 0 if the baseline answers its users.",
            _ARM_LABELS,
        )
        self.generation = gauge(
            "reprise_predictor_routing_generation",
            "Generation of the applied routing document, 0 before the first.",
        )
        self.refused = gauge(
            "reprise_predictor_routing_refused",
            "1 if the newest routing document was refused; GET /routing returns the reason.",
        )
        self._exported: set[tuple[str, str]] = set()

    @property
    def score_counts(self) -> dict[tuple[str, ...], tuple[int, ...]]:
        """Number of scores by arm and digest, in the bins of ``SCORE_BOUNDS``."""
        return self._scores.counts()

    def meter(self, arm: str, digest: str) -> ArmMeter:
        """Return the metrics of an arm, which are exported from now on, starting at zero."""
        answered, failed = (self._answers.labels(arm, digest, outcome) for outcome in _ARM_OUTCOMES)
        self._exported.add((arm, digest))
        return ArmMeter(
            answered,
            failed,
            self._users.labels(arm, digest),
            self._seconds.of(arm, digest),
            self._scores.of(arm, digest),
            self._scores.many_of(arm, digest),
        )

    def set_arm(self, arm: str, digest: str, weight: int, *, loaded: bool) -> None:
        """Show an arm of the routing document."""
        self._weight.labels(arm, digest).set(weight)
        self._loaded.labels(arm, digest).set(loaded)

    def keep_only(self, arms: set[tuple[str, str]]) -> None:
        """Stop exporting all arms but these, given by name and digest."""
        for arm in self._exported - arms:
            for outcome in _ARM_OUTCOMES:
                self._answers.remove(*arm, outcome)
            self._users.remove(*arm)
            self._seconds.remove(*arm)
            self._scores.remove(*arm)
        self._exported &= arms
        self._weight.clear()
        self._loaded.clear()
