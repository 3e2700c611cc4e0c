"""The product's promise: three executors of one plan, and no difference between them.

``REPRISE_PARITY_EXAMPLES`` multiplies the histories that are tried, and then draws new ones every time. It also adds
instants to the fixed cases.
"""

import os
import random
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reprise.events import Event
from reprise.features.executors.batch import BatchExecutor
from reprise.features.executors.fold import InMemoryStates
from reprise.features.parity.comparison import TOLERANCE, compare
from support.discovered import definition, discovery, full_plan
from support.hard_histories import (
    DAY_US,
    HARD_CASES,
    NOW,
    PRODUCTS,
    USERS,
    YEAR_US,
    Request,
    every_pair_at,
    histories,
    largest_amount,
    purchase,
    random_history,
    requests_about,
    requests_at,
    view,
)
from support.histories import entity_states, event_table
from support.parity import (
    Answers,
    answers,
    folded_states,
    reference_answers,
    state_mismatches,
    states_by_ids,
)
from support.raw_lists import RawLists

DOSE = int(os.environ.get("REPRISE_PARITY_EXAMPLES", "1"))

PLAN = full_plan()
CANDIDATES = discovery().candidates
NAMES = [candidate.name for candidate in CANDIDATES]
DECAYED = "user_decayed_count_views_timestamp"


def dose(examples: int) -> settings:
    return settings(
        max_examples=examples * DOSE,
        derandomize=DOSE == 1,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@pytest.fixture(scope="module")
def executor() -> Iterator[BatchExecutor]:
    with BatchExecutor(PLAN) as shared:
        yield shared


def assert_three_ways_the_same(
    executor: BatchExecutor, events: list[Event], requests: list[Request]
) -> Answers:
    found = answers(executor, PLAN, events, requests)
    reference = reference_answers(events, requests, CANDIDATES, definition())
    for comparison in (found.compared(), found.compared_with(reference, NAMES)):
        assert [str(mismatch) for mismatch in comparison.mismatches] == []
        assert comparison.worst <= TOLERANCE
        assert comparison.compared == len(requests) * len(
            NAMES if comparison.executors.startswith("reference") else PLAN.inputs
        )
    return found


@dose(6 if DOSE == 1 else 18)
@given(data=st.data())
def test_reference_batch_and_stream_are_the_same(executor: BatchExecutor, data: st.DataObject) -> None:
    events = data.draw(histories(), label="events")
    assert_three_ways_the_same(executor, events, data.draw(requests_about(events), label="requests"))


@pytest.mark.parametrize("seed", range(DOSE))
def test_a_dense_history_is_the_same_three_ways(executor: BatchExecutor, seed: int) -> None:
    events = random_history(seed, 120, users=4, products=3)
    instants = np.random.default_rng(seed).choice([e.timestamp_us for e in events], 6, replace=False)
    requests = [
        Request(f"user-{user}", f"product-{product}", int(instant))
        for instant in instants
        for user in range(5)
        for product in range(4)
    ]
    assert_three_ways_the_same(executor, events, requests)


@dose(6)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(50, 400),
    users=st.integers(1, 30),
    products=st.integers(1, 10),
    years=st.sampled_from((0.0001, 0.1, 3.0, 20.0)),
)
def test_batch_and_stream_are_the_same_on_larger_histories(
    executor: BatchExecutor, seed: int, count: int, users: int, products: int, years: float
) -> None:
    events = random_history(seed, count, users=users, products=products, years=years)
    found = answers(executor, PLAN, events, requests_at(events, seed)).compared()
    assert [str(mismatch) for mismatch in found.mismatches] == []
    assert found.compared == 2 * count * len(PLAN.inputs)


@pytest.mark.parametrize("years", [0.1, 20.0])
def test_a_history_in_parts_is_the_same_three_ways(years: float) -> None:
    events = random_history(3, 120, users=7, products=5, years=years)
    requests = [
        Request(f"user-{number % 8}", f"product-{number % 6}", event.timestamp_us + number % 2)
        for number, event in enumerate(events[::5])
    ]
    with BatchExecutor(PLAN, part_rows=25) as in_parts:
        for history in (events, events[:10], events):
            assert_three_ways_the_same(in_parts, history, requests)
        assert_states_are_the_batchs(in_parts, events, random.Random(3))


def assert_states_are_the_batchs(executor: BatchExecutor, events: list[Event], order: random.Random) -> None:
    executor.load_events(event_table(events))
    shuffled = list(events)
    order.shuffle(shuffled)
    states = folded_states(PLAN, shuffled)
    for entity in PLAN.entities:
        folded, batch = states_by_ids(states, entity), entity_states(executor, entity)
        assert state_mismatches(entity, folded, batch, largest_amount(events)) == []


@dose(6)
@given(events=histories(max_events=40), order=st.randoms(use_true_random=False))
def test_states_are_the_batchs_in_whatever_order_events_arrive(
    executor: BatchExecutor, events: list[Event], order: random.Random
) -> None:
    assert_states_are_the_batchs(executor, events, order)


@pytest.mark.parametrize("seed", range(1 if DOSE == 1 else 3))
def test_a_long_history_shuffled_folds_to_the_batchs_states(executor: BatchExecutor, seed: int) -> None:
    events = random_history(seed, 3_000, users=40, products=15)
    assert_states_are_the_batchs(executor, events, random.Random(seed))


