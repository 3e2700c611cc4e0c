import numpy as np

from reprise.trainer.evaluation.histograms import feature_histogram, score_histogram


def test_every_probability_is_counted() -> None:
    histogram = score_histogram(np.array([0.0, 0.019, 0.5, 1.0]))
    assert sum(histogram.counts) == 4
    assert histogram.edges[0] == 0.0
    assert histogram.edges[-1] == 1.0
    assert histogram.counts[0] == 2
    assert histogram.counts[-1] == 1


def test_continuous_input_has_twenty_bins_of_equal_count() -> None:
    values = np.random.default_rng(0).normal(size=20_000).astype(np.float32)
    histogram = feature_histogram(values)
    assert len(histogram.counts) == 20
    assert max(histogram.counts) - min(histogram.counts) <= 3


def test_common_values_share_a_bin_of_their_own() -> None:
    values = np.array([0] * 90 + [1] * 8 + [7] * 2, dtype=np.float32)
    histogram = feature_histogram(values)
    assert sum(histogram.counts) == 100
    assert histogram.edges[0] == 0.0
    assert histogram.counts[0] == 90


def test_each_of_a_few_values_has_a_bin_of_its_own() -> None:
    values = np.array([0] * 97 + [1] * 3, dtype=np.float32)
    assert feature_histogram(values).counts == (97, 3)


def test_common_largest_value_has_a_bin_of_its_own() -> None:
    values = np.concatenate([np.linspace(0, 1, 900), np.full(100, 2.0)]).astype(np.float32)
    histogram = feature_histogram(values)
    assert histogram.edges[-2] == 2.0
    assert histogram.counts[-1] == 100


def test_missing_values_are_counted_apart() -> None:
    assert feature_histogram(np.array([np.nan, 1.0, 2.0], dtype=np.float32)).missing == 1
    empty = feature_histogram(np.full(3, np.nan, dtype=np.float32))
    assert (empty.edges, empty.counts, empty.missing) == ((), (), 3)


def test_constant_input_has_one_bin() -> None:
    histogram = feature_histogram(np.full(5, 3.5, dtype=np.float32))
    assert histogram.counts == (5,)
    assert histogram.edges[0] == 3.5
