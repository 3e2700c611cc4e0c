"""The labelled rows of users, in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from reprise.evaluation.classification_metrics import Floats
from reprise.features.accumulators import MICROSECONDS_PER_DAY
from reprise.features.user_rows import UserRows
from reprise.runtime.durations import microseconds
from reprise.trainer.data.labelled_rows import LabelledRows

MAX_ROWS = 100_000
MAX_USERS = 50_000


@dataclass(frozen=True, slots=True)
class UserDataset(LabelledRows):
    """Rows of users at random instants, labelled by whether the user bought anything, in time order."""

    recency_days: Floats  # Days since the last purchase
    purchases: Floats  # Number of purchases


def load_user_dataset(
    rows: UserRows, names: Sequence[str], start_us: int, end_us: int, horizon: timedelta
) -> UserDataset:
    """Return labelled rows of random instants of a span whose labels are known."""
    horizon_us = microseconds(horizon)
    sampled = rows.sampled(start_us, end_us, horizon_us, MAX_ROWS)
    past, inputs = rows.past(sampled), np.empty((len(sampled), len(names)), np.float32)
    filled = 0
    for batch in rows.inputs(sampled):
        inputs[filled : filled + len(batch)] = batch
        filled += len(batch)
    timestamps = past["ts"].to_numpy()
    wait = past["next_us"].cast("float64").to_numpy() - timestamps
    return UserDataset(
        inputs=inputs,
        labels=wait <= horizon_us,  # False for NaN: no purchase followed
        timestamps_us=timestamps,
        users=past["user_id"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64),
        recency_days=(timestamps - past["last_us"].to_numpy()) / MICROSECONDS_PER_DAY,
        purchases=past["purchases"].to_numpy().astype(np.float64),
    )
