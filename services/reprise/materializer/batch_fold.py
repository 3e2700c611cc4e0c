"""Folding a micro-batch into the online store, exactly once.

Users and products are written before pairs. Whoever folds the same records again, after a crash at any point,
finds the pairs as they were before the records that did not get to them, and so derives the very same changes
of users and products; those that these already hold, their watermarks cover.

Where replicas may take a server's place, each of these steps begins only after replicas have what the one before
it wrote: what is remembered of the events, users and products, pairs. Else a pair could outlive its user's
change, and say that the event is folded.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import NamedTuple, Protocol

from reprise.events import Event, InvalidEventError, decode_event
from reprise.features.accumulators.event_accumulators import FrameEvent
from reprise.features.executors.fold import EntityFold, Fold
from reprise.features.plan import EntityPlan, Plan
from reprise.log import Record
from reprise.materializer.metrics import MaterializerMetrics
from reprise.materializer.row_writer import ChangeSet, PendingChange, RowStore, RowWriter, Source
from reprise.store.feast.codec import ViewCodec
from reprise.store.transport.server import ReplicationIds
from reprise.store.watermarks import Watermarks, log_position


class FoldStore(RowStore, Protocol):
    """What folding needs of the online store."""

    def claim_event_ids(self, entries: Sequence[tuple[str, bytes]], ttl: timedelta) -> list[bytes]:
        """Remember where each event was first seen, and return that."""
        ...

    def replication_ids(self) -> ReplicationIds:
        """Return which servers hold the store now."""
        ...

    def wait_for_replicas(self, replication_ids: ReplicationIds) -> None:
        """Wait until replicas have all that was read and written since the replication ids were taken."""
        ...


@dataclass(frozen=True, slots=True)
class InvalidRecord:
    """A record that holds no valid event, and why."""

    record: Record
    reason: str


class _Arrival(NamedTuple):
    """A valid event, and where it is in the log."""

    partition: int
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
                fold.merge_all,
                conflicts.inc,
            )

        self._users = writer(plan.user, self._fold.user)
        self._products = writer(plan.product, self._fold.product)
        self._pairs = writer(plan.pair, self._fold.pair)

    def fold(self, source: Source, records: Sequence[Record]) -> list[InvalidRecord]:
        """Fold records of one partition, see ``fold_partitions``."""
        return self.fold_partitions(source.topic, {source.partition: records})

    def fold_partitions(self, topic: bytes, polled: Mapping[int, Sequence[Record]]) -> list[InvalidRecord]:
        """Fold records of several partitions in the same round trips; return those that hold no valid event.

        Args:
            topic: The id of the topic.
            polled: Records by partition, in the order of their offsets.

        Raises:
            ContendedRowError: Other writers kept changing the same rows; folding again is safe.
            StoreError: The store is away, or refuses; folding again is safe.
        """
        started = time.perf_counter()
        outcomes: Counter[str] = Counter()
        arrivals, invalid = self._decode(polled, outcomes)
        if arrivals:
            replication_ids = self._store.replication_ids()
            distinct = self._without_duplicates(topic, arrivals, outcomes)
            self._store.wait_for_replicas(replication_ids)
            self._fold_arrivals(topic, distinct, outcomes, replication_ids)
            self._observe_freshness(distinct)
        for outcome, count in outcomes.items():
            self._metrics.events.labels(outcome).inc(count)
        self._metrics.batch.observe(time.perf_counter() - started)
        return invalid

    def _decode(
        self, polled: Mapping[int, Sequence[Record]], outcomes: Counter[str]
    ) -> tuple[list[_Arrival], list[InvalidRecord]]:
        arrivals, invalid = [], []
        for record in chain.from_iterable(polled.values()):
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
                arrivals.append(_Arrival(record.partition, record.offset, event, frame_event))
        return arrivals, invalid

    def _without_duplicates(
        self, topic: bytes, arrivals: Sequence[_Arrival], outcomes: Counter[str]
    ) -> list[_Arrival]:
        """Drop the events whose id was first seen elsewhere; a replay sees its own position again."""
        positions = [log_position(topic, arrival.partition, arrival.offset) for arrival in arrivals]
        entries = [(a.event.event_id, position) for a, position in zip(arrivals, positions, strict=True)]
        first_seen = self._store.claim_event_ids(entries, self._duplicate_window)
        distinct = [
            arrival
            for arrival, position, first in zip(arrivals, positions, first_seen, strict=True)
            if first == position
        ]
        outcomes["duplicate"] += len(arrivals) - len(distinct)
        return distinct

    def _fold_arrivals(
        self,
        topic: bytes,
        arrivals: Sequence[_Arrival],
        outcomes: Counter[str],
        replication_ids: ReplicationIds,
    ) -> None:
        if not arrivals:
            return
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
        folded = {key: Watermarks.parse(row.watermarks, topic) for key, row in pairs.items()}
        for arrival in arrivals:
            partition, offset, event, frame_event = arrival
            key = pair_keys[event.user_id, event.product_id]
            if folded[key].covers(partition, offset):
                outcomes["replayed"] += 1
                continue
            change, states[key] = self._fold.apply(frame_event, states[key])
            at = event.timestamp_us
            user_changes.add(user_keys[event.user_id], PendingChange(partition, offset, at, change.user))
            product_changes.add(
                product_keys[event.product_id], PendingChange(partition, offset, at, change.product)
            )
            pair_changes.add(key, PendingChange(partition, offset, at, change.pair))
            outcomes["folded"] += 1
        self._users.write(topic, users, user_changes.by_key)
        self._products.write(topic, products, product_changes.by_key)
        self._store.wait_for_replicas(replication_ids)
        self._pairs.write(topic, pairs, pair_changes.by_key)
        self._store.wait_for_replicas(replication_ids)

    def _observe_freshness(self, arrivals: Sequence[_Arrival]) -> None:
        now_us = time.time_ns() // 1_000
        for arrival in arrivals:
            self._metrics.freshness.observe(max(0, now_us - arrival.event.timestamp_us) / 1e6)
