import math
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.store.exceptions import ProtobufError
from reprise.store.feast import protobuf

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
EDGES = sorted({sign * ((1 << bits) + step) for bits in range(63) for step in (-1, 0, 1) for sign in (-1, 1)})


@given(INT64)
def test_integers_come_back(number: int) -> None:
    assert protobuf.decode_int64(protobuf.encode_int64(number)) == number


def test_integers_around_every_power_of_two_come_back() -> None:
    assert [protobuf.decode_int64(protobuf.encode_int64(number)) for number in EDGES] == EDGES


@given(st.floats())
def test_doubles_come_back_bit_by_bit(number: float) -> None:
    decoded = protobuf.decode_double(protobuf.encode_double(number))
    assert decoded is not None
    assert struct.pack("<d", decoded) == struct.pack("<d", number)


@given(st.binary(max_size=300))
def test_bytes_come_back(content: bytes) -> None:
    assert protobuf.decode_bytes(protobuf.encode_bytes(content)) == content


@given(st.integers(-(10**16), 10**16))
def test_instants_come_back(timestamp_us: int) -> None:
    assert protobuf.decode_timestamp(protobuf.encode_timestamp(timestamp_us)) == timestamp_us


def test_nanoseconds_of_a_foreign_instant_are_rounded_down() -> None:
    assert protobuf.decode_timestamp(b"\x08\x01\x10\xcf\x0f") == 1_000_001  # 1 s and 1999 ns


@pytest.mark.parametrize("null", [b"", b"\x98\x01\x00"])
def test_both_of_feasts_nulls_are_nulls(null: bytes) -> None:
    assert protobuf.decode_int64(null) is None
    assert protobuf.decode_double(null) is None
    assert protobuf.decode_bytes(null) is None


@pytest.mark.parametrize("number", [1 << 63, -(1 << 63) - 1])
def test_an_integer_of_more_than_64_bits_is_refused(number: int) -> None:
    with pytest.raises(OverflowError, match="64 bits"):
        protobuf.encode_int64(number)


@pytest.mark.parametrize(
    ("decode", "value", "reason"),
    [
        (protobuf.decode_int64, b"\x29" + bytes(8), "expected int64_val, found double_val"),
        (protobuf.decode_int64, b"\x18\x05", "expected int64_val, found int32_val"),
        (protobuf.decode_int64, b"\xff", "expected int64_val, found tag 0xff"),
        (protobuf.decode_int64, b"\x20", "a varint without an end"),
        (protobuf.decode_int64, b"\x20\x80", "a varint without an end"),
        (protobuf.decode_int64, b"\x20" + b"\xff" * 9 + b"\x7f", "a varint of more than 64 bits"),
        (protobuf.decode_int64, b"\x20\x01\x00", "expected 2 bytes, got 3"),
        (protobuf.decode_double, b"\x29" + bytes(7), "takes 9 bytes, got 8"),
        (protobuf.decode_bytes, b"\x0a\x03ab", "expected 5 bytes, got 4"),
        (protobuf.decode_timestamp, protobuf.encode_double(math.pi), "no field with tag 0x29"),
    ],
)
def test_another_message_is_refused_with_the_reason(
    decode: Callable[[bytes], object], value: bytes, reason: str
) -> None:
    with pytest.raises(ProtobufError, match=reason):
        decode(value)
