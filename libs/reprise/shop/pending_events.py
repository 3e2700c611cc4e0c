"""What happened in a slice, before it is handed out as events."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Happenings:
    """Views and purchases in any order; arrays of equal length.

    Attributes:
        user: Index of the user.
        product: Index of the product.
        event_type: ``VIEW`` or ``PURCHASE``.
        reading: When the session began, on the user's clock.
        timestamp_us: When it happened.
        probability: The generator's probability, NaN until it is foreseen.
    """

    user: npt.NDArray[np.int64]
    product: npt.NDArray[np.int64]
    event_type: npt.NDArray[np.uint8]
    reading: npt.NDArray[np.float64]
    timestamp_us: npt.NDArray[np.int64]
    probability: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.user)

    @staticmethod
    def none() -> "Happenings":
        """Return no happenings."""
        whole = np.zeros(0, dtype=np.int64)
        return Happenings(whole, whole, np.zeros(0, dtype=np.uint8), np.zeros(0), whole, np.zeros(0))

    @staticmethod
    def concatenate(parts: "tuple[Happenings, ...]") -> "Happenings":
        """Return the happenings of all parts."""
        return Happenings(
            np.concatenate([part.user for part in parts]),
            np.concatenate([part.product for part in parts]),
            np.concatenate([part.event_type for part in parts]),
            np.concatenate([part.reading for part in parts]),
            np.concatenate([part.timestamp_us for part in parts]),
            np.concatenate([part.probability for part in parts]),
        )

    def in_time_order(self) -> "Happenings":
        """Return the same, ordered by time, purchases after views of the same instant."""
        order = np.argsort(self.timestamp_us * 2 + self.event_type, kind="stable")
        return Happenings(
            self.user[order],
            self.product[order],
            self.event_type[order],
            self.reading[order],
            self.timestamp_us[order],
            self.probability[order],
        )

    def slice(self, first: int, end: int) -> "Happenings":
        """Return the happenings from one position up to another."""
        return Happenings(
            self.user[first:end],
            self.product[first:end],
            self.event_type[first:end],
            self.reading[first:end],
            self.timestamp_us[first:end],
            self.probability[first:end],
        )
