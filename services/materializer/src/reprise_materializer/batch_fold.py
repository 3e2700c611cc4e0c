"""Folding one micro-batch of one partition into the online store, exactly once.

Users and products are written before pairs. Whoever folds the same records again, after a crash at any point,
finds the pairs as they were before the records that did not get to them, and so derives the very same changes
of users and products; those that these already hold, their watermarks cover.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from reprise_eventlog import Record
from reprise_events import Event, InvalidEventError, decode_event
from reprise_features.accumulators import FrameEvent
from reprise_features.fold import EntityFold, Fold
from reprise_features.plan import EntityPlan, Plan
from reprise_online.codec import ViewCodec
from reprise_online.store import StoredRow
from reprise_online.watermarks import Watermarks

from reprise_materializer.metrics import MaterializerMetrics
from reprise_materializer.rows import ChangeSet, RowStore, RowWriter, Source


class FoldStore(RowStore, Protocol):
    """What folding needs of the online store."""

    def remember_events(self, entries: Sequence[tuple[str, bytes]], ttl: timedelta) -> list[bytes]:
        """Remember where each event was first seen, and return that."""
        ...


@dataclass(frozen=True, slots=True)
class InvalidRecord:
    """A record that holds no valid event, and why."""

    record: Record
    reason: str


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A valid event, and where it is in the log."""

    offset: int
    event: Event
    frame_event: FrameEvent


class BatchFold:
    """Folds micro-batches of the event log into the online store."""

    def __init__(
        self,
        plan: Plan,
        store: FoldStore,
        project: str,
        metrics: MaterializerMetrics,
        duplicate_window: timedelta,
    ) -> None:
        self._fold = Fold(plan)
        self._store = store
        self._metrics = metrics
        self._duplicate_window = duplicate_window

        def writer(entity: EntityPlan, fold: EntityFold) -> RowWriter:
            conflicts = metrics.conflicts.labels(entity.view.name)
            return RowWriter(
                store,
                ViewCodec(project, entity.view),
                entity.empty,
                fold.merge,
                conflicts.inc,
            )

        self._users = writer(plan.user, self._fold.user)
        self._products = writer(plan.product, self._fold.product)
        self._pairs = writer(plan.pair, self._fold.pair)

    def fold(self, source: Source, records: Sequence[Record]) -> list[InvalidRecord]:
        """Fold records of one partition, in offset order, and return those that hold no valid event.

        Raises:
            ContendedRowError: Other writers kept changing the same rows; folding again is safe.
            StoreError: The store is away, or refuses; folding again is safe.
        """
        started = time.perf_counter()
        outcomes: Counter[str] = Counter()
        arrivals, invalid = self._decode(records, outcomes)
        distinct = self._without_duplicates(source, arrivals, outcomes)
        if distinct:
            self._fold_arrivals(source, distinct, outcomes)
            self._observe_freshness(distinct)
        for outcome, count in outcomes.items():
            self._metrics.events.labels(outcome).inc(count)
        self._metrics.batch.observe(time.perf_counter() - started)
        return invalid

    def _decode(
        self, records: Sequence[Record], outcomes: Counter[str]
    ) -> tuple[list[_Arrival], list[InvalidRecord]]:
        arrivals, invalid = [], []
        for record in records:
            try:
                event = decode_event(record.value)
            except InvalidEventError as error:
                outcomes["invalid"] += 1
                invalid.append(InvalidRecord(record, str(error)))
                continue
            frame_event = self._fold.frame_event(event)
            if frame_event is None:
                outcomes["ignored"] += 1
            else:
                arrivals.append(_Arrival(record.offset, event, frame_event))
        return arrivals, invalid

    def _without_duplicates(
        self, source: Source, arrivals: Sequence[_Arrival], outcomes: Counter[str]
    ) -> list[_Arrival]:
        """Drop the events whose id was first seen elsewhere; a replay sees its own position again."""
        positions = [_position(source, arrival.offset) for arrival in arrivals]
        entries = [(a.event.event_id, position) for a, position in zip(arrivals, positions, strict=True)]
        first_seen = self._store.remember_events(entries, self._duplicate_window)
        distinct = [
            arrival
            for arrival, position, first in zip(arrivals, positions, first_seen, strict=True)
            if first == position
        ]
        outcomes["duplicate"] += len(arrivals) - len(distinct)
        return distinct

    def _fold_arrivals(self, source: Source, arrivals: Sequence[_Arrival], outcomes: Counter[str]) -> None:
        user_keys = {a.event.user_id: self._users.key(a.event.user_id) for a in arrivals}
        product_keys = {a.event.product_id: self._products.key(a.event.product_id) for a in arrivals}
        pair_keys = {
            (a.event.user_id, a.event.product_id): self._pairs.key(a.event.user_id, a.event.product_id)
            for a in arrivals
        }
        users = self._users.read(list(user_keys.values()))
        products = self._products.read(list(product_keys.values()))
        pairs = self._pairs.read(list(pair_keys.values()))
        user_changes, product_changes, pair_changes = ChangeSet(), ChangeSet(), ChangeSet()
        states = {key: self._pairs.state(row) for key, row in pairs.items()}
        folded = _folded_offsets(source, pairs)
        for arrival in arrivals:
            event, offset, at = arrival.event, arrival.offset, arrival.event.timestamp_us
            key = pair_keys[event.user_id, event.product_id]
            if offset <= folded[key]:
                outcomes["replayed"] += 1
                continue
            change, states[key] = self._fold.apply(arrival.frame_event, states[key])
            user_changes.add(user_keys[event.user_id], offset, at, change.user)
            product_changes.add(product_keys[event.product_id], offset, at, change.product)
            pair_changes.add(key, offset, at, change.pair)
            outcomes["folded"] += 1
        self._users.write(source, users, user_changes.by_key)
        self._products.write(source, products, product_changes.by_key)
        self._pairs.write(source, pairs, pair_changes.by_key)

    def _observe_freshness(self, arrivals: Sequence[_Arrival]) -> None:
        now_us = time.time_ns() // 1_000
        for arrival in arrivals:
            self._metrics.freshness.observe(max(0, now_us - arrival.event.timestamp_us) / 1e6)


def _folded_offsets(source: Source, pairs: Mapping[bytes, StoredRow]) -> dict[bytes, int]:
    return {
        key: Watermarks.parse(row.watermarks, source.topic).offsets.get(source.partition, -1)
        for key, row in pairs.items()
    }


def _position(source: Source, offset: int) -> bytes:
    return source.topic + source.partition.to_bytes(4, "big") + offset.to_bytes(8, "big")
