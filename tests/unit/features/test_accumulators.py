"""The algebra that late events, replays and partial sums rely on."""

import math
import random
from collections.abc import Sequence
from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.features.accumulators import (
    OVER_EVENTS,
    OVER_PAIRS,
    Accumulator,
    Cell,
    FrameEvent,
    PairTransition,
    accumulator,
)
from reprise.features.exceptions import PlanError
from reprise.features.latest_products import unpack_list

DAY_US = 86_400_000_000
HALF_LIFE = {"half_life_us": 7 * DAY_US}
PARAMETERS = {"decayed_count": HALF_LIFE, "decayed_sum": HALF_LIFE, "latest_products": {"limit": 3}}
INNER = "purchases_count"
OF_PAIRS = {
    kind: accumulator({"kind": kind} if kind == "pair_count" else {"kind": kind, "inner": INNER})
    for kind in OVER_PAIRS
}

ACCUMULATORS = [
    accumulator({"kind": kind, "frame": "purchases", **PARAMETERS.get(kind, {})}) for kind in OVER_EVENTS
]
each_accumulator = pytest.mark.parametrize("kept", ACCUMULATORS, ids=lambda kept: kept.spec["kind"])

amounts = st.none() | st.just(0.0) | st.floats(-6, 9).map(lambda exponent: 10.0**exponent)
instants = st.integers(1_700_000_000_000_000, 1_700_000_000_000_003) | st.integers(
    -5 * 365 * DAY_US, 50 * 365 * DAY_US
)


@st.composite
def frame_events(draw: st.DrawFn, max_size: int = 12) -> list[FrameEvent]:
    keys = draw(st.lists(st.integers(0, 2**60 - 1), min_size=1, max_size=max_size, unique=True))
    products = st.sampled_from(("p", "q", "pq", "é", "z" * 256))
    return [FrameEvent("purchases", draw(instants), key, draw(amounts), draw(products)) for key in keys]


def folded(kept: Accumulator, changes: Sequence[FrameEvent | PairTransition]) -> Cell:
    return reduce(lambda state, change: kept.merge(state, kept.lift(change)), changes, kept.empty)


def assert_fits(kept: Accumulator, state: Cell) -> None:
    for value, field in zip(state, kept.fields, strict=True):
        assert value is None or type(value) is {"int64": int, "double": float, "bytes": bytes}[field.kind]
        assert field.kind != "int64" or value is None or -(2**63) <= value < 2**63


def close(left: Cell, right: Cell, events: Sequence[FrameEvent]) -> bool:
    """Whole numbers must be equal; floats up to rounding of the larger, or of the sum of the squares for M2."""
    scale = sum((event.amount or 0.0) ** 2 for event in events)
    return len(left) == len(right) and all(
        a == b
        if a is None or b is None or isinstance(a, int | bytes)
        else math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-12 * scale)
        for a, b in zip(left, right, strict=True)
    )


