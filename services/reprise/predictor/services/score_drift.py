"""Score drift: the population stability index of each arm's recent scores against those of its evaluation."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from reprise.bundle import Histogram
from reprise.routing.population_stability import population_stability_index

Arm = tuple[str, str]
"""An arm's name and its model's digest."""

Counts = Mapping[tuple[str, ...], Sequence[int]]

WINDOW_SECONDS = 3600.0
MIN_SCORES = 500
"""Minimum number of scores for an index."""

_SNAPSHOT_SECONDS = 60.0
_TENTHS = np.linspace(0.0, 1.0, 11)


class ScoreDrift(Collector):
    """The population stability index of each arm's scores of the last hour, computed when it is scraped.

    ``counts`` returns the number of scores of each arm so far, in bins of equal width over [0, 1]. ``references``
    returns the histogram of scores in evaluation of each loaded arm. ``clock`` is monotonic, in seconds.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        counts: Callable[[], Counts],
        references: Callable[[], Mapping[Arm, Histogram]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counts = counts
        self._references = references
        self._clock = clock
        self._past: deque[tuple[float, dict[tuple[str, ...], NDArray[np.float64]]]] = deque()
        registry.register(self)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Return the metric without values, so that registering it collects nothing."""
        return [_family()]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return the metric with the index of each arm."""
        now = self._clock()
        counted = {arm: _tenths(bins) for arm, bins in self._counts().items()}
        before = self._counts_before_window(now, counted)
        family = _family()
        for arm, reference in self._references().items():
            scores = counted.get(arm)
            if scores is None or not sum(reference.counts):
                continue
            recent = scores - before.get(arm, 0.0)
            if recent.sum() >= MIN_SCORES:
                expected = _reference_tenths(reference).tolist()
                family.add_metric(list(arm), population_stability_index(expected, recent.tolist()))
        return [family]

    def _counts_before_window(
        self, now: float, counted: dict[tuple[str, ...], NDArray[np.float64]]
    ) -> Mapping[tuple[str, ...], NDArray[np.float64]]:
        """Return the counts at the start of the window, empty if the process is younger; store the current ones."""
        while len(self._past) > 1 and self._past[1][0] <= now - WINDOW_SECONDS:
            self._past.popleft()
        old = self._past and self._past[0][0] <= now - WINDOW_SECONDS
        before = self._past[0][1] if old else {}
        if not self._past or now - self._past[-1][0] >= _SNAPSHOT_SECONDS:
            self._past.append((now, counted))
        return before


def _family() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "reprise_predictor_score_psi",
        "Population stability index of the scores of the last hour against those of the model's evaluation, over ten"
        f" bins; absent below {MIN_SCORES} scores. Above 0.25 the population has shifted.",
        labels=["arm", "digest"],
    )


def _tenths(bins: Sequence[int]) -> NDArray[np.float64]:
    # The last bin is above 1, so it is empty.
    tenths: NDArray[np.float64] = np.array(bins[:-1], np.float64).reshape(10, -1).sum(axis=1)
    return tenths


def _reference_tenths(reference: Histogram) -> NDArray[np.float64]:
    below = np.concatenate([[0.0], np.cumsum(reference.counts)])
    return np.diff(np.interp(_TENTHS, reference.edges, below))
