"""Feast's protobuf messages in Redis, encoded and decoded without the protobuf library.

A value is a ``feast.types.Value``, whose ``oneof`` always serializes the member that is set, zero included; a null has
no member set and zero bytes. An instant is a ``google.protobuf.Timestamp``. A ``ProtobufError`` means that bytes are
another message or another type than the function decodes. Format: https://protobuf.dev/programming-guides/encoding/
"""

import struct
from typing import Final

from reprise.store.exceptions import ProtobufError

INT64_TAG: Final = 4 << 3
DOUBLE_TAG: Final = 5 << 3 | 1
BYTES_TAG: Final = 1 << 3 | 2

NULL: Final = b""
# Feast reads an explicit ``null_val`` as a null, too, though it never writes one for a missing number.
_EXPLICIT_NULL: Final = b"\x98\x01\x00"

_TYPE_NAMES: Final = {
    BYTES_TAG: "bytes_val",
    2 << 3 | 2: "string_val",
    3 << 3: "int32_val",
    INT64_TAG: "int64_val",
    DOUBLE_TAG: "double_val",
    6 << 3 | 5: "float_val",
    7 << 3: "bool_val",
    8 << 3: "unix_timestamp_val",
}

_INSTANTS: Final = (1 << 49, 1 << 56)  # in microseconds, from 1987 to 4253; a varint of eight groups
_INSTANT_BYTES: Final = 9
_CONTINUED: Final = sum(0x80 << 7 * group for group in range(7))
_MASK64: Final = (1 << 64) - 1
_MAX_VARINT: Final = 10
_DOUBLE: Final = struct.Struct("<Bd")
_MICROSECOND_NANOS: Final = 1000
_SECOND_US: Final = 1_000_000


def encode_varint(number: int) -> bytes:
    """Return the varint of an unsigned 64-bit integer."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def decode_varint(data: bytes, start: int) -> tuple[int, int]:
    """Return the unsigned 64-bit integer at ``start``, and the position after it."""
    number = shift = 0
    for position in range(start, min(len(data), start + _MAX_VARINT)):
        byte = data[position]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if number > _MASK64:
                raise ProtobufError("a varint of more than 64 bits")
            return number, position + 1
        shift += 7
    raise ProtobufError("a varint without an end")


def signed(number: int) -> int:
    """Return the two's complement reading of an unsigned 64-bit integer."""
    return number - (1 << 64) if number >> 63 else number


def encode_int64(number: float) -> bytes:
    """Return the ``Value`` of a signed 64-bit integer.

    Raises:
        OverflowError: The integer has more bits.
        TypeError: It is no integer.
    """
    if not isinstance(number, int):
        raise TypeError(f"expected an integer, got {number!r}")
    if _INSTANTS[0] <= number < _INSTANTS[1]:
        # ``encode_varint`` takes twice as long.
        return bytes(
            (
                INT64_TAG,
                number & 0x7F | 0x80,
                number >> 7 & 0x7F | 0x80,
                number >> 14 & 0x7F | 0x80,
                number >> 21 & 0x7F | 0x80,
                number >> 28 & 0x7F | 0x80,
                number >> 35 & 0x7F | 0x80,
                number >> 42 & 0x7F | 0x80,
                number >> 49,
            )
        )
    if not -(1 << 63) <= number < 1 << 63:
        raise OverflowError(f"{number} has more than 64 bits")
    return b"\x20" + encode_varint(number & _MASK64)


def encode_double(number: float) -> bytes:
    """Return the ``Value`` of a double."""
    return _DOUBLE.pack(DOUBLE_TAG, number)


def encode_bytes(content: bytes) -> bytes:
    """Return the ``Value`` of bytes."""
    return b"\x0a" + encode_varint(len(content)) + content


def decode_int64(value: bytes) -> int | None:
    """Return the integer in a ``Value``, ``None`` for a null."""
    if len(value) == _INSTANT_BYTES:
        # ``decode_varint`` takes as long as all other fields of a row.
        tag, a, b, c, d, e, f, g, h = value
        if tag == INT64_TAG and h < 0x80 <= a & b & c & d & e & f & g:
            return (
                a + (b << 7) + (c << 14) + (d << 21) + (e << 28) + (f << 35) + (g << 42) + (h << 49)
            ) - _CONTINUED
    if value in (NULL, _EXPLICIT_NULL):
        return None
    _expect(value, INT64_TAG)
    number, end = decode_varint(value, 1)
    _expect_end(value, end)
    return signed(number)


def decode_double(value: bytes) -> float | None:
    """Return the double in a ``Value``, ``None`` for a null."""
    if value in (NULL, _EXPLICIT_NULL):
        return None
    _expect(value, DOUBLE_TAG)
    if len(value) != _DOUBLE.size:
        raise ProtobufError(f"double_val takes {_DOUBLE.size} bytes, got {len(value)}")
    number: float = _DOUBLE.unpack(value)[1]
    return number


def decode_bytes(value: bytes) -> bytes | None:
    """Return the bytes in a ``Value``, ``None`` for a null."""
    if value in (NULL, _EXPLICIT_NULL):
        return None
    _expect(value, BYTES_TAG)
    length, start = decode_varint(value, 1)
    _expect_end(value, start + length)
    return value[start:]


def encode_timestamp(timestamp_us: int) -> bytes:
    """Return the ``Timestamp`` of an instant in microseconds since 1970-01-01 UTC.

    As in proto3, zero parts are omitted; before 1970 the seconds round down and the nanoseconds stay positive.
    """
    seconds, rest = divmod(timestamp_us, _SECOND_US)
    out = b"\x08" + encode_varint(seconds & _MASK64) if seconds else b""
    return out + b"\x10" + encode_varint(rest * _MICROSECOND_NANOS) if rest else out


def decode_timestamp(message: bytes) -> int:
    """Return the instant of a ``Timestamp``, in microseconds since 1970-01-01 UTC, rounded down."""
    parts = {0x08: 0, 0x10: 0}
    position = 0
    while position < len(message):
        tag = message[position]
        if tag not in parts:
            raise ProtobufError(f"a Timestamp has no field with tag {tag:#04x}")
        number, position = decode_varint(message, position + 1)
        parts[tag] = signed(number)
    return parts[0x08] * _SECOND_US + parts[0x10] // _MICROSECOND_NANOS


def _expect(value: bytes, tag: int) -> None:
    if value[0] != tag:
        found = _TYPE_NAMES.get(value[0], f"tag {value[0]:#04x}")
        raise ProtobufError(f"expected {_TYPE_NAMES[tag]}, found {found}")


def _expect_end(value: bytes, end: int) -> None:
    if len(value) != end:
        raise ProtobufError(f"expected {end} bytes, got {len(value)}")
