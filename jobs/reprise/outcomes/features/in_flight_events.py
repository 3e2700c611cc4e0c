"""The inputs that a model may have seen, given that some events were in flight to the online store.

At the time of an answer, events that were appended to the log well before it were in the state, and those appended
well after it were not. Of the events around it any subset may have been: the clocks of log and predictor differ a
little, and the partitions of the log are folded independently.
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

_MAX_SUBSETS_OF = 6
"""Up to this many events in flight, every subset is tried; beyond, prefixes in order of arrival."""

_OVERTAKING = 4
"""Number of events behind a prefix of which any may have been folded before the others."""


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """A prediction that differs from the offline store; instants in microseconds since 1970-01-01 UTC.

    Attributes:
        user_id: The user.
        product_id: The product.
        timestamp_us: The instant that was predicted for.
        answered_us: When it was answered.
        in_flight_us: Events that arrived up to this much before or after the answer may have been in flight.
    """

    user_id: str
    product_id: str
    timestamp_us: int
    answered_us: int
    in_flight_us: int


def possible_inputs(
    connection: Any, events: Path, plan: Plan, discrepancies: Sequence[Discrepancy]
) -> Iterator[Iterator[FloatArray]]:
    """Yield, for each discrepancy, the inputs (shape (inputs,)) of each set of events, computed lazily.

    Args:
        connection: DuckDB.
        events: Parquet of the events in order of arrival, with ``arrival``.
        plan: The features.
        discrepancies: The predictions.
    """
    fold, vectorizer = Fold(plan), FeatureVectorizer(plan)
    arrived = _arrived_events(connection, events, discrepancies)
    following = next(arrived, None)
    for number, discrepancy in enumerate(discrepancies):
        stored: list[Event] = []
        in_flight: list[Event] = []
        if following is not None and following[0] == number:
            stored, in_flight = following[1]
            following = next(arrived, None)
        states = InMemoryStates(plan)
        for event in stored:
            states.fold(fold, event)
        possible = _possible_states(fold, states, in_flight)
        yield (_inputs(vectorizer, held, discrepancy) for held in possible)


def _arrived_events(
    connection: Any, events: Path, discrepancies: Sequence[Discrepancy]
) -> Iterator[tuple[int, tuple[list[Event], list[Event]]]]:
    """Yield, by discrepancy, the events of its user and its product that were stored, and those in flight."""
    asked = pa.table(
        {
            "discrepancy": pa.array(range(len(discrepancies)), pa.int64()),
            "asked_user": [each.user_id for each in discrepancies],
            "asked_product": [each.product_id for each in discrepancies],
            "until_us": [each.answered_us + each.in_flight_us for each in discrepancies],
        }
    )
    connection.register("asked", asked)
    columns = "discrepancy, arrived_us, place, event_id, user_id, product_id, event_type, ts, amount"
    rows = connection.sql(
        f"""
        WITH arrived AS (
            SELECT event_id, user_id, product_id, event_type, epoch_us("timestamp") AS ts, amount,
                   coalesce(epoch_us(arrival), 0) AS arrived_us, file_row_number AS place
            FROM read_parquet({literal(events)}, file_row_number = true)
            QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY file_row_number) = 1
        )
        SELECT {columns} FROM asked JOIN arrived ON user_id = asked_user WHERE arrived_us <= until_us
        UNION ALL
        SELECT {columns} FROM asked JOIN arrived ON product_id = asked_product AND user_id <> asked_user
        WHERE arrived_us <= until_us
        ORDER BY discrepancy, place
        """
    ).to_arrow_reader(8_192)
    flat = (
        row for batch in rows for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)
    )
    for number, group in groupby(flat, key=itemgetter(0)):
        stored_until_us = discrepancies[number].answered_us - discrepancies[number].in_flight_us
        stored: list[Event] = []
        in_flight: list[Event] = []
        for _, arrived_us, _, *fields in group:
            (stored if arrived_us <= stored_until_us else in_flight).append(Event(*fields))
        yield number, (stored, in_flight)


def _possible_states(
    fold: Fold, states: InMemoryStates, in_flight: Sequence[Event]
) -> Iterator[InMemoryStates]:
    """Yield the possible states; each is valid until the next is asked for."""
    if len(in_flight) <= _MAX_SUBSETS_OF:
        for size in range(len(in_flight), -1, -1):
            for subset in combinations(in_flight, size):
                yield _with_events(fold, states, subset)
        return
    prefix = _copied(states)
    yield prefix
    for event in in_flight:
        prefix.fold(fold, event)
        yield prefix
    prefix = _copied(states)
    for place, event in enumerate(in_flight):
        following = in_flight[place + 1 : place + 1 + _OVERTAKING]
        for size in range(1, len(following) + 1):
            for subset in combinations(following, size):
                yield _with_events(fold, prefix, subset)
        prefix.fold(fold, event)


def _with_events(fold: Fold, states: InMemoryStates, events: Sequence[Event]) -> InMemoryStates:
    copied = _copied(states)
    for event in events:
        copied.fold(fold, event)
    return copied


def _copied(states: InMemoryStates) -> InMemoryStates:
    # Rows are replaced and never changed, so copies of the mappings suffice.
    copied = copy(states)
    copied.users, copied.products, copied.pairs = (
        dict(states.users),
        dict(states.products),
        dict(states.pairs),
    )
    return copied


def _inputs(vectorizer: FeatureVectorizer, states: InMemoryStates, discrepancy: Discrepancy) -> FloatArray:
    user, product = discrepancy.user_id, discrepancy.product_id
    rows = states.user(user), states.product(product), states.pair(user, product)
    return np.array(vectorizer.vector(*rows, discrepancy.timestamp_us), dtype=np.float64)
