from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.cluster import key_slot as redis_py_key_slot

from reprise.store.exceptions import StoreRefusedError
from reprise.store.settings import Address
from reprise.store.transport.slots import SLOTS, Redirect, SlotMap, key_in_slot, key_slot, parse_redirect

ASKED = Address("10.0.0.1", 6379)


def test_the_slot_of_the_specifications_example() -> None:
    assert key_slot(b"123456789") == 0x31C3


@pytest.mark.parametrize(
    "key", [b"{user1000}.following", b"foo{}{bar}", b"foo{{bar}}zap", b"foo{bar}{zap}", b"{", b""]
)
def test_braces_count_as_the_specification_says(key: bytes) -> None:
    assert key_slot(key) == redis_py_key_slot(key)


@given(st.binary(max_size=40) | st.binary(max_size=10).map(lambda tag: b"a{" + tag + b"}b{c}"))
def test_slots_are_those_of_another_client(key: bytes) -> None:
    assert key_slot(key) == redis_py_key_slot(key)


@given(st.integers(0, SLOTS - 1))
def test_a_key_for_a_slot_is_in_it(slot: int) -> None:
    assert key_slot(key_in_slot(b"settled:project:", slot)) == slot


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MOVED 3999 10.0.0.7:6381", Redirect(3999, Address("10.0.0.7", 6381), permanent=True)),
        ("ASK 1 redis-2.internal:7000", Redirect(1, Address("redis-2.internal", 7000), permanent=False)),
        ("MOVED 5 :6380", Redirect(5, Address("10.0.0.1", 6380), permanent=True)),
        ("MOVED 5 fd00::7:6380", Redirect(5, Address("fd00::7", 6380), permanent=True)),
        ("CLUSTERDOWN The cluster is down", None),
        ("ERR MOVED by a script", None),
    ],
)
def test_redirects_are_read(text: str, expected: Redirect | None) -> None:
    assert parse_redirect(text, ASKED) == expected


def test_a_layout_names_the_primary_of_each_slot() -> None:
    reply = [
        [0, 99, [b"10.0.0.7", 6379, b"id", []], [b"10.0.0.8", 6379, b"replica", []]],
        [100, SLOTS - 2, [b"", 6380, b"id"]],
    ]
    slots = SlotMap.from_reply(reply, ASKED)
    assert slots.owner(99) == Address("10.0.0.7", 6379)
    assert slots.owner(100) == Address("10.0.0.1", 6380)
    assert slots.owner(SLOTS - 1) is None
    assert not slots.is_complete
    slots.move(SLOTS - 1, ASKED)
    assert slots.is_complete
    assert slots.primaries() == {
        Address("10.0.0.7", 6379): 0,
        Address("10.0.0.1", 6380): 100,
        ASKED: SLOTS - 1,
    }


def test_a_node_that_is_nowhere_yet_has_no_slots() -> None:
    assert SlotMap.from_reply([[0, 9, [b"?", 0, b"id"]]], ASKED).owner(5) is None
    assert SlotMap.from_reply([[0, 9, [None, 7000, b"id"]]], ASKED).owner(5) == Address("10.0.0.1", 7000)


@pytest.mark.parametrize("reply", [b"OK", [1, 2], [[0, 1]], [[0, SLOTS + 5, [b"h", 1]]]])
def test_what_is_no_layout_is_refused(reply: object) -> None:
    with pytest.raises(StoreRefusedError, match=r"10\.0\.0\.1:6379"):
        SlotMap.from_reply(reply, ASKED)
