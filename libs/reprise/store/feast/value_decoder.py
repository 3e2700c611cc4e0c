"""Many ``Value`` messages at once, as an array of doubles."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from reprise.store.feast.protobuf import DOUBLE_TAG, INT64_TAG

_DOUBLE_BYTES: Final = 9  # tag and number
WINDOW: Final = 8
"""How many bytes have to follow the last cell."""

# By the number of a varint's groups: which bits of a window are its own, and which say that more follows.
_OWN: Final = np.array([(1 << 8 * groups) - 1 for groups in range(9)], np.uint64)
_CONTINUATION: Final = np.uint64(0x8080808080808080)
_MORE: Final = np.array([0] + [0x8080808080808080 & (1 << 8 * (n - 1)) - 1 for n in range(1, 9)], np.uint64)
# Each step joins neighbouring groups of bits to groups of twice the size: 7 to 14, to 28, to 56.
_JOINS: Final = tuple(
    (np.uint64(low), np.uint64(high), np.uint64(shift))
    for low, high, shift in (
        (0x007F007F007F007F, 0x7F007F007F007F00, 1),
        (0x00003FFF00003FFF, 0x3FFF00003FFF0000, 2),
        (0x000000000FFFFFFF, 0x0FFFFFFF00000000, 4),
    )
)


def join_cells(cells: Sequence[bytes]) -> tuple[bytes, NDArray[np.intp], NDArray[np.intp]]:
    """Return the bytes of all cells and what ``decode_cells`` takes besides, the starts and the lengths."""
    lengths = np.fromiter(map(len, cells), np.intp, len(cells))
    return b"".join(cells) + bytes(WINDOW), np.cumsum(lengths) - lengths, lengths


def decode_cells(
    data: bytes | bytearray,
    starts: NDArray[np.intp],
    lengths: NDArray[np.intp],
    is_double: NDArray[np.bool_],
    is_integer: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the numbers of the cells, and the positions of those that were left out.

    Args:
        data: ``Value`` messages, and at least ``WINDOW`` bytes after the last one.
        starts: Where each cell's message begins.
        lengths: How many bytes it has; those with none, or fewer, are nulls.
        is_double: For each cell whether it should hold a double.
        is_integer: For each cell whether it should hold an integer; what should hold neither is passed over.

    Returns:
        The numbers, NaN for a null, and the positions of the cells that are neither of the expected type nor
        of a common size (integers of more than 56 bits and negative ones); their numbers are NaN.
    """
    tags = np.frombuffer(data, np.uint8).take(starts)
    numbers = np.full(len(starts), np.nan)

    doubles = np.flatnonzero(is_double & (lengths == _DOUBLE_BYTES) & (tags == DOUBLE_TAG))
    numbers[doubles] = windows(data, "<f8")[starts[doubles] + 1]

    groups = lengths - 1
    integers = np.flatnonzero(is_integer & (groups >= 1) & (groups <= WINDOW) & (tags == INT64_TAG))
    words = windows(data, "<u8")[starts[integers] + 1] & _OWN[groups[integers]]
    whole = (words & _CONTINUATION) == _MORE[groups[integers]]
    integers, words = integers[whole], words[whole]
    for low, high, shift in _JOINS:
        words = (words & low) | ((words & high) >> shift)
    numbers[integers] = words

    left = (is_double | is_integer) & (lengths > 0)
    left[doubles] = False
    left[integers] = False
    return numbers, np.flatnonzero(left)


def windows(data: bytes | bytearray, kind: str) -> NDArray[Any]:
    """Return what is at every position of the data, of a kind of at most ``WINDOW`` bytes."""
    return np.ndarray((len(data) - WINDOW + 1,), kind, data, 0, (1,))
