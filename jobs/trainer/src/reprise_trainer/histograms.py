"""Histograms that a later sample is compared with to see drift."""

import numpy as np
import numpy.typing as npt
from reprise_bundle import Histogram

FEATURE_BINS = 20
SCORE_BINS = 50


def score_histogram(probabilities: npt.NDArray[np.float64]) -> Histogram:
    """Return the counts of the probabilities in 50 equal bins over [0, 1]."""
    counts, edges = np.histogram(probabilities, bins=SCORE_BINS, range=(0.0, 1.0))
    return Histogram(edges=tuple(edges.tolist()), counts=tuple(counts.tolist()))


def feature_histogram(values: npt.NDArray[np.float32]) -> Histogram:
    """Return the counts of an input in up to 20 bins between its quantiles.

    Edges are values that occur; where a few values are very common there are fewer bins.
    """
    present = values[~np.isnan(values)]
    missing = len(values) - len(present)
    if len(present) == 0:
        return Histogram(edges=(), counts=(), missing=missing)
    quantiles = np.quantile(present, np.linspace(0, 1, FEATURE_BINS + 1), method="inverted_cdf")
    edges = np.unique(quantiles.astype(np.float64))
    if len(edges) == 1:
        edges = np.array([edges[0], np.nextafter(edges[0], np.inf)])
    counts, _ = np.histogram(present.astype(np.float64), bins=edges)
    return Histogram(edges=tuple(edges.tolist()), counts=tuple(counts.tolist()), missing=missing)
