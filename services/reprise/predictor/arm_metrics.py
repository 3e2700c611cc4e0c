"""What the predictor measures of each arm, under the names that the operator asks for."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge

from reprise.http.histogram import LoopHistogram, Observe, ObserveMany
from reprise.predictor.metrics import STAGE_BOUNDS
from reprise.routing.metric_names import ANSWERS, SCORE_BOUNDS, SCORES, SECONDS, USERS

_LABELS = ("arm", "digest")
_OUTCOMES = ("answered", "failed")


@dataclass(frozen=True, slots=True)
class ArmMeter:
    """Where one arm is measured.

    Attributes:
        answered: Counts what it answered, for a shadow what it scored.
        failed: Counts what it was asked for and could not answer.
        users: Counts the users that were seen for the first time, and that are assigned to it.
        seconds: Takes the time from state to probability, of a request or of a part of a batch.
        score: Takes a probability.
        scores: Takes many.
    """

    answered: Counter
    failed: Counter
    users: Counter
    seconds: Observe
    score: Observe
    scores: ObserveMany


class ArmMetrics:
    """The metrics of all arms, and of the routing document that they come from."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._answers = Counter(
            ANSWERS,
            "What an arm was asked for, answered or failed; where it failed, the baseline answered instead.",
            (*_LABELS, "outcome"),
            registry=registry,
        )
        self._users = Counter(
            USERS,
            "Users seen for the first time since the routing document was applied, by the arm they are assigned to.",
            _LABELS,
            registry=registry,
        )
        self._seconds = LoopHistogram(
            SECONDS, "Time that an arm takes from state to probability.", _LABELS, STAGE_BOUNDS, registry
        )
        self._scores = LoopHistogram(
            SCORES, "Probabilities that an arm gave.", _LABELS, SCORE_BOUNDS, registry
        )
        self._weight = Gauge(
            "reprise_predictor_arm_weight", "Share of the users that an arm is to answer, basis points.", _LABELS,
            registry=registry,
        )  # fmt: skip
        self._loaded = Gauge(
            "reprise_predictor_arm_loaded",
            "1 for an arm whose model is loaded, 0 for one whose users the baseline answers.",
            _LABELS,
            registry=registry,
        )
        self.generation = Gauge(
            "reprise_predictor_routing_generation",
            "Generation of the routing document that is applied, 0 before the first.",
            registry=registry,
        )
        self.refused = Gauge(
            "reprise_predictor_routing_refused",
            "1 where the newest routing document is not applied; GET /routing says why.",
            registry=registry,
        )
        self._shown: set[tuple[str, str]] = set()

    @property
    def score_counts(self) -> dict[tuple[str, ...], tuple[int, ...]]:
        """How many scores each arm gave, by arm and digest, in the bins of ``SCORE_BOUNDS``."""
        return self._scores.counts()

    def meter(self, arm: str, digest: str) -> ArmMeter:
        """Return where an arm is measured; all of it is there, at zero, from now on."""
        answered, failed = (self._answers.labels(arm, digest, outcome) for outcome in _OUTCOMES)
        self._shown.add((arm, digest))
        return ArmMeter(
            answered,
            failed,
            self._users.labels(arm, digest),
            self._seconds.of(arm, digest),
            self._scores.of(arm, digest),
            self._scores.many_of(arm, digest),
        )

    def show(self, arm: str, digest: str, weight: int, *, loaded: bool) -> None:
        """Say how an arm of the routing document stands."""
        self._weight.labels(arm, digest).set(weight)
        self._loaded.labels(arm, digest).set(loaded)

    def keep_only(self, arms: set[tuple[str, str]]) -> None:
        """Forget all arms but these, given by name and digest."""
        for arm in self._shown - arms:
            for outcome in _OUTCOMES:
                self._answers.remove(*arm, outcome)
            self._users.remove(*arm)
            self._seconds.remove(*arm)
            self._scores.remove(*arm)
        self._shown &= arms
        self._weight.clear()
        self._loaded.clear()
