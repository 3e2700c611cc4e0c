"""The drift of a model's inputs since its training, as population stability indices.

The manifest has a histogram of each input over the training window. The logged inputs of a recent window are counted in
the same bins; missing values have a bin of their own.
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

DRIFT_THRESHOLD = 0.25
"""An index above it means another population, by credit scoring's rule of thumb."""

_SAMPLE_PARTS = 1_000_000


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """The drift of one input."""

    feature: str  # The input
    index: float  # Its population stability index
    # The index stays below it with probability 0.999 if nothing has drifted, given the number of users
    by_chance: float
    edges: tuple[float, ...]  # Edges of the bins; fewer than two if training had no value
    expected: tuple[int, ...]  # Rows of the training window by bin, missing values last
    found: tuple[int, ...]  # Predictions by bin, missing values last

    @property
    def missing(self) -> tuple[float, float]:
        """Share of missing values, in training and lately."""
        return self.expected[-1] / sum(self.expected), self.found[-1] / sum(self.found)


@dataclass(frozen=True, slots=True)
class ModelDrift:
    """The drift of all inputs of one model."""

    digest: str  # The model
    since_us: int  # Start of the window, microseconds since 1970-01-01 UTC
    until_us: int  # Its end, the newest prediction of any model
    predictions: int  # Predictions of the model in the window
    users: int  # Their users
    sampled: float  # Share of the predictions that was counted; below 1 if there were too many
    # The inputs that have a histogram, the largest index first; none with too few predictions or users
    features: tuple[FeatureDrift, ...]

    @property
    def drifted(self) -> int:
        """Number of inputs above the threshold."""
        return sum(each.index > DRIFT_THRESHOLD for each in self.features)


def measure_drift(connection: Any, digest: str, manifest: Manifest, settings: OutcomesSettings) -> ModelDrift:
    """Return the drift of a model's inputs over its recent rows of the view ``predictions``, in whichever arm."""
    [(until_us,)] = connection.execute("SELECT max(answered_us) FROM predictions").fetchall()
    since_us = int(until_us) - microseconds(settings.drift_window)
    where = f"digest = {literal(digest)} AND NOT shadow AND answered_us > {since_us}"
    [(count, users)] = connection.execute(
        f"SELECT count(*), count(DISTINCT user_id) FROM predictions WHERE {where}"
    ).fetchall()
    window = (digest, since_us, int(until_us), int(count), int(users))
    if count < settings.drift_min_predictions or users < settings.drift_min_users:
        return ModelDrift(*window, 1.0, ())
    share = min(1.0, settings.drift_rows / count)
    key = event_key(f"row_id::VARCHAR || {literal(settings.seed)}")
    drawn = f"{key} % {_SAMPLE_PARTS}"
    reader = connection.sql(
        f"SELECT features FROM predictions WHERE {where} AND {drawn} < {share * _SAMPLE_PARTS}"
    ).to_arrow_reader(8_192)
    known = manifest.feature_histograms
    histograms = {name: known[name] for name in manifest.input_names if name in known and _rows(known[name])}
    counts = _count_bins(reader, histograms)
    features = [_drift(name, histogram, counts[name], users) for name, histogram in histograms.items()]
    return ModelDrift(*window, share, tuple(sorted(features, key=lambda each: -each.index)))


def _count_bins(
    batches: Iterable[pa.RecordBatch], histograms: dict[str, Histogram]
) -> dict[str, tuple[int, ...]]:
    """Return the predictions in each bin of each input; ``features`` of a batch is JSON of numbers and nulls."""
    counts = {name: np.zeros(_bins(histogram) + 1, np.int64) for name, histogram in histograms.items()}
    for batch in batches:
        rows = [orjson.loads(text) for text in batch.column("features").to_pylist()]
        # Edges are float32 values, as the model sees them.
        values = np.array([[row.get(name) for name in histograms] for row in rows], dtype=np.float32)
        for column, (name, histogram) in enumerate(histograms.items()):
            counts[name] += bin_counts(values[:, column].astype(np.float64), histogram)
    return {name: tuple(count.tolist()) for name, count in counts.items()}


def bin_counts(values: npt.NDArray[np.float64], histogram: Histogram) -> npt.NDArray[np.int64]:
    """Return the values in each bin of a histogram, NaN in the last one; the outer bins are open."""
    bins = _bins(histogram)
    present = values[~np.isnan(values)]
    places = np.searchsorted(np.asarray(histogram.edges), present, side="right") - 1
    counts = np.bincount(np.clip(places, 0, bins - 1), minlength=bins)
    return np.append(counts, len(values) - len(present)).astype(np.int64)


def _rows(histogram: Histogram) -> int:
    return sum(histogram.counts) + histogram.missing


def _bins(histogram: Histogram) -> int:
    return max(1, len(histogram.counts))


def _drift(name: str, histogram: Histogram, found: Sequence[int], users: int) -> FeatureDrift:
    expected = (*(histogram.counts or (0,)), histogram.missing)
    # Predictions of one user are correlated, so users are the independent samples.
    by_chance = psi_noise_bound(
        sum(any(pair) for pair in zip(expected, found, strict=True)), sum(expected), users
    )
    index = population_stability_index(expected, found)
    return FeatureDrift(name, index, by_chance, histogram.edges, expected, tuple(found))
