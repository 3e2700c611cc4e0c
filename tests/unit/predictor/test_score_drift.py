"""The drift of scores, as Prometheus sees it."""

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from reprise.bundle import Histogram
from reprise.predictor.services.score_drift import MIN_SCORES, WINDOW_SECONDS, ScoreDrift

ARM = ("baseline", "sha256:ab")
EVALUATION = Histogram(edges=tuple(number / 50 for number in range(51)), counts=(10,) * 50)
EVEN = (100,) * 20 + (0,)
LOW = (1000,) * 2 + (0,) * 19


class World:
    """An arm that has given scores, and a clock."""

    def __init__(self, counts: tuple[int, ...], reference: Histogram = EVALUATION) -> None:
        self.counts = counts
        self.now = 0.0
        self._registry = CollectorRegistry()
        ScoreDrift(self._registry, lambda: {ARM: self.counts}, lambda: {ARM: reference}, lambda: self.now)

    def index(self) -> float | None:
        return self._registry.get_sample_value(
            "reprise_predictor_score_psi", {"arm": ARM[0], "digest": ARM[1]}
        )


def test_scores_like_those_of_the_evaluation_do_not_drift_and_others_do() -> None:
    assert World(EVEN).index() == pytest.approx(0.0, abs=1e-9)
    found = World(LOW).index()
    assert found is not None
    assert found > 1.0


def test_too_few_scores_or_no_evaluation_have_no_index() -> None:
    assert World((MIN_SCORES - 1,) + (0,) * 20).index() is None
    assert World(EVEN, Histogram(edges=(), counts=())).index() is None


def test_only_the_last_hour_counts() -> None:
    world = World(LOW)
    world.index()
    world.now = WINDOW_SECONDS
    world.counts = tuple(np.add(LOW, EVEN).tolist())
    assert world.index() == pytest.approx(0.0, abs=1e-9)
