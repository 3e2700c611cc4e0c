"""The answers to many ``HMGET`` of the same number of fields, taken apart at once and without an object for each value.

In RESP2 (Redis serialization protocol specification) such an answer is ``*W\\r\\n`` and W bulk strings, each
``$L\\r\\n``, its L bytes and ``\\r\\n``, or ``$-1\\r\\n`` for a field that is not there. A bulk string begins with a
``$`` after a line's end, but a value may hold those three bytes as well. So what looks like a beginning is believed
only if all fit together: the first is where it has to be, and each ends, by its own length, where the next begins.
Whatever does not fit, errors among it, is left to hiredis, which is always right.

When all has come cannot be told without a look at every byte of every piece; a ``PING`` after the commands tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from reprise.store.feast.value_decoder import WINDOW, windows

_CR, _LF, _DOLLAR = b"\r\n$"
PING: Final = b"*1\r\n$4\r\nPING\r\n"
"""What has to follow the commands whose answers a ``RespRowBuffer`` collects."""

_PONG: Final = b"\r\n+PONG\r\n"
_PONG_OR_ERROR: Final = b"+-"
_ABSENT: Final = -1
_LONGEST: Final = 99


def _tables() -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return, by the two bytes after a ``$``, the sizes of its header and of all, and the length; a 1 fits nothing."""
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
    """Rows as they were received.

    Attributes:
        data: The bytes, and at least ``WINDOW`` more.
        starts: Where each value begins, shape (rows, values).
        lengths: How many bytes it has, -1 where there is no such field, shape (rows, values).
    """

    data: bytearray
    starts: NDArray[np.intp]
    lengths: NDArray[np.intp]

    @classmethod
    def joined(cls, parts: Sequence[tuple[Sequence[int], RespRows]]) -> RespRows:
        """Return the rows of all parts, of which each comes with the positions of its rows in the whole."""
        shape = (sum(len(positions) for positions, _ in parts), parts[0][1].starts.shape[1])
        whole = cls(bytearray(), np.empty(shape, np.intp), np.empty(shape, np.intp))
        for positions, part in parts:
            at = np.array(positions, np.intp)
            whole.starts[at] = part.starts + len(whole.data)
            whole.lengths[at] = part.lengths
            whole.data.extend(part.data)
        return whole


class RespRowBuffer:
    """Collects the bytes of the answers to many commands and a ``PING``, by which it knows that all have come.

    Args:
        rows: How many answers there will be.
        width: How many values each has.
    """

    def __init__(self, rows: int, width: int) -> None:
        self._rows = rows
        self._width = width
        self._head = b"*%d\r\n" % width
        self._data = bytearray()
        self._searched = 0

    def feed(self, data: bytes, *, last: bool) -> bool:
        """Take bytes that came, and return whether ``parse`` is due: all have come, or an error among them.

        Args:
            data: The bytes.
            last: Whether nothing can have come after the answer to ``PING``.
        """
        self._data += data
        # An answer to PING is one line, if it is an error as well.
        if data.endswith(b"\n") and self._data[self._data.rfind(b"\n", 0, -1) + 1] in _PONG_OR_ERROR:
            return True
        if last:
            return False
        searched, self._searched = self._searched, max(0, len(self._data) - len(_PONG))
        return any(self._data.find(sign, searched) >= 0 for sign in (_PONG, b"\r\n-"))

    def parse(self) -> tuple[RespRows | None, bytes]:
        """Return the rows and what came after ``PONG``; ``None`` and all that came where it takes hiredis."""
        received = len(self._data)
        self._data += bytes(WINDOW)
        rows, end = self._take_apart()
        after = end + len(_PONG)
        if rows is None or self._data[end:after] != _PONG:
            return None, bytes(self._data[:received])
        return rows, bytes(self._data[after:received])

    def _take_apart(self) -> tuple[RespRows | None, int]:
        """Return the rows, and where the end of the last line of them begins."""
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
