import numpy as np
import pytest

from reprise.trainer.evaluation.histograms import feature_histogram, score_histogram


def test_every_probability_is_counted() -> None:
    histogram = score_histogram(np.array([0.0, 0.019, 0.5, 1.0]))
    assert (histogram.edges[0], histogram.edges[-1]) == (0.0, 1.0)
    assert (histogram.counts[0], histogram.counts[-1], sum(histogram.counts)) == (2, 1, 4)


def test_continuous_input_has_twenty_bins_of_equal_count() -> None:
    values = np.random.default_rng(0).normal(size=20_000).astype(np.float32)
    histogram = feature_histogram(values)
    assert len(histogram.counts) == 20
    assert max(histogram.counts) - min(histogram.counts) <= 3


@pytest.mark.parametrize(
    ("values", "counts", "missing"),
    [
        ([0] * 97 + [1] * 3, (97, 3), 0),
        ([0] * 90 + [1] * 8 + [7] * 2, (90, 8, 2), 0),
        ([3.5] * 5, (5,), 0),
        ([np.nan, 1.0, 2.0], (1, 1), 1),
        ([np.nan] * 3, (), 3),
    ],
    ids=["two values", "common ones", "constant", "one missing", "all missing"],
)
def test_each_of_a_few_values_has_a_bin_of_its_own_and_missing_ones_are_counted_apart(
    values: list[float], counts: tuple[int, ...], missing: int
) -> None:
    histogram = feature_histogram(np.array(values, dtype=np.float32))
    assert (histogram.counts, histogram.missing) == (counts, missing)
    assert histogram.edges[:-1] == tuple(sorted({each for each in values if not np.isnan(each)}))


def test_common_largest_value_has_a_bin_of_its_own() -> None:
    values = np.concatenate([np.linspace(0, 1, 900), np.full(100, 2.0)]).astype(np.float32)
    histogram = feature_histogram(values)
    assert histogram.edges[-2] == 2.0
    assert histogram.counts[-1] == 100
