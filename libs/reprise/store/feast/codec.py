"""Encodes and decodes the rows of one view: the numbers and lists of a state as the bytes of a Redis hash.

A missing number is Feast's null, an empty ``Value``; NaN is one too, as in Feast's own writes. ``_ts`` is the instant
from which the row holds: a microsecond after the newest event that was folded into it, in whatever order events came.
Feast's own rows of the same events have the same timestamp. Feast's ``materialize`` skips a row whose stored timestamp
is its own or newer, so it never takes a row back behind the stream. Where it writes, it does not compare watermarks;
that is why it writes them, too.
"""

import struct
from collections.abc import Callable, Sequence
from math import isfinite, isnan
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from reprise.store.exceptions import (
    CorruptRowError,
    LayoutError,
    ProtobufError,
    UnencodableIdError,
    UnencodableStateError,
)
from reprise.store.feast import layout, protobuf
from reprise.store.feast.value_decoder import decode_values
from reprise.store.feast.view import WATERMARKS, FieldKind, StateView
from reprise.store.transport.resp_rows import RespRows

State = Sequence[Any]
"""The numbers and bytes of one row in the order of its view's fields, ``None`` for a null."""

Row = Sequence[bytes | None]
"""The reply to ``HMGET``: a value for each field, ``None`` where the hash does not have it."""

_SMALL_INTS = {protobuf.encode_int64(number): number for number in range(1024)}
_SMALL_VALUES = {number: value for value, number in _SMALL_INTS.items()}
_UNKNOWN: Final[Any] = object()
_DECODERS: dict[FieldKind, Callable[[bytes], Any]] = {
    "int64": protobuf.decode_int64,
    "double": protobuf.decode_double,
    "bytes": protobuf.decode_bytes,
}
_EXPECTED: dict[FieldKind, str] = {
    "int64": "an integer of 64 bits",
    "double": "a finite number",
    "bytes": "bytes",
}
_unpack_double = struct.Struct("<Bd").unpack


