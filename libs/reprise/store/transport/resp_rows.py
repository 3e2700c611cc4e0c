"""The replies to many ``HMGET`` of the same number of fields, parsed as arrays instead of an object per value.

In RESP2 such a reply is ``*W\\r\\n`` and W bulk strings, each ``$L\\r\\n``, its L bytes and ``\\r\\n``, or
``$-1\\r\\n`` for an absent field. A bulk string begins with ``$`` after a line end, but a value may hold those
bytes as well. The candidates are accepted only if they are consistent: the first is where it has to be, and each ends,
by its own length, where the next begins. Anything else, errors included, is left to hiredis.

A ``PING`` after the commands marks the end of the replies without a search through every byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

WINDOW: Final = 8
"""Bytes that have to follow the last value."""

_CR, _LF, _DOLLAR = b"\r\n$"
_PONG: Final = b"\r\n+PONG\r\n"
_PONG_OR_ERROR: Final = b"+-"
_ABSENT: Final = -1
_LONGEST: Final = 99


def _tables() -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return header size, total size and length by the two bytes after a ``$``; 1 where they are no length."""
    header, whole, length = np.ones((3, 1 << 16), np.intp)
    for number in range(_ABSENT, _LONGEST + 1):
        text = b"%d\r" % number
        at = text[0] << 8 | text[1]
        length[at] = number
        header[at] = 4 if number in range(10) else 5
        whole[at] = header[at] + (0 if number == _ABSENT else number + 2)
    return header, whole, length


_HEADER, _WHOLE, _LENGTH = _tables()


@dataclass(frozen=True, slots=True)
class RespRows:
    """Rows as they were received."""

    data: bytearray  # The bytes, and at least ``WINDOW`` more
    starts: NDArray[np.intp]  # Position of each value, shape (rows, values)
    lengths: NDArray[np.intp]  # Its number of bytes, -1 where the field is absent, shape (rows, values)

    @classmethod
    def joined(cls, parts: Sequence[tuple[Sequence[int], RespRows]]) -> RespRows:
        """Return the rows of all parts; each part comes with the positions of its rows in the result."""
        shape = (sum(len(positions) for positions, _ in parts), parts[0][1].starts.shape[1])
        whole = cls(bytearray(), np.empty(shape, np.intp), np.empty(shape, np.intp))
        for positions, part in parts:
            at = np.array(positions, np.intp)
            whole.starts[at] = part.starts + len(whole.data)
            whole.lengths[at] = part.lengths
            whole.data.extend(part.data)
        return whole


class RespRowBuffer:
    """Collects the bytes of the replies to ``rows`` commands, of ``width`` values each, and a ``PING``."""

    def __init__(self, rows: int, width: int) -> None:
        self._rows = rows
        self._width = width
        self._head = b"*%d\r\n" % width
        self._data = bytearray()
        self._searched = 0

    def feed(self, data: bytes, *, last: bool) -> bool:
        """Add received bytes, and return whether to call ``parse``: all replies are there, or an error.

        Args:
            data: The bytes.
            last: Whether no other reply can follow the one to ``PING``.
        """
        self._data += data
        # The reply to PING is one line, an error too.
        if data.endswith(b"\n") and self._data[self._data.rfind(b"\n", 0, -1) + 1] in _PONG_OR_ERROR:
            return True
        if last:
            return False
        searched, self._searched = self._searched, max(0, len(self._data) - len(_PONG))
        return any(self._data.find(sign, searched) >= 0 for sign in (_PONG, b"\r\n-"))

    def parse(self) -> tuple[RespRows | None, bytes]:
        """Return the rows and the bytes after ``PONG``; ``None`` and all bytes where hiredis has to parse them."""
        received = len(self._data)
        self._data += bytes(WINDOW)
        rows, end = self._parse_rows()
        after = end + len(_PONG)
        if rows is None or self._data[end:after] != _PONG:
            return None, bytes(self._data[:received])
        return rows, bytes(self._data[after:received])

    def _parse_rows(self) -> tuple[RespRows | None, int]:
        """Return the rows, and the position of their last line end."""
        data = np.frombuffer(self._data, np.uint8)
        begins = np.flatnonzero(data == _DOLLAR)
        begins = begins[(data.take(begins - 1) == _LF) & (data.take(begins - 2) == _CR)]
        begins = begins[: self._rows * self._width]
        head = len(self._head)
        if len(begins) < self._rows * self._width or begins[0] != head:
            return None, 0
        sizes = data.take(begins + 1).astype(np.uint16) << 8 | data.take(begins + 2)
        starts = begins + _HEADER.take(sizes)
        ends = begins + _WHOLE.take(sizes)
        next_begins = begins[1:].copy()
        next_begins[self._width - 1 :: self._width] -= head
        heads = np.concatenate(([0], next_begins[self._width - 1 :: self._width]))
        if not (
            np.array_equal(ends[:-1], next_begins)
            and (data.take(starts - 1) == _LF).all()
            and (windows(self._data, f"S{head}")[heads] == self._head).all()
        ):
            return None, 0
        shape = (self._rows, self._width)
        rows = RespRows(self._data, starts.reshape(shape), _LENGTH.take(sizes).reshape(shape))
        return rows, int(ends[-1]) - len(b"\r\n")


def windows(data: bytes | bytearray, kind: str) -> NDArray[Any]:
    """Return a view with one item of a dtype of at most ``WINDOW`` bytes at every position of the data."""
    return np.ndarray((len(data) - WINDOW + 1,), kind, data, 0, (1,))
