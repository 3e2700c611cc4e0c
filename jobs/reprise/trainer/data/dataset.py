"""The rows that a model is made from, in memory: one float32 matrix and a few columns beside it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class TrainingTable:
    """Labelled rows in the order of time.

    Attributes:
        inputs: The model inputs (rows, inputs), float32, NaN where missing.
        labels: Whether the user bought the product within the horizon.
        timestamps_us: Microseconds since 1970-01-01 UTC, ascending.
        repeat_candidates: Whether the pair has an earlier purchase.
        recency_days: Days since the pair's last purchase; NaN where there is none.
        truth: The generator's own probability of the label, where it is known.
    """

    inputs: npt.NDArray[np.float32]
    labels: npt.NDArray[np.bool_]
    timestamps_us: npt.NDArray[np.int64]
    repeat_candidates: npt.NDArray[np.bool_]
    recency_days: npt.NDArray[np.float64]
    truth: npt.NDArray[np.float64] | None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def positives(self) -> int:
        """Number of rows whose label is true."""
        return int(np.count_nonzero(self.labels))

    def part(self, rows: slice | npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> "TrainingTable":
        """Return some of the rows; a slice copies nothing."""
        return TrainingTable(
            inputs=self.inputs[rows],
            labels=self.labels[rows],
            timestamps_us=self.timestamps_us[rows],
            repeat_candidates=self.repeat_candidates[rows],
            recency_days=self.recency_days[rows],
            truth=None if self.truth is None else self.truth[rows],
        )

    def sample(self, rows: int, seed: int) -> "TrainingTable":
        """Return at most that many rows, chosen evenly by the seed, still in the order of time."""
        if len(self) <= rows:
            return self
        return self.part(sampled_positions(len(self), rows, seed))


def sampled_positions(total: int, rows: int, seed: int) -> npt.NDArray[np.int64]:
    """Return ``rows`` ascending positions out of ``total``, without repetition, chosen by the seed."""
    return np.sort(np.random.default_rng(seed).choice(total, rows, replace=False))
