"""The population stability index: nothing for the same shares, more for more of a shift, and little by chance."""

import math
import random

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import binom

from reprise.routing.population_stability import (
    merge_bins,
    population_stability_index,
    psi_noise_bound,
)

COUNTS = st.lists(st.integers(0, 10_000), min_size=20, max_size=20).filter(any)


@given(COUNTS, st.integers(2, 50))
def test_equal_shares_of_samples_of_other_sizes_are_next_to_no_distance(
    counts: list[int], times: int
) -> None:
    assume(sum(counts) >= 1000)
    many = [count * times for count in counts]
    # half a count in each of twenty bins is what is left of it
    assert population_stability_index(counts, many) <= 20 * 10 / sum(counts)


@given(st.lists(st.integers(100, 10_000), min_size=3, max_size=20), st.data())
def test_the_more_of_a_bin_moves_to_another_the_greater_is_the_distance(
    counts: list[int], data: st.DataObject
) -> None:
    share = counts[0]
    less = data.draw(st.integers(0, share - 1))
    more = data.draw(st.integers(less + 1, share))

    def moved(count: int) -> float:
        return population_stability_index(counts, [share - count, *counts[1:-1], counts[-1] + count])

    assert moved(less) < moved(more)


@given(COUNTS, COUNTS)
def test_the_distance_is_symmetric_never_negative_and_zero_of_itself(
    one: list[int], other: list[int]
) -> None:
    assert population_stability_index(one, one) == pytest.approx(0, abs=1e-12)
    index = population_stability_index(one, other)
    assert index >= 0
    assert index == pytest.approx(population_stability_index(other, one))


@given(COUNTS, COUNTS)
def test_merged_bins_hold_all_and_a_tenth_of_the_reference_each(
    reference: list[int], other: list[int]
) -> None:
    merged, follows = merge_bins(10, reference, other)
    assert (sum(merged), sum(follows)) == (sum(reference), sum(other))
    assert 2 <= len(merged) == len(follows) <= 10
    assert len(merged) == 2 or all(count >= sum(reference) / 10 for count in merged)


@pytest.mark.parametrize("reference", [(58, 2, 0, 0), (0, 0, 1, 59), (0, 60, 0, 0)])
def test_a_shift_of_everything_is_seen_where_the_reference_is_in_one_bin(reference: tuple[int, ...]) -> None:
    moved = [0, 0, 60, 0]
    index = population_stability_index(*merge_bins(2, reference, moved))
    assert index > psi_noise_bound(2, 60, 60, 1e-5)


@pytest.mark.parametrize("share", [0.5, 0.3, 0.1, 0.05, 0.02, 0.003])
@pytest.mark.parametrize(("one", "other"), [(8, 8), (20, 300), (100, 100)])
def test_two_bins_pass_the_bound_by_chance_at_most_twice_as_often_as_promised(
    one: int, other: int, share: float
) -> None:
    """Exact, for bins of any size: the shares of the fuller bin are two binomials."""
    bound = psi_noise_bound(2, one, other, 0.001)
    rare, others = (binom.pmf(np.arange(size + 1), size, share) for size in (one, other))
    passes = sum(
        rare[a] * others[b]
        for a in range(one + 1)
        for b in range(other + 1)
        if rare[a] * others[b] > 1e-12 and population_stability_index((a, one - a), (b, other - b)) > bound
    )
    assert passes <= 0.002


def test_the_distance_is_the_textbooks() -> None:
    one, other = (700, 200, 100), (600, 250, 150)
    smoothed = [tuple((count + 0.5) / (sum(counts) + 1.5) for count in counts) for counts in (one, other)]
    expected = sum((p - q) * math.log(p / q) for p, q in zip(*smoothed, strict=True))
    assert population_stability_index(one, other) == pytest.approx(expected)
    assert expected == pytest.approx(0.0467, abs=0.001)


def test_small_samples_of_one_distribution_seldom_pass_the_bound_of_chance() -> None:
    generator = random.Random(7)

    def sample(size: int) -> list[int]:
        counts = [0] * 20
        for _ in range(size):
            counts[min(19, int(generator.betavariate(2, 5) * 20))] += 1
        return counts

    pairs = [(sample(100), sample(1900)) for _ in range(150)]
    beyond = sum(
        population_stability_index(*pair) > psi_noise_bound(20, sum(pair[0]), sum(pair[1])) for pair in pairs
    )
    assert beyond <= 2
    assert sum(population_stability_index(*pair) > 0.1 for pair in pairs) > 15, (
        "the plain rule of thumb would alarm"
    )


@pytest.mark.parametrize("other", [(), (1.0,)])
def test_histograms_of_other_bins_are_refused(other: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="same bins"):
        population_stability_index((1.0, 2.0), other)
