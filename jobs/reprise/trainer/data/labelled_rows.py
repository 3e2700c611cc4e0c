"""What the labelled rows of pairs and those of users have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from typing import Self

import numpy as np
import numpy.typing as npt

from reprise.bundle import Window
from reprise.evaluation.time_split import Span
from reprise.events import format_timestamp
from reprise.runtime.durations import format_duration

MIN_TRAIN_LABELS = 30
MIN_HELD_OUT_LABELS = 10


class LabelledRows(ABC):
    """Labelled rows of users in time order."""

    __slots__ = ()

    inputs: npt.NDArray[np.float32]
    labels: npt.NDArray[np.bool_]
    timestamps_us: npt.NDArray[np.int64]
    users: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def positives(self) -> int:
        """Number of rows whose label is true."""
        return int(np.count_nonzero(self.labels))

    @abstractmethod
    def subset(self, rows: slice | npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Self:
        """Return some of the rows; a slice copies nothing."""

    def within(self, span: Span) -> Self:
        """Return the rows of a span of time."""
        return self.subset(span.rows(self.timestamps_us))

    def window(self, span: Span) -> Window:
        """Return the description of a span for the manifest."""
        rows = self.within(span)
        return Window(
            start=format_timestamp(span.start_us),
            end=format_timestamp(span.end_us),
            rows=len(rows),
            positives=rows.positives,
        )


def too_few_labels(spans: Mapping[str, LabelledRows], horizon: timedelta, rows: str = "rows") -> str | None:
    """Return which of the spans, by name, has too few rows of one label; ``rows`` is what the rows are called."""
    for name, part in spans.items():
        least = MIN_TRAIN_LABELS if name == "training" else MIN_HELD_OUT_LABELS
        if min(part.positives, len(part) - part.positives) < least:
            return (
                f"the {name} span has {len(part):,} {rows}, of which {part.positives:,} were followed by a purchase"
                f" within {format_duration(horizon)}; at least {least} with and {least} without are needed"
            )
    return None
