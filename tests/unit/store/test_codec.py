import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.store.exceptions import (
    CorruptRowError,
    LayoutError,
    UnencodableIdError,
    UnencodableStateError,
)
from reprise.store.feast import protobuf
from reprise.store.feast.codec import ViewCodec
from reprise.store.feast.view import StateField, StateView
from support.rows import EMPTY, FIELDS, PAIR_CODEC, PROJECT, STATE, USER, USER_CODEC, states


def stored(row: list[bytes], fields: list[bytes]) -> list[bytes | None]:
    """What ``HMGET`` of the fields answers after ``HSET`` of the row."""
    content = dict(zip(row[::2], row[1::2], strict=True))
    return [content.get(field) for field in fields]


@given(states(), st.none() | st.binary(), st.integers(-(10**15), 10**16))
def test_a_row_comes_back(
    state: list[float | int | None], watermarks: bytes | None, timestamp_us: int
) -> None:
    row = stored(USER_CODEC.encode(state, watermarks, timestamp_us), USER_CODEC.fold_fields)
    assert USER_CODEC.decode(row) == state
    assert USER_CODEC.decode_watermarks(row) == watermarks
    assert USER_CODEC.decode_timestamp(row) == timestamp_us


@given(st.lists(states(), max_size=6))
def test_many_rows_decode_as_one_by_one(rows: list[list[float | int | None]]) -> None:
    stored_rows = [stored(USER_CODEC.encode(state, None, 1), USER_CODEC.read_fields) for state in rows]
    block = USER_CODEC.decode_many(stored_rows)
    expected = np.array(
        [[math.nan if number is None else number for number in state] for state in rows], np.float64
    ).reshape(len(rows), len(FIELDS))
    np.testing.assert_array_equal(block, expected)


def test_integers_around_every_power_of_two_come_back_from_one_row_and_from_many() -> None:
    numbers = sorted({(1 << bits) + step for bits in range(63) for step in (-1, 0, 1)})
    rows = [stored(USER_CODEC.encode([n, 1.0, -n, None], None, 1), USER_CODEC.read_fields) for n in numbers]
    assert [USER_CODEC.decode(row)[:3] for row in rows] == [[n, 1.0, -n] for n in numbers]
    expected = np.array(numbers, np.float64)
    np.testing.assert_array_equal(
        USER_CODEC.decode_many(rows)[:, [0, 2]], np.column_stack([expected, -expected])
    )


def test_absent_fields_and_nulls_are_none_in_one_row_and_nan_in_many() -> None:
    absent: list[bytes | None] = [None] * 5
    explicit = b"\x98\x01\x00"
    nulls: list[bytes | None] = [b"", explicit, explicit, b"", b""]
    assert USER_CODEC.decode(absent) == EMPTY
    assert USER_CODEC.decode(nulls) == EMPTY
    assert np.isnan(USER_CODEC.decode_many([absent, nulls])).all()
    assert USER_CODEC.decode_watermarks([*nulls[:4], explicit, b""]) is None
    assert USER_CODEC.decode_timestamp(absent) is None
    assert USER_CODEC.decode_timestamp(nulls) == 0


def test_nanoseconds_of_a_foreign_instant_are_rounded_down() -> None:
    assert USER_CODEC.decode_timestamp([b"\x08\x01\x10\xcf\x0f"]) == 1_000_001  # 1 s and 1999 ns


def test_nan_is_stored_as_a_null() -> None:
    row = USER_CODEC.encode([None, math.nan, None, 1.0], None, 1)
    assert row[3] == protobuf.NULL


def test_the_ids_of_a_pair_are_taken_in_the_views_order_and_stored_in_alphabetical_order() -> None:
    key = PAIR_CODEC.key("u-1", "p-2")
    assert key.index(b"p-2") < key.index(b"u-1")
    assert PAIR_CODEC.key("p-2", "u-1") != key


@given(st.text(), st.text(), st.text(), st.text())
def test_different_pairs_have_different_keys(a: str, b: str, c: str, d: str) -> None:
    assert (PAIR_CODEC.key(a, b) == PAIR_CODEC.key(c, d)) == ((a, b) == (c, d))


@given(st.lists(st.tuples(st.text(), st.text()), max_size=8))
def test_keys_of_many_are_those_of_each(pairs: list[tuple[str, str]]) -> None:
    users, products = [user for user, _ in pairs], [product for _, product in pairs]
    assert PAIR_CODEC.keys(users, products) == [PAIR_CODEC.key(*pair) for pair in pairs]
    assert USER_CODEC.keys(users) == [USER_CODEC.key(user) for user in users]


def test_a_pair_needs_both_ids() -> None:
    with pytest.raises(TypeError, match=r"expected 2 ids \(user_id, product_id\), got 1"):
        PAIR_CODEC.key("u-1")


