"""Histograms that a later sample is compared with to see drift."""

import numpy as np
import numpy.typing as npt

from reprise.bundle import Histogram

FEATURE_BINS = 20
SCORE_BINS = 50


def score_histogram(probabilities: npt.NDArray[np.float64]) -> Histogram:
    """Return the counts of the probabilities in 50 equal bins over [0, 1]."""
    counts, edges = np.histogram(probabilities, bins=SCORE_BINS, range=(0.0, 1.0))
    return Histogram(edges=tuple(edges.tolist()), counts=tuple(counts.tolist()))


def feature_histogram(values: npt.NDArray[np.float32]) -> Histogram:
    """Return the counts of an input in up to 20 bins: one of each value, or, of more values, between their quantiles.

    Edges are values that occur; where a few values are very common there are fewer bins. A largest value that is as
    common as a bin has one of its own, by an edge just above it.
    """
    present = values[~np.isnan(values)].astype(np.float64)
    missing = len(values) - len(present)
    if len(present) == 0:
        return Histogram(edges=(), counts=(), missing=missing)
    edges = np.unique(present)
    if len(edges) > FEATURE_BINS:
        quantiles = np.quantile(present, np.linspace(0, 1, FEATURE_BINS + 1), method="inverted_cdf")
        edges = np.unique(quantiles)
        alone = quantiles[-2] == quantiles[-1]
    else:
        alone = True
    if alone:
        edges = np.append(edges, np.nextafter(edges[-1], np.inf))
    counts, _ = np.histogram(present, bins=edges)
    return Histogram(edges=tuple(edges.tolist()), counts=tuple(counts.tolist()), missing=missing)
