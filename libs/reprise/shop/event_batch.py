"""Events as arrays: those handed out, and those of a slice of time before they are ordered."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reprise.shop.columns import Columns, Floats, Indices
from reprise.shop.hashing import hashed_words

VIEW = 0
"""``EventBatch.event_type`` of a view."""
PURCHASE = 1
"""``EventBatch.event_type`` of a purchase."""
EVENT_TYPES = ("view", "purchase")
"""Names of the event types, by their number."""

_HEX = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), dtype=np.uint16)


@dataclass(frozen=True, slots=True)
class EventBatch(Columns):
    """Consecutive events of a stream, ordered by time, no two events at one instant."""

    user: Indices  # index of the user
    product: Indices  # index of the product
    event_type: npt.NDArray[np.uint8]  # ``VIEW`` or ``PURCHASE``
    timestamp_us: Indices  # microseconds since 1970-01-01 UTC, strictly increasing
    amount: Floats  # amount paid, in whole cents; NaN for a view
    discount: npt.NDArray[np.uint8]  # discount of the purchase, percent; 0 for a view
    sequence: Indices  # number of the event in its stream, from 0
    # The generator's probability that the same user buys the same product within the stream's horizon after the event.
    probability: Floats | None  # None if the stream has no horizon
    stream_key: int  # distinguishes this stream's event ids from another's

    def before(self, instant_us: int) -> "EventBatch":
        """Return the events strictly before an instant."""
        return self.take(slice(int(np.searchsorted(self.timestamp_us, instant_us))))

    def ascii_event_ids(self) -> npt.NDArray[np.bytes_]:
        """Return the event ids: 8 hexadecimal digits for the stream, and 16 for the event, distinct within it."""
        words = np.empty((len(self), 3), dtype=">u4")
        words[:, 0] = self.stream_key >> 32
        hashed = hashed_words(self.stream_key, self.sequence)
        words[:, 1] = hashed >> np.uint64(32)
        words[:, 2] = hashed & np.uint64(0xFFFFFFFF)
        return _HEX[words.view(np.uint8).ravel()].view("S24")

    def event_ids(self) -> list[str]:
        """Return the event ids as text."""
        ids: list[str] = self.ascii_event_ids().astype(str).tolist()
        return ids


@dataclass(frozen=True, slots=True)
class PendingEvents(Columns):
    """Views and purchases of a slice of time, in any order, before prices and event ids."""

    user: Indices  # index of the user
    product: Indices  # index of the product
    event_type: npt.NDArray[np.uint8]  # ``VIEW`` or ``PURCHASE``
    activity_time: Floats  # when the session began, on the user's activity clock
    timestamp_us: Indices  # microseconds since 1970-01-01 UTC
    probability: Floats  # the generator's probability of another purchase; NaN until the oracle sets it

    @classmethod
    def none(cls) -> "PendingEvents":
        """Return no events."""
        none = np.zeros(0, dtype=np.int64)
        return cls(none, none, np.zeros(0, dtype=np.uint8), np.zeros(0), none, np.zeros(0))

    def in_time_order(self) -> "PendingEvents":
        """Return the events ordered by time, purchases after views of the same instant."""
        return self.take(np.argsort(self.timestamp_us * 2 + self.event_type, kind="stable"))