class ViewCodec:
    """Encodes and decodes the rows of one view of one Feast project.

    ``read_fields`` are the hash fields of the state, in the order of the view, then that of the timestamp;
    ``fold_fields`` have that of the watermarks before the timestamp. ``read_command`` and ``fold_command`` return the
    command that reads these fields of a key. Decoding raises ``CorruptRowError``, with the key if it is given, where a
    value is not of its field's type, or is no ``Value``.

    Raises:
        LayoutError: Two fields of the view share a hash field, or the view has no fields or no join keys.
    """

    def __init__(self, project: str, view: StateView) -> None:
        if not view.fields or not view.join_keys:
            raise LayoutError(f"{view.name}: a view needs join keys and fields")
        self.project = project
        self.view = view
        self.state_fields = [layout.field_name(view.name, field.name) for field in view.fields]
        self.watermarks_field = layout.field_name(view.name, WATERMARKS)
        self.timestamp_field = layout.timestamp_field_name(view.name)
        self.read_fields = [*self.state_fields, self.timestamp_field]
        self.fold_fields = [*self.state_fields, self.watermarks_field, self.timestamp_field]
        self._check_collisions()
        # None for bytes.
        self._is_double = [None if each.kind == "bytes" else each.kind == "double" for each in view.fields]
        self._is_double_array = np.array(self._is_double, np.bool_)
        self._key = layout.key_function(project, view.join_keys)
        self.read_command = _row_command(self.read_fields)
        self.fold_command = _row_command(self.fold_fields)
        self._encoded_fields = list(zip(self.state_fields, self._is_double, strict=True))
        self._unknown = [_UNKNOWN] * len(self._is_double)

    def key(self, *ids: str) -> bytes:
        """Return the Redis key of an entity by its ids, in the order of the view's join keys.

        Raises:
            UnencodableIdError: An id has no UTF-8 form.
        """
        try:
            return self._key(*ids)
        except UnicodeEncodeError:
            message = f"{self.view.name}: an id with a lone surrogate has no UTF-8 form: {ids!r}"
            raise UnencodableIdError(message) from None

    def keys(self, *ids: Sequence[str]) -> list[bytes]:
        """Return the Redis keys of many entities; ``ids`` has a sequence of ids for each join key of the view."""
        return [self.key(*each) for each in zip(*ids, strict=True)]

    def encode(
        self, state: State, watermarks: bytes | None, event_timestamp_us: int, previous: State | None = None
    ) -> list[bytes]:
        """Return the arguments of ``HSET``: field, value, field, value and so on.

        The row holds from ``event_timestamp_us`` on, microseconds since 1970-01-01 UTC. Fields that the row is known to
        hold already, because ``previous`` has the same, are left out.

        Raises:
            UnencodableStateError: A number does not fit its field or is infinite, or present are too few or too many.
        """
        row: list[bytes] = []
        small = _SMALL_VALUES.get
        known = self._unknown if previous is None else previous
        name = b""
        try:
            for (name, is_double), number, before in zip(self._encoded_fields, state, known, strict=True):
                # 1 and 1.0 are equal, but their bytes differ.
                if number is before or (number == before and type(number) is type(before)):
                    continue
                if number is None:
                    value = protobuf.NULL
                elif is_double:
                    if isfinite(number):
                        value = protobuf.encode_double(number)
                    elif isnan(number):
                        value = protobuf.NULL
                    else:
                        raise self._encoding_error(state, name)
                elif is_double is None:
                    value = protobuf.encode_bytes(number)
                else:
                    value = (type(number) is int and small(number)) or protobuf.encode_int64(number)
                row += (name, value)
        except (TypeError, ValueError, OverflowError):
            raise self._encoding_error(state, name) from None
        row += (
            self.watermarks_field,
            protobuf.NULL if watermarks is None else protobuf.encode_bytes(watermarks),
            self.timestamp_field,
            protobuf.encode_timestamp(event_timestamp_us),
        )
        return row

    def decode(self, row: Row, key: bytes | None = None) -> list[Any]:
        """Return the state of a row of ``read_fields`` or ``fold_fields``; errors name the key."""
        if len(row) < len(self._is_double):
            raise CorruptRowError(self.view.name, "*", key, f"{len(row)} values instead of a row")
        state: list[float | int | bytes | None] = []
        append = state.append
        small = _SMALL_INTS.get
        try:
            for value, is_double in zip(row, self._is_double, strict=False):
                if not value:
                    append(None)
                elif is_double:
                    tag, number = _unpack_double(value)
                    if tag != protobuf.DOUBLE_TAG:
                        return self._decode_checked(row, key)
                    append(number)
                elif is_double is None:
                    append(protobuf.decode_bytes(value))
                else:
                    integer = small(value)
                    append(protobuf.decode_int64(value) if integer is None else integer)
        except (struct.error, ProtobufError):
            return self._decode_checked(row, key)
        return state

    def decode_many(self, rows: Sequence[Row], keys: Sequence[bytes] | None = None) -> NDArray[np.float64]:
        """Return the numbers of many rows of ``read_fields`` or ``fold_fields``; errors name the keys.

        Returns:
            An array of shape (rows, fields), NaN for a null. An integer beyond 2^53 is rounded to a double.
        """
        states = [self.decode(row, keys[position] if keys else None) for position, row in enumerate(rows)]
        return np.array(states, np.float64).reshape(-1, len(self._is_double))  # None becomes NaN

    def decode_resp_rows(self, rows: RespRows, keys: Sequence[bytes]) -> NDArray[np.float64]:
        """Return the same array as ``decode_many``, from rows as they were received."""
        width = len(self._is_double)
        starts, lengths = rows.starts[:, :width].ravel(), rows.lengths[:, :width].ravel()
        is_double = np.tile(self._is_double_array, len(rows.starts))
        numbers, left = decode_values(rows.data, starts, lengths, is_double, ~is_double)
        for at in left.tolist():
            row, field = divmod(at, width)
            value = bytes(rows.data[starts[at] : starts[at] + lengths[at]])
            number = self.decode_field(field, value, keys[row])
            numbers[at] = np.nan if number is None else number
        return numbers.reshape(-1, width)

    def decode_watermarks(self, row: Row, key: bytes | None = None) -> bytes | None:
        """Return the watermarks' bytes of a row of ``fold_fields``, ``None`` where it has none."""
        value = row[-2]
        try:
            return protobuf.decode_bytes(value) if value else None
        except ProtobufError as error:
            raise CorruptRowError(self.view.name, WATERMARKS, key, str(error)) from None

    def decode_timestamp(self, row: Row, key: bytes | None = None) -> int | None:
        """Return a row's event timestamp in microseconds since 1970-01-01 UTC, ``None`` if there is no row."""
        value = row[-1]
        try:
            return None if value is None else protobuf.decode_timestamp(value)
        except ProtobufError as error:
            raise CorruptRowError(self.view.name, "_ts", key, str(error)) from None

    def decode_field(self, position: int, value: bytes, key: bytes | None = None) -> Any:
        """Return one value of the state after checking all its bytes."""
        decode = _DECODERS[self.view.fields[position].kind]
        try:
            return decode(value)
        except ProtobufError as error:
            field = self.view.fields[position].name
            raise CorruptRowError(self.view.name, field, key, str(error)) from None

    def _decode_checked(self, row: Row, key: bytes | None) -> list[Any]:
        return [
            self.decode_field(position, value, key) if value else None
            for position, value in enumerate(row[: len(self._is_double)])
        ]

    def _encoding_error(self, state: State, name: bytes) -> UnencodableStateError:
        if len(state) != len(self._is_double):
            return UnencodableStateError(self.view.name, "*", list(state), f"{len(self._is_double)} numbers")
        position = self.state_fields.index(name)
        field = self.view.fields[position]
        return UnencodableStateError(self.view.name, field.name, state[position], _EXPECTED[field.kind])

    def _check_collisions(self) -> None:
        names = [*(field.name for field in self.view.fields), WATERMARKS]
        taken: dict[bytes, str] = {}
        for name, hashed in zip(names, [*self.state_fields, self.watermarks_field], strict=True):
            if hashed in taken:
                raise LayoutError(
                    f"{self.view.name}: fields {taken[hashed]} and {name} share the hash field "
                    f"{hashed.hex()}; rename one of them"
                )
            taken[hashed] = name


def _row_command(fields: Sequence[bytes]) -> Callable[[bytes], bytes]:
    """Return a function that makes the ``HMGET`` of these fields of a key."""
    head = b"*%d\r\n$5\r\nHMGET\r\n$" % (2 + len(fields))
    tail = b"".join(b"\r\n$%d\r\n%s" % (len(name), name) for name in fields) + b"\r\n"
    return lambda key: b"%s%d\r\n%s%s" % (head, len(key), key, tail)