@dose(6)
@given(events=histories(max_events=40))
def test_states_are_what_all_the_events_say_without_accumulators(events: list[Event]) -> None:
    kept = [event for event in events if event.event_type in PLAN.frames]
    lists, recomputed = RawLists(PLAN), InMemoryStates(PLAN)
    for event in kept:
        lists.take(event, recomputed)
    folded = folded_states(PLAN, kept)
    for entity in PLAN.entities:
        left, right = states_by_ids(folded, entity), states_by_ids(recomputed, entity)
        assert state_mismatches(entity, left, right, largest_amount(kept)) == []


@pytest.mark.parametrize("events", HARD_CASES.values(), ids=HARD_CASES.keys())
def test_a_hard_case_is_the_same_three_ways(executor: BatchExecutor, events: list[Event]) -> None:
    instants = sorted({event.timestamp_us for event in events})
    last = instants[-1]
    asked = {last, last + YEAR_US}
    if DOSE > 1:
        asked |= {at + shift for at in (instants[0], instants[len(instants) // 2], last) for shift in (0, 1)}
    assert_three_ways_the_same(executor, events, every_pair_at(sorted(asked)))


def test_25_years_of_weekly_half_lives_stay_exact(executor: BatchExecutor) -> None:
    """More than 512 half-lives: the batch SQL sums decayed weights in buckets."""
    rng = np.random.default_rng(5)
    instants = np.sort(rng.integers(0, 25 * YEAR_US, 60)) + 946_684_800_000_000
    events = [
        purchase(int(at), float(10.0 ** rng.uniform(-6, 9)), USERS[number % 2], PRODUCTS[number % 3], number)
        if number % 3
        else view(int(at), USERS[number % 2], PRODUCTS[number % 3], number)
        for number, at in enumerate(instants)
    ]
    assert (events[-1].timestamp_us - events[0].timestamp_us) / (7 * DAY_US) > 2 * 512
    step, least = (6, 20) if DOSE > 1 else (12, 10)
    found = assert_three_ways_the_same(
        executor, events, every_pair_at([int(at) + 1 for at in instants[::step]])
    )
    assert (found.batch_of(DECAYED) > 0).sum() > least


@pytest.mark.parametrize("years", [9.7, 9.9, 19.5, 19.7, 20.5, 21.5] if DOSE > 1 else [9.9, 19.7])
def test_what_has_decayed_out_of_a_doubles_range_is_no_mismatch(
    executor: BatchExecutor, years: float
) -> None:
    """About 512 and 1024 weekly half-lives of silence: where buckets meet, and where doubles end."""
    events = [purchase(NOW, 1e9), view(NOW, number=1)]
    assert_three_ways_the_same(executor, events, [Request("u", "p", NOW + int(years * YEAR_US))])


def test_decay_reaches_back_over_a_whole_empty_bucket(executor: BatchExecutor) -> None:
    """The event is late in the first bucket, the request early in the third, and nothing in between."""
    half_life_us = 7 * DAY_US
    events = [view(NOW, "once"), view(NOW + 500 * half_life_us, "u")]
    found = assert_three_ways_the_same(executor, events, [Request("u", "p", NOW + 1030 * half_life_us)])
    assert found.batch_of(DECAYED) == pytest.approx([2.0**-530], rel=1e-9, abs=0)


@pytest.mark.parametrize("shift", [-1, 0, 1])
def test_decay_is_exact_around_the_edges_of_buckets(executor: BatchExecutor, shift: int) -> None:
    bucket_us = 512 * 7 * DAY_US
    events = [
        purchase(NOW + number * bucket_us // 2 + shift * (number % 2), 10.0 ** (number - 4), number=number)
        for number in range(7)
    ]
    requests = [
        Request("u", "p", NOW + edge * bucket_us // 2 + after)
        for edge in (range(7) if DOSE > 1 else (2, 6))
        for after in ((-1, 0, 1, 2, 5 * DAY_US) if DOSE > 1 else (-1, 1))
    ]
    assert_three_ways_the_same(executor, events, requests)


def test_every_input_of_the_plan_takes_part(executor: BatchExecutor) -> None:
    """A feature that is missing or constant in every history would be compared to no purpose."""
    events = random_history(11, 600)
    found = answers(executor, PLAN, events, requests_at(events))
    idle = [
        name
        for name, column in zip(PLAN.input_names, found.batch.T, strict=True)
        if len(np.unique(column[~np.isnan(column)])) < 2
    ]
    assert idle == []


def test_a_value_that_is_off_or_that_only_one_executor_has_is_a_mismatch(executor: BatchExecutor) -> None:
    events = random_history(1, 60)
    found = answers(executor, PLAN, events, requests_at(events))
    names, scales = PLAN.input_names, found.scales()
    for column, name in enumerate(names):
        row = int(np.flatnonzero(~np.isnan(found.stream[:, column]))[-1])
        for change in (2 * TOLERANCE * scales[column], np.nan):
            off = found.stream.copy()
            off[row, column] += change
            for left, right in ((found.batch, off), (off, found.batch)):
                [mismatch] = compare("one and other", names, left, right, scales).mismatches
                assert (mismatch.feature, mismatch.row) == (name, row)
                assert ("nan" in str(mismatch)) == np.isnan(change)


def test_an_event_at_the_requests_own_instant_is_not_yet_known(executor: BatchExecutor) -> None:
    events = [purchase(NOW, 5.0), purchase(NOW + 10, 7.0, number=1)]
    found = answers(executor, PLAN, events, [Request("u", "p", NOW + at) for at in (0, 1, 10, 11)])
    assert found.batch_of("total_spend").tolist() == [0.0, 5.0, 5.0, 12.0]
    assert found.compared().mismatches == ()
