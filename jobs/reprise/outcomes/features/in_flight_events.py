"""What the online store may have held when it was read: the events that had arrived, and some of those on their way.

An event is in the state from some moment after it was appended to the log until ever. So at the time of an answer,
what was appended well before it was in, what was appended well after it was not, and of what was appended around then
any part may have been: the clocks of the log and of the predictor differ a little, and the partitions of the log are
folded independently of one another.
"""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import combinations, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from reprise.events import Event
from reprise.features.executors.fold import Fold, InMemoryStates
from reprise.features.feature_functions import FloatArray
from reprise.features.feature_vector.vectorizer import FeatureVectorizer
from reprise.features.plan import Plan
from reprise.sql import literal

_ALL_SETS = 6
"""With so many events in doubt, every set of them is tried; with more, those that arrived one after the other."""

_OVERTAKING = 4
"""Among so many events that arrived one after the other, any may have been folded before the others."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A prediction that does not agree with the offline store; instants in microseconds since 1970-01-01 UTC.

    Attributes:
        user_id: The user.
        product_id: The product.
        timestamp_us: The instant that was predicted for.
        answered_us: When it was answered.
        in_flight_us: How much sooner or later an event may have arrived and be in doubt.
    """

    user_id: str
    product_id: str
    timestamp_us: int
    answered_us: int
    in_flight_us: int


def explanations(
    connection: Any, events: Path, plan: Plan, doubts: Sequence[Doubt]
) -> Iterator[Iterator[FloatArray]]:
    """Yield, for each doubt, what the model could have seen: a row of inputs for each set of events, made as asked for.

    Args:
        connection: DuckDB.
        events: Parquet of the events in the order of arrival, with ``arrival``.
        plan: Which features.
        doubts: The predictions.
    """
    fold, vectorizer = Fold(plan), FeatureVectorizer(plan)
    arrived = _arrived(connection, events, doubts)
    following = next(arrived, None)
    for at, doubt in enumerate(doubts):
        certain: list[Event] = []
        doubtful: list[Event] = []
        if following is not None and following[0] == at:
            certain, doubtful = following[1]
            following = next(arrived, None)
        states = InMemoryStates(plan)
        for event in certain:
            states.fold(fold, event)
        yield (_inputs(vectorizer, held, doubt) for held in _held(fold, states, doubtful))


def _arrived(
    connection: Any, events: Path, doubts: Sequence[Doubt]
) -> Iterator[tuple[int, tuple[list[Event], list[Event]]]]:
    """Yield, by doubt, the events of its user and its product that were in for certain, and those in doubt."""
    asked = pa.table(
        {
            "doubt": pa.array(range(len(doubts)), pa.int64()),
            "asked_user": [doubt.user_id for doubt in doubts],
            "asked_product": [doubt.product_id for doubt in doubts],
            "until_us": [doubt.answered_us + doubt.in_flight_us for doubt in doubts],
        }
    )
    connection.register("asked", asked)
    rows = connection.sql(
        f"""
        WITH arrived AS (
            SELECT event_id, user_id, product_id, event_type, epoch_us("timestamp") AS ts, amount,
                   coalesce(epoch_us(arrival), 0) AS arrived_us, file_row_number AS place
            FROM read_parquet({literal(events)}, file_row_number = true)
            QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY file_row_number) = 1
        )
        SELECT doubt, arrived_us, place, event_id, user_id, product_id, event_type, ts, amount
        FROM asked JOIN arrived ON user_id = asked_user WHERE arrived_us <= until_us
        UNION ALL
        SELECT doubt, arrived_us, place, event_id, user_id, product_id, event_type, ts, amount
        FROM asked JOIN arrived ON product_id = asked_product AND user_id <> asked_user WHERE arrived_us <= until_us
        ORDER BY doubt, place
        """
    ).to_arrow_reader(8_192)
    flat = (
        row for batch in rows for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)
    )
    for at, group in groupby(flat, key=itemgetter(0)):
        doubt = doubts[at]
        certain: list[Event] = []
        doubtful: list[Event] = []
        for _, arrived_us, _, *said in group:
            held = arrived_us <= doubt.answered_us - doubt.in_flight_us
            (certain if held else doubtful).append(Event(*said))
        yield at, (certain, doubtful)


def _held(fold: Fold, states: InMemoryStates, doubtful: Sequence[Event]) -> Iterator[InMemoryStates]:
    """Yield the states that there may have been; each is good until the next is asked for."""
    if len(doubtful) <= _ALL_SETS:
        for size in range(len(doubtful), -1, -1):
            for chosen in combinations(doubtful, size):
                yield _with(fold, states, chosen)
        return
    running = _copied(states)
    yield running
    for event in doubtful:
        running.fold(fold, event)
        yield running
    running = _copied(states)
    for at, event in enumerate(doubtful):
        following = doubtful[at + 1 : at + 1 + _OVERTAKING]
        for size in range(1, len(following) + 1):
            for chosen in combinations(following, size):
                yield _with(fold, running, chosen)
        running.fold(fold, event)


def _with(fold: Fold, states: InMemoryStates, events: Sequence[Event]) -> InMemoryStates:
    held = _copied(states)
    for event in events:
        held.fold(fold, event)
    return held


def _copied(states: InMemoryStates) -> InMemoryStates:
    # rows are replaced, never changed, so that copies of the mappings do
    copied = copy(states)
    copied.users, copied.products, copied.pairs = (
        dict(states.users),
        dict(states.products),
        dict(states.pairs),
    )
    return copied


def _inputs(vectorizer: FeatureVectorizer, states: InMemoryStates, doubt: Doubt) -> FloatArray:
    user, product = doubt.user_id, doubt.product_id
    rows = states.user(user), states.product(product), states.pair(user, product)
    return np.array(vectorizer.vector(*rows, doubt.timestamp_us), dtype=np.float64)
