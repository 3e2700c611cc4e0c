"""How far the inputs of the model that answers have moved from those that it was trained on.

The manifest has a histogram of each input over the training window, in fixed bins. The prediction log has every input
that the model saw, so the inputs of a recent window are counted in the same bins, and each input gets its population
stability index; a missing value is a bin of its own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from reprise.bundle import Histogram, Manifest
from reprise.outcomes.settings import OutcomesSettings
from reprise.routing.population_stability import population_stability_index, psi_noise_bound
from reprise.runtime.durations import microseconds
from reprise.sql import event_key, literal

DRIFTED = 0.25
"""Above it an input is of another population, by credit scoring's rule of thumb."""

_SAMPLE_PARTS = 1_000_000


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """One input of the model.

    Attributes:
        feature: Its name.
        index: Its population stability index, 0 for the same shares of every bin.
        by_chance: What the index of as many users stays below in 999 of 1000 cases where nothing has moved.
        edges: Between the bins; fewer than two where training had no value.
        expected: Rows of the training window by bin, those without a value last.
        found: Predictions by bin, likewise.
    """

    feature: str
    index: float
    by_chance: float
    edges: tuple[float, ...]
    expected: tuple[int, ...]
    found: tuple[int, ...]

    @property
    def missing(self) -> tuple[float, float]:
        """Share without a value, in training and now."""
        return self.expected[-1] / sum(self.expected), self.found[-1] / sum(self.found)


@dataclass(frozen=True, slots=True)
class Drift:
    """All inputs of one model.

    Attributes:
        digest: The model.
        since_us: Begin of the window, microseconds since 1970-01-01 UTC.
        until_us: Its end, the newest prediction of any model.
        predictions: Predictions of the model in the window.
        users: Of how many users.
        sampled: Share of the predictions that was counted; below 1 where there were too many.
        features: The inputs that training has a histogram of, the furthest moved first; none where predictions or
            users are too few to say.
    """

    digest: str
    since_us: int
    until_us: int
    predictions: int
    users: int
    sampled: float
    features: tuple[FeatureDrift, ...]

    @property
    def drifted(self) -> int:
        """How many inputs are of another population."""
        return sum(each.index > DRIFTED for each in self.features)


def feature_drift(connection: Any, digest: str, manifest: Manifest, settings: OutcomesSettings) -> Drift:
    """Return the drift of a model's inputs over the predictions that it answered lately, in whichever arm.

    Args:
        connection: DuckDB with the view ``predictions``.
        digest: The model.
        manifest: Its manifest.
        settings: The window, and how many predictions and users it takes.
    """
    [(until_us,)] = connection.execute("SELECT max(answered_us) FROM predictions").fetchall()
    since_us = int(until_us) - microseconds(settings.drift_window)
    where = f"digest = {literal(digest)} AND NOT shadow AND answered_us > {since_us}"
    [(count, users)] = connection.execute(
        f"SELECT count(*), count(DISTINCT user_id) FROM predictions WHERE {where}"
    ).fetchall()
    window = (digest, since_us, int(until_us), int(count), int(users))
    if count < settings.drift_min_predictions or users < settings.drift_min_users:
        return Drift(*window, 1.0, ())
    share = min(1.0, settings.drift_rows / count)
    key = event_key(f"row_id::VARCHAR || {literal(settings.seed)}")
    drawn = f"{key} % {_SAMPLE_PARTS}"
    reader = connection.sql(
        f"SELECT features FROM predictions WHERE {where} AND {drawn} < {share * _SAMPLE_PARTS}"
    ).to_arrow_reader(8_192)
    known = manifest.feature_histograms
    histograms = {name: known[name] for name in manifest.input_names if name in known and _rows(known[name])}
    counted = count_features(reader, histograms)
    features = [
        _drift(name, histogram, found, users)
        for (name, histogram), found in zip(histograms.items(), counted, strict=True)
    ]
    return Drift(*window, share, tuple(sorted(features, key=lambda each: -each.index)))


def count_features(
    batches: Iterable[pa.RecordBatch], histograms: dict[str, Histogram]
) -> list[tuple[int, ...]]:
    """Return, for each histogram, how many predictions are in each of its bins, those without a value last.

    Args:
        batches: With a column ``features``, JSON objects of numbers and nulls.
        histograms: By the name of the input.
    """
    counts = [np.zeros(_present_bins(histogram) + 1, np.int64) for histogram in histograms.values()]
    for batch in batches:
        rows = [orjson.loads(text) for text in batch.column("features").to_pylist()]
        # the edges are values that occur as float32, which is what the model sees
        values = np.array([[row.get(name) for name in histograms] for row in rows], dtype=np.float32)
        for at, histogram in enumerate(histograms.values()):
            counts[at] += bin_counts(values[:, at].astype(np.float64), histogram)
    return [tuple(count.tolist()) for count in counts]


def bin_counts(values: npt.NDArray[np.float64], histogram: Histogram) -> npt.NDArray[np.int64]:
    """Return how many values are in each bin of a histogram; NaN is missing, and has the last bin.

    What lies beyond the outer edges is in the outer bins, and a value that training never had is in the only one.
    """
    bins = _present_bins(histogram)
    present = values[~np.isnan(values)]
    places = np.searchsorted(np.asarray(histogram.edges), present, side="right") - 1
    counts = np.bincount(np.clip(places, 0, bins - 1), minlength=bins)
    return np.append(counts, len(values) - len(present)).astype(np.int64)


def _rows(histogram: Histogram) -> int:
    return sum(histogram.counts) + histogram.missing


def _present_bins(histogram: Histogram) -> int:
    return max(1, len(histogram.counts))


def _drift(name: str, histogram: Histogram, found: Sequence[int], users: int) -> FeatureDrift:
    expected = (*(histogram.counts or (0,)), histogram.missing)
    # a user's predictions are no independent samples, so users are counted, not predictions
    by_chance = psi_noise_bound(
        sum(any(pair) for pair in zip(expected, found, strict=True)), sum(expected), users
    )
    index = population_stability_index(expected, found)
    return FeatureDrift(name, index, by_chance, histogram.edges, expected, tuple(found))