def test_an_id_without_utf8_is_refused_by_name() -> None:
    with pytest.raises(UnencodableIdError, match=r"user_state.*ud800"):
        USER_CODEC.key("\ud800")
    with pytest.raises(UnencodableIdError, match="ud800"):
        PAIR_CODEC.keys(["u-1", "u-2"], ["p-1", "\ud800"])


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ([1.5, 1.0, 1, 1.0], r"user_state\.purchases: expected an integer of 64 bits, got 1.5"),
        ([1 << 63, 1.0, 1, 1.0], r"user_state\.purchases: expected an integer of 64 bits"),
        ([1, 1.0, -(1 << 63) - 1, 1.0], r"user_state\.last_purchase: expected an integer of 64 bits"),
        ([1, "x", 1, 1.0], r"user_state\.spend: expected a finite number, got 'x'"),
        ([1, 10**400, 1, 1.0], r"user_state\.spend: expected a finite number"),
        ([1, 1.0, 1, math.inf], r"user_state\.decayed_views: expected a finite number, got inf"),
        ([1, -math.inf, 1, math.nan], r"user_state\.spend: expected a finite number, got -inf"),
        ([1, 1.0, 1], r"user_state\.\*: expected 4 numbers, got \[1, 1.0, 1\]"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_by_view_field_and_value(
    state: list[float | int | None], message: str
) -> None:
    with pytest.raises(UnencodableStateError, match=message):
        USER_CODEC.encode(state, None, 1)


@pytest.mark.parametrize(
    ("position", "value", "reason"),
    [
        (0, protobuf.encode_double(1.0), "expected int64_val, found double_val"),
        (0, b"\x18\x05", "expected int64_val, found int32_val"),
        (0, b"\xff", "expected int64_val, found tag 0xff"),
        (0, b"\x20", "a varint without an end"),
        (0, b"\x20" + b"\x80" * 8, "a varint without an end"),
        (0, b"\x20" + b"\xff" * 9 + b"\x7f", "a varint of more than 64 bits"),
        (0, b"\x20\x01\x00", "expected 2 bytes, got 3"),
        (0, b"\x29" + b"\x81" * 7 + b"\x01", "expected int64_val, found double_val"),
        (0, b"\x20" + b"\x81" * 3 + b"\x01" * 5, "expected 5 bytes, got 9"),
        (1, protobuf.encode_int64(1), "expected double_val, found int64_val"),
        (1, b"\x20" + b"\x81" * 7 + b"\x01", "expected double_val, found int64"),
        (1, b"\x29\x00", "double_val takes 9 bytes, got 2"),
        (1, protobuf.encode_bytes(b"x"), "expected double_val, found bytes_val"),
    ],
)
def test_a_corrupt_value_is_named_by_view_field_and_key(position: int, value: bytes, reason: str) -> None:
    message = rf"user_state\.{('purchases', 'spend')[position]} of key b'k': {reason}"
    good = stored(USER_CODEC.encode(STATE, None, 1), USER_CODEC.read_fields)
    row = [*good[:position], value, *good[position + 1 :]]
    with pytest.raises(CorruptRowError, match=message):
        USER_CODEC.decode(row, b"k")
    with pytest.raises(CorruptRowError, match=message):
        USER_CODEC.decode_many([good, row], [b"other", b"k"])


def test_a_short_answer_is_no_row() -> None:
    with pytest.raises(CorruptRowError, match="1 values instead of a row"):
        USER_CODEC.decode([b""])
    with pytest.raises(CorruptRowError, match="key b'k': 1 values instead of a row"):
        USER_CODEC.decode_many([[b""]], [b"k"])


def test_corrupt_watermarks_and_timestamps_are_named() -> None:
    with pytest.raises(CorruptRowError, match=r"user_state\.watermarks of key b'k'"):
        USER_CODEC.decode_watermarks([None] * 4 + [b"\x20\x01", None], b"k")
    with pytest.raises(CorruptRowError, match="expected 5 bytes, got 4"):
        USER_CODEC.decode_watermarks([None] * 4 + [b"\x0a\x03ab", None], b"k")
    with pytest.raises(CorruptRowError, match=r"user_state\._ts of key b'k'"):
        USER_CODEC.decode_timestamp([None] * 4 + [b"\xff"], b"k")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ((StateField("watermarks", "int64"),), "fields watermarks and watermarks share the hash field"),
        ((), "a view needs join keys and fields"),
    ],
)
def test_a_view_that_has_no_layout_is_refused(fields: tuple[StateField, ...], reason: str) -> None:
    with pytest.raises(LayoutError, match=f"user_state: {reason}"):
        ViewCodec(PROJECT, StateView("user_state", ("user_id",), fields))


def test_the_projects_of_one_store_do_not_share_rows() -> None:
    assert ViewCodec("other", USER).key("u") != USER_CODEC.key("u")


def test_bytes_come_back_beside_numbers_and_empty_ones_are_not_missing() -> None:
    view = StateView("lists", ("user_id",), (StateField("n", "int64"), StateField("packed", "bytes")))
    codec = ViewCodec(PROJECT, view)
    for state in ([3, b"\x00" * 300], [3, b""], [3, None]):
        assert codec.decode(stored(codec.encode(state, None, 1), codec.fold_fields)) == state
    assert codec.state_fields[1] not in codec.encode([4, b"same"], None, 1, previous=[3, b"same"])
    with pytest.raises(CorruptRowError, match="packed"):
        codec.decode([b"", protobuf.encode_int64(7), b""])
    with pytest.raises(UnencodableStateError, match="packed"):
        codec.encode([3, "text"], None, 1)
