"""The algebra that late events, replays and partial sums rely on."""

import math
import random
from collections.abc import Sequence
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.features.accumulators import OVER_EVENTS, Accumulator, Cell, FrameEvent, accumulator
from reprise.features.exceptions import PlanError

DAY_US = 86_400_000_000
HALF_LIFE = {"half_life_us": 7 * DAY_US}

ACCUMULATORS = [
    accumulator({"kind": kind, "frame": "purchases", **(HALF_LIFE if kind.startswith("decayed") else {})})
    for kind in OVER_EVENTS
]
each_accumulator = pytest.mark.parametrize("kept", ACCUMULATORS, ids=lambda kept: kept.spec["kind"])

amounts = st.none() | st.just(0.0) | st.floats(-6, 9).map(lambda exponent: 10.0**exponent)
instants = st.integers(1_700_000_000_000_000, 1_700_000_000_000_003) | st.integers(
    -5 * 365 * DAY_US, 50 * 365 * DAY_US
)


@st.composite
def frame_events(draw: st.DrawFn, max_size: int = 8) -> list[FrameEvent]:
    keys = draw(st.lists(st.integers(0, 2**60 - 1), min_size=1, max_size=max_size, unique=True))
    return [FrameEvent("purchases", draw(instants), key, draw(amounts)) for key in keys]


def folded(kept: Accumulator, events: Sequence[FrameEvent]) -> Cell:
    return reduce(lambda state, event: kept.merge(state, kept.lift(event)), events, kept.empty)


def close(left: Cell, right: Cell, scale: float = 0.0) -> bool:
    """Whole numbers must be equal; floats up to rounding of ``scale``, or of the larger of both."""
    return len(left) == len(right) and all(
        a == b
        if a is None or b is None or isinstance(a, int)
        else math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-12 * scale)
        for a, b in zip(left, right, strict=True)
    )


def scale_of(events: Sequence[FrameEvent]) -> float:
    """M2 is a sum of squares, so its rounding follows the squares of the amounts."""
    return sum((event.amount or 0.0) ** 2 for event in events)


@each_accumulator
@given(events=frame_events())
def test_the_empty_state_changes_nothing(kept: Accumulator, events: list[FrameEvent]) -> None:
    state = folded(kept, events)
    assert kept.merge(kept.empty, state) == state
    assert kept.merge(state, kept.empty) == state


@each_accumulator
@given(events=frame_events(), shuffle=st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(
    kept: Accumulator, events: list[FrameEvent], shuffle: random.Random
) -> None:
    shuffled = list(events)
    shuffle.shuffle(shuffled)
    assert close(folded(kept, shuffled), folded(kept, events), scale_of(events))


@each_accumulator
@given(left=frame_events(), right=frame_events())
def test_merge_is_commutative(kept: Accumulator, left: list[FrameEvent], right: list[FrameEvent]) -> None:
    right = [FrameEvent(e.frame, e.timestamp_us, e.key + 2**60, e.amount) for e in right]
    one, other = folded(kept, left), folded(kept, right)
    assert close(kept.merge(one, other), kept.merge(other, one), scale_of(left + right))


@each_accumulator
@given(events=frame_events(max_size=12), cuts=st.tuples(st.integers(0, 12), st.integers(0, 12)))
def test_merging_parts_is_folding_the_whole(
    kept: Accumulator, events: list[FrameEvent], cuts: tuple[int, int]
) -> None:
    first, second = sorted(cuts)
    a, b, c = (folded(kept, part) for part in (events[:first], events[first:second], events[second:]))
    scale = scale_of(events)
    whole = folded(kept, events)
    assert close(kept.merge(kept.merge(a, b), c), whole, scale)
    assert close(kept.merge(a, kept.merge(b, c)), whole, scale)


@each_accumulator
@given(events=frame_events())
def test_a_state_fits_its_fields(kept: Accumulator, events: list[FrameEvent]) -> None:
    for state in (kept.empty, kept.lift(events[0]), folded(kept, events)):
        assert len(state) == len(kept.fields)
        for value, field in zip(state, kept.fields, strict=True):
            assert value is None or type(value) is (int if field.kind == "int64" else float), field
            assert field.kind == "double" or value is None or -(2**63) <= value < 2**63


@each_accumulator
@given(events=frame_events())
def test_merging_leaves_its_arguments_as_they_were(kept: Accumulator, events: list[FrameEvent]) -> None:
    left, right = kept.empty, kept.lift(events[0])
    before = (left, right)
    kept.merge(left, right)
    assert (left, right) == before


def test_moments_are_count_sum_and_centred_squares_of_the_amounts_that_are_there() -> None:
    kept = accumulator({"kind": "moments", "frame": "purchases"})
    events = [FrameEvent("purchases", 0, key, amount) for key, amount in enumerate((2.0, None, 4.0, 9.0))]
    assert folded(kept, events) == (3, 15.0, pytest.approx(26.0, rel=1e-15))


def test_moments_keep_the_spread_of_large_amounts() -> None:
    kept = accumulator({"kind": "moments", "frame": "purchases"})
    events = [FrameEvent("purchases", 0, key, 1e9 + key % 2) for key in range(1000)]
    assert folded(kept, events)[2] == pytest.approx(250.0, rel=1e-6)


@pytest.mark.parametrize(("kind", "winner"), [("first_amount", 1.0), ("last_amount", 3.0)])
def test_events_of_one_instant_are_ordered_by_their_key(kind: str, winner: float) -> None:
    kept = accumulator({"kind": kind, "frame": "purchases"})
    events = [FrameEvent("purchases", 7, key, amount) for key, amount in ((5, 2.0), (1, 1.0), (9, 3.0))]
    assert folded(kept, events)[2] == winner


@pytest.mark.parametrize("kind", ["first_amount", "last_amount"])
def test_the_amount_at_an_end_is_missing_when_that_event_has_none(kind: str) -> None:
    kept = accumulator({"kind": kind, "frame": "purchases"})
    end = 0 if kind == "first_amount" else 2
    events = [FrameEvent("purchases", at, at, None if at == end else 5.0) for at in range(3)]
    assert folded(kept, events) == (end, end, None)


def test_a_decayed_count_halves_with_every_half_life() -> None:
    kept = accumulator({"kind": "decayed_count", "frame": "views", "half_life_us": DAY_US})
    events = [FrameEvent("views", at * DAY_US, at, None) for at in (0, 1, 2)]
    assert folded(kept, events) == (1.75, 2 * DAY_US)


def test_a_decayed_value_survives_centuries_of_silence() -> None:
    kept = accumulator({"kind": "decayed_count", "frame": "views", "half_life_us": 3_600_000_000})
    events = [FrameEvent("views", at, at, None) for at in (0, 300 * 365 * DAY_US)]
    assert folded(kept, events) == (1.0, 300 * 365 * DAY_US)
    assert folded(kept, events[::-1]) == (1.0, 300 * 365 * DAY_US)


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"kind": "median", "frame": "views"}, "unknown accumulator kind 'median'; known are count"),
        ({"frame": "views"}, "unknown accumulator kind None"),
        ({"kind": "count"}, "'frame'"),
        ({"kind": "count", "frame": "views", "half_life_us": 1}, "'half_life_us'"),
        ({"kind": "decayed_sum", "frame": "views"}, "'half_life_us'"),
        ({"kind": "decayed_sum", "frame": "views", "half_life_us": 0}, "half-life must be positive, got 0"),
    ],
)
def test_a_spec_that_describes_no_accumulator_is_refused(spec: dict[str, object], complaint: str) -> None:
    with pytest.raises(PlanError, match=complaint):
        accumulator(spec)
