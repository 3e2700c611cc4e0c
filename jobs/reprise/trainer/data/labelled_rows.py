"""What the labelled rows of pairs and those of users have in common."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from reprise.bundle import Window
from reprise.evaluation.poisson_gamma import PastPurchases
from reprise.evaluation.time_split import Span
from reprise.events import format_timestamp
from reprise.runtime.durations import format_duration

MIN_TRAIN_LABELS = 30
MIN_HELD_OUT_LABELS = 10

Rows = slice | npt.NDArray[np.bool_] | npt.NDArray[np.int64]
"""Some of the rows."""


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Labelled rows of users in time order."""

    inputs: npt.NDArray[np.float32]  # The model inputs (rows, inputs), NaN where missing
    labels: npt.NDArray[np.bool_]  # Whether the user bought within the horizon
    timestamps_us: npt.NDArray[np.int64]  # Microseconds since 1970-01-01 UTC, ascending
    users: npt.NDArray[np.int64]  # The number of the row's user, from 0

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def positives(self) -> int:
        """Number of rows whose label is true."""
        return int(np.count_nonzero(self.labels))

    def subset(self, rows: Rows) -> Self:
        """Return some of the rows; a slice copies nothing."""
        return replace(self, **{each.name: _part(getattr(self, each.name), rows) for each in fields(self)})

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


def _part(column: Any, rows: Rows) -> Any:
    if isinstance(column, Mapping):
        return {name: each[rows] for name, each in column.items()}
    if isinstance(column, PastPurchases):
        return column.subset(rows)
    return None if column is None else column[rows]


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