@each_accumulator
@given(events=frame_events(), shuffle=st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter_and_the_empty_state_changes_nothing(
    kept: Accumulator, events: list[FrameEvent], shuffle: random.Random
) -> None:
    state = folded(kept, events)
    assert kept.merge(kept.empty, state) == kept.merge(state, kept.empty) == state
    for each in (kept.empty, kept.lift(events[0]), state):
        assert_fits(kept, each)
    shuffled = list(events)
    shuffle.shuffle(shuffled)
    assert close(folded(kept, shuffled), state, events)


@each_accumulator
@given(events=frame_events(), cuts=st.tuples(st.integers(0, 12), st.integers(0, 12)))
def test_merging_parts_is_folding_the_whole(
    kept: Accumulator, events: list[FrameEvent], cuts: tuple[int, int]
) -> None:
    first, second = sorted(cuts)
    a, b, c = (folded(kept, part) for part in (events[:first], events[first:second], events[second:]))
    whole = folded(kept, events)
    merge = kept.merge
    for merged in (merge(merge(a, b), c), merge(a, merge(b, c)), merge(c, merge(b, a))):
        assert close(merged, whole, events)


def test_moments_keep_the_spread_of_large_amounts() -> None:
    kept = accumulator({"kind": "moments", "frame": "purchases"})
    events = [FrameEvent("purchases", 0, key, 1e9 + key % 2, "p") for key in range(1000)]
    assert folded(kept, events)[2] == pytest.approx(250.0, rel=1e-6)


@given(events=frame_events(), again=st.lists(st.integers(0, 11)), shuffle=st.randoms(use_true_random=False))
def test_a_list_has_the_products_bought_last_whatever_is_late_replayed_or_dropped_before(
    events: list[FrameEvent], again: list[int], shuffle: random.Random
) -> None:
    kept = accumulator({"kind": "latest_products", "frame": "purchases", "limit": 2})
    latest: dict[str, int] = {}
    for event in events:
        latest[event.product_id] = max(event.timestamp_us, latest.get(event.product_id, event.timestamp_us))
    arrivals = events + [events[at % len(events)] for at in again]
    shuffle.shuffle(arrivals)
    state = folded(kept, arrivals)
    expected = sorted(latest, key=lambda p: (latest[p], len(p.encode()), p.encode()), reverse=True)[:2]
    assert unpack_list(state[0]) == [(latest[product], product) for product in expected]
    assert kept.merge(state, state) == state


def test_a_list_that_another_plan_began_stays_missing() -> None:
    kept = accumulator({"kind": "latest_products", "frame": "purchases", "limit": 2})
    bought = kept.lift(FrameEvent("purchases", 1, 1, None, "p"))
    assert kept.merge((None,), bought) == kept.merge(bought, (None,)) == (None,)


@st.composite
def moves_of_pairs(draw: st.DrawFn) -> tuple[list[PairTransition], dict[str, float]]:
    """Draw the interleaved moves of pairs whose inner value is missing for a while, and then never falls.

    Each pair's own moves are in order. Also return the last value of each pair, NaN if it has none.
    """
    names = draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True))
    order = draw(st.permutations([name for name in names for _ in range(draw(st.integers(1, 8)))]))
    moves, last = [], {}
    for name in order:
        before = last.get(name, math.nan)
        step = draw(st.integers(0, 50))
        after = (
            before
            if math.isnan(before) and draw(st.booleans())
            else float(step + (before if before > 0 else 0))
        )
        moves.append(PairTransition(name not in last, {INNER: before}, {INNER: after}))
        last[name] = after
    return moves, last


@pytest.mark.parametrize("kind", OF_PAIRS)
@given(drawn=moves_of_pairs(), cut=st.integers(0, 30), order=st.randoms(use_true_random=False))
def test_moves_add_up_to_where_the_pairs_ended_in_whatever_order_and_parts(
    kind: str, drawn: tuple[list[PairTransition], dict[str, float]], cut: int, order: random.Random
) -> None:
    moves, last = drawn
    kept = OF_PAIRS[kind]
    ends = [value for value in last.values() if not math.isnan(value)]
    expected: dict[str, Cell] = {
        "pair_count": (len(last),),
        "pair_sum": (len(ends), sum(ends)),
        "pair_max": (max(ends, default=None),),
    }
    state = folded(kept, moves)
    assert state == expected[kind]
    assert_fits(kept, state)
    order.shuffle(moves)
    left, right = folded(kept, moves[:cut]), folded(kept, moves[cut:])
    assert kept.merge(left, right) == kept.merge(right, left) == state
    assert kept.merge(kept.empty, left) == kept.merge(left, kept.empty) == left


def test_a_sum_over_pairs_follows_values_that_fall_or_are_lost() -> None:
    kept = OF_PAIRS["pair_sum"]
    gained = kept.lift(PairTransition(True, {INNER: math.nan}, {INNER: 4.0}))
    lost = kept.lift(PairTransition(False, {INNER: 4.0}, {INNER: math.nan}))
    assert (gained, lost) == ((1, 4.0), (-1, -4.0))
    assert kept.merge(gained, lost) == kept.empty
    assert kept.lift(PairTransition(False, {INNER: 10.0}, {INNER: 2.5})) == (0, -7.5)


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        (
            {"kind": "median", "frame": "views"},
            "unknown accumulator kind 'median'; known are count, .*, pair_max",
        ),
        ({"kind": "latest_products", "frame": "views", "limit": 0}, "1 to 1,000, not 0"),
        ({"frame": "views"}, "unknown accumulator kind None"),
        ({"kind": "count"}, "'frame'"),
        ({"kind": "count", "frame": "views", "half_life_us": 1}, "'half_life_us'"),
        ({"kind": "decayed_sum", "frame": "views"}, "'half_life_us'"),
        ({"kind": "decayed_sum", "frame": "views", "half_life_us": 0}, "half-life must be positive, got 0"),
        ({"kind": "pair_sum"}, "'inner'"),
        ({"kind": "pair_count", "inner": INNER}, "'inner'"),
    ],
)
def test_a_spec_that_describes_no_accumulator_is_refused(spec: dict[str, Any], complaint: str) -> None:
    with pytest.raises(PlanError, match=complaint):
        accumulator(spec)
