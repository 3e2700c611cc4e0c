"""Sums and maxima over pairs, kept by what each event does to its pair."""

import math
import random
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.features.accumulators import OVER_PAIRS, Accumulator, Cell, PairTransition, accumulator
from reprise.features.exceptions import PlanError

INNER = "purchases_count"
SPECS = (
    {"kind": "pair_count"},
    {"kind": "pair_sum", "inner": INNER},
    {"kind": "pair_max", "inner": INNER},
)
each_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["kind"])

Walk = tuple[str, tuple[float, ...]]
"""A pair, and the values that its inner feature takes event by event; NaN before it has one."""


@st.composite
def walks(draw: st.DrawFn) -> list[Walk]:
    """Draw pairs whose inner value is missing for a while, and then never falls, as maxima require."""
    found = []
    for name in draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True)):
        missing = draw(st.integers(0, 2))
        steps = draw(st.lists(st.integers(0, 50), min_size=1, max_size=6))
        values = [float(sum(steps[: at + 1])) for at in range(len(steps))]
        found.append((name, (*([math.nan] * missing), *values)))
    return found


def transitions(walks: Sequence[Walk], order: random.Random) -> list[PairTransition]:
    """Interleave the pairs' events, each pair's own in order."""
    left = {name: list(enumerate(values)) for name, values in walks}
    last: dict[str, float] = dict.fromkeys(left, math.nan)
    found = []
    while left:
        name = order.choice(sorted(left))
        at, value = left[name].pop(0)
        found.append(PairTransition(at == 0, {INNER: last[name]}, {INNER: value}))
        last[name] = value
        if not left[name]:
            del left[name]
    return found


def folded(kept: Accumulator, moves: Sequence[PairTransition]) -> Cell:
    state = kept.empty
    for move in moves:
        state = kept.merge(state, kept.lift(move))
    return state


def expected(kind: str, walks: Sequence[Walk]) -> Cell:
    ends = [values[-1] for _, values in walks if not math.isnan(values[-1])]
    by_kind: Mapping[str, Cell] = {
        "pair_count": (len(walks),),
        "pair_sum": (len(ends), sum(ends)),
        "pair_max": (max(ends, default=None),),
    }
    return by_kind[kind]


@each_spec
@given(walks=walks(), order=st.randoms(use_true_random=False))
def test_transitions_add_up_to_where_the_pairs_ended_in_whatever_order(
    spec: Mapping[str, str], walks: list[Walk], order: random.Random
) -> None:
    kept = accumulator(spec)
    moves = transitions(walks, order)
    assert folded(kept, moves) == expected(spec["kind"], walks)
    order.shuffle(moves)
    assert folded(kept, moves) == expected(spec["kind"], walks)


@each_spec
@given(walks=walks(), order=st.randoms(use_true_random=False), cut=st.integers(0, 30))
def test_merge_of_partial_sums_is_the_whole(
    spec: Mapping[str, str], walks: list[Walk], order: random.Random, cut: int
) -> None:
    kept = accumulator(spec)
    moves = transitions(walks, order)
    left, right = folded(kept, moves[:cut]), folded(kept, moves[cut:])
    assert kept.merge(left, right) == kept.merge(right, left) == folded(kept, moves)
    assert kept.merge(kept.empty, left) == kept.merge(left, kept.empty) == left


@each_spec
@given(walks=walks(), order=st.randoms(use_true_random=False))
def test_a_state_fits_its_fields(spec: Mapping[str, str], walks: list[Walk], order: random.Random) -> None:
    kept = accumulator(spec)
    for state in (kept.empty, folded(kept, transitions(walks, order))):
        for value, field in zip(state, kept.fields, strict=True):
            assert value is None or type(value) is (int if field.kind == "int64" else float), field


def test_a_pair_that_loses_its_value_is_no_longer_counted() -> None:
    kept = accumulator({"kind": "pair_sum", "inner": INNER})
    gained = kept.lift(PairTransition(True, {INNER: math.nan}, {INNER: 4.0}))
    lost = kept.lift(PairTransition(False, {INNER: 4.0}, {INNER: math.nan}))
    assert (gained, lost) == ((1, 4.0), (-1, -4.0))
    assert kept.merge(gained, lost) == kept.empty


def test_a_value_that_falls_takes_its_difference_from_the_sum() -> None:
    kept = accumulator({"kind": "pair_sum", "inner": INNER})
    assert kept.lift(PairTransition(False, {INNER: 10.0}, {INNER: 2.5})) == (0, -7.5)


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        (
            {"kind": "pair_median", "inner": INNER},
            "unknown accumulator kind 'pair_median'; known are count, .*, pair_count",
        ),
        ({"kind": "pair_sum"}, "'inner'"),
        ({"kind": "pair_count", "inner": INNER}, "'inner'"),
    ],
)
def test_a_spec_that_describes_nothing_over_pairs_is_refused(spec: dict[str, str], complaint: str) -> None:
    with pytest.raises(PlanError, match=complaint):
        accumulator(spec)


def test_every_kind_over_pairs_is_tested() -> None:
    assert [spec["kind"] for spec in SPECS] == list(OVER_PAIRS)
