"""A run of events as arrays, and how the shop's numbers become ids."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reprise.shop.hashing import hashed_words

VIEW = 0
"""``EventChunk.event_type`` of a view."""
PURCHASE = 1
"""``EventChunk.event_type`` of a purchase."""
EVENT_TYPES = ("view", "purchase")
"""The names of the event types, by their number."""
EVENT_ID_LENGTH = 24
"""Characters of an event id."""

_HEX = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), dtype=np.uint16)


@dataclass(frozen=True, slots=True)
class EventChunk:
    """Consecutive events of a stream; arrays of equal length, ordered by time, no two events at one instant.

    Attributes:
        user: Index of the user, int64.
        product: Index of the product, int64.
        event_type: ``VIEW`` or ``PURCHASE``, uint8.
        timestamp_us: Microseconds since 1970-01-01 UTC, int64, strictly increasing.
        amount: What was paid, in whole cents, as float64; NaN for a view.
        discount: Discount in percent that the purchase had, uint8; 0 for a view.
        sequence: Number of the event in its stream, int64, from 0.
        probability: The generator's probability that the same user buys the same product within the stream's
            horizon after the event, float64; ``None`` where the stream has no horizon.
        stream_key: What tells this stream's event ids from another's.
    """

    user: npt.NDArray[np.int64]
    product: npt.NDArray[np.int64]
    event_type: npt.NDArray[np.uint8]
    timestamp_us: npt.NDArray[np.int64]
    amount: npt.NDArray[np.float64]
    discount: npt.NDArray[np.uint8]
    sequence: npt.NDArray[np.int64]
    probability: npt.NDArray[np.float64] | None
    stream_key: int

    def __len__(self) -> int:
        return len(self.user)

    def slice(self, first: int, end: int) -> "EventChunk":
        """Return the events from one position up to another, as views of the same arrays."""
        return EventChunk(
            self.user[first:end],
            self.product[first:end],
            self.event_type[first:end],
            self.timestamp_us[first:end],
            self.amount[first:end],
            self.discount[first:end],
            self.sequence[first:end],
            None if self.probability is None else self.probability[first:end],
            self.stream_key,
        )

    def head(self, count: int) -> "EventChunk":
        """Return the first ``count`` events."""
        return self.slice(0, count)

    def before(self, instant_us: int) -> "EventChunk":
        """Return the events strictly before an instant."""
        return self.head(int(np.searchsorted(self.timestamp_us, instant_us)))

    def event_id_bytes(self) -> npt.NDArray[np.uint8]:
        """Return the event ids as one run of ASCII bytes, ``EVENT_ID_LENGTH`` per event.

        An id is 8 hexadecimal digits that tell the stream and 16 that tell the event, distinct within it.
        """
        words = np.empty((len(self), 3), dtype=">u4")
        words[:, 0] = self.stream_key >> 32
        mixed = hashed_words(self.stream_key, self.sequence)
        words[:, 1] = mixed >> np.uint64(32)
        words[:, 2] = mixed & np.uint64(0xFFFFFFFF)
        return _HEX[words.view(np.uint8).ravel()].view(np.uint8)

    def event_ids(self) -> list[str]:
        """Return the event ids as text."""
        text = self.event_id_bytes().tobytes().decode("ascii")
        return [text[at : at + EVENT_ID_LENGTH] for at in range(0, len(text), EVENT_ID_LENGTH)]


def numbered_id(prefix: str, number: int, count: int, digits: int) -> str:
    """Return the id of one of ``count`` numbered things, such as ``u000123``, all of equal length."""
    return f"{prefix}{number:0{max(digits, len(str(count - 1)))}d}"
