import hashlib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.routing import (
    BUCKETS,
    DistinctUsers,
    InvalidSharesError,
    RoutingDocument,
    Share,
    allocate,
    assign,
    bucket_of,
    count_buckets,
)
from support.collection import SOAK

BASE = "sha256:" + "a" * 64
NEW = "sha256:" + "b" * 64
NAMES = ("one", "two", "three", "four")
USERS = [f"user-{number}" for number in range(20_000)]


@st.composite
def weights(draw):
    left, given_ = BUCKETS, {}
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True)):
        given_[name] = draw(st.integers(0, left))
        left -= given_[name]
    return given_


def shares(of: dict[str, int]) -> list[Share]:
    return [Share(name, NEW, weight) for name, weight in of.items()]


def held(arms) -> dict:
    return {arm.name: arm.buckets for arm in arms[1:]}


def owners(arms) -> list[str]:
    table = [""] * BUCKETS
    for arm in arms:
        for first, end in arm.buckets:
            assert not any(table[first:end])
            table[first:end] = [arm.name] * (end - first)
    assert all(table)
    return table


def document(arms, salt="salt") -> RoutingDocument:
    return RoutingDocument(generation=1, rollout="a/b", salt=salt, arms=arms)


@settings(max_examples=200 if SOAK else 30)
@given(st.lists(weights(), min_size=2, max_size=6))
def test_no_user_moves_between_candidates_while_the_baseline_has_enough(steps):
    arms = allocate(BASE, shares(steps[0]), {})
    for step in steps[1:]:
        changed = allocate(BASE, shares(step), held(arms))
        document(changed)
        before = {arm.name: arm.weight for arm in arms}
        growth = sum(max(0, weight - before.get(name, 0)) for name, weight in step.items())
        moved = [pair for pair in zip(owners(arms), owners(changed), strict=True) if pair[0] != pair[1]]
        between = [pair for pair in moved if "baseline" not in pair]
        assert len(between) == max(0, growth - arms[0].weight)
        arms = changed


@settings(max_examples=200 if SOAK else 30)
@given(weights(), st.sampled_from(NAMES), st.integers(0, BUCKETS))
def test_a_growing_candidate_keeps_its_users_and_takes_only_the_baselines(start, name, more):
    arms = allocate(BASE, shares(start), {})
    grown = {**start, name: start.get(name, 0) + min(more, arms[0].weight)}
    for before, after in zip(owners(arms), owners(allocate(BASE, shares(grown), held(arms))), strict=True):
        assert after == before or (before, after) == ("baseline", name)


@settings(max_examples=200 if SOAK else 30)
@given(weights(), weights())
def test_every_candidate_has_just_its_share(start, then):
    arms = allocate(BASE, shares(then), held(allocate(BASE, shares(start), {})))
    assert {arm.name: arm.weight for arm in arms[1:]} == then
    assert all(count_buckets(arm.buckets) == arm.weight for arm in arms)
    assert sum(arm.weight for arm in arms) == BUCKETS


@settings(max_examples=200 if SOAK else 30)
@given(weights())
def test_the_same_shares_again_change_nothing(start):
    arms = allocate(BASE, shares(start), {})
    assert allocate(BASE, shares(start), held(arms)) == arms


@pytest.mark.parametrize(
    ("shares", "told"),
    [
        ([("one", 10_001)], "of 10000"),
        ([("one", 6000), ("two", 4001)], "of 10000"),
        ([("baseline", 1)], "twice"),
    ],
)
def test_shares_beyond_all_users_or_of_one_arm_twice_are_refused(shares, told):
    with pytest.raises(InvalidSharesError, match=told):
        allocate(BASE, [Share(name, NEW, weight) for name, weight in shares], {})


@given(
    st.text(max_size=40), st.text(alphabet=st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)
)
def test_the_bucket_is_the_documented_hash(user, salt):
    data = salt.encode() + b"\0" + user.encode("utf-8", "surrogatepass")
    expected = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") % BUCKETS
    assert bucket_of(salt, user) == expected


def test_buckets_never_change_with_a_version():
    assert [bucket_of("repurchase", f"u-{number}") for number in range(4)] == [6537, 6507, 6384, 3365]


def test_users_spread_evenly_over_buckets():
    counts = Counter(bucket_of("s", user) // 100 for user in USERS)
    expected = len(USERS) / 100
    chi_square = sum((counts[cell] - expected) ** 2 / expected for cell in range(100))
    # 99 degrees of freedom: below 148.2 with probability 0.999; the users are fixed, so this never flickers.
    assert chi_square < 148.2


def test_shares_of_users_are_the_weights():
    arms = allocate(BASE, [Share("b", NEW, 2500), Share("c", NEW, 1000)], {})
    counts = Counter(map(assign(document(arms)), USERS))
    assert [round(counts[index] / len(USERS), 2) for index in range(3)] == [0.65, 0.25, 0.1]


def test_another_salt_is_another_assignment():
    arms = allocate(BASE, [Share("b", NEW, 5000)], {})
    one, other = assign(document(arms, "one")), assign(document(arms, "other"))
    same = sum(one(user) == other(user) for user in USERS) / len(USERS)
    assert 0.48 < same < 0.52


def test_an_arm_without_users_is_never_assigned():
    arms = allocate(BASE, [Share("watch", NEW, 0, shadow=True), Share("held", NEW, 0)], {})
    assert set(map(assign(document(arms)), USERS)) == {0}


def test_a_released_document_assigns_nobody():
    with pytest.raises(InvalidSharesError):
        assign(document(()))


def test_a_user_is_new_once_until_a_reset():
    seen = DistinctUsers()
    assert [seen.is_new(user) for user in ("a", "b", "a", "b", "c")] == [True, True, False, False, True]
    seen.reset()
    assert seen.is_new("a")


def test_memory_is_bounded_and_nobody_is_new_beyond_it():
    seen = DistinctUsers(capacity=3)
    assert sum(seen.is_new(f"u-{number}") for number in range(10)) == 3
    assert not seen.is_new("u-0")
