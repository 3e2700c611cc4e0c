"""Decodes many ``Value`` messages at once, as an array of doubles."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from reprise.store.feast.protobuf import DOUBLE_TAG, INT64_TAG
from reprise.store.transport.resp_rows import WINDOW, windows

_DOUBLE_BYTES: Final = 9  # tag and number
# By the number of a varint's groups: the bits of a window that belong to it, and its continuation bits.
_OWN: Final = np.array([(1 << 8 * groups) - 1 for groups in range(9)], np.uint64)
_CONTINUATION: Final = np.uint64(0x8080808080808080)
_MORE: Final = np.array([0] + [0x8080808080808080 & (1 << 8 * (n - 1)) - 1 for n in range(1, 9)], np.uint64)
# Each step joins neighbouring groups of bits: 7 to 14, to 28, to 56.
_JOINS: Final = tuple(
    (np.uint64(low), np.uint64(high), np.uint64(shift))
    for low, high, shift in (
        (0x007F007F007F007F, 0x7F007F007F007F00, 1),
        (0x00003FFF00003FFF, 0x3FFF00003FFF0000, 2),
        (0x000000000FFFFFFF, 0x0FFFFFFF00000000, 4),
    )
)


def decode_values(
    data: bytes | bytearray,
    starts: NDArray[np.intp],
    lengths: NDArray[np.intp],
    is_double: NDArray[np.bool_],
    is_integer: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the numbers in ``Value`` messages.

    Args:
        data: The messages, and at least ``WINDOW`` bytes after the last one.
        starts: Position of each message.
        lengths: Its number of bytes; a null has none, or fewer.
        is_double: Whether a double is expected.
        is_integer: Whether an integer is expected. A message of which neither is expected is skipped.

    Returns:
        The numbers, NaN for a null, and the positions of the messages that are left to the caller: those of another
        type, integers of more than 56 bits and negative ones. Their numbers are NaN.
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
