"""Exactly-once fold of a micro-batch into the online store.

Users and products are written before pairs. A replay after a crash finds the pairs in the state from before the
unfinished events, so it derives the same changes of users and products. Rows that already have a change skip it by
their watermarks.

With replicas, each step (event ids, users and products, pairs) starts only once replicas have the previous step's
writes. Otherwise a failover could keep a pair, which marks the event as folded, and lose its user's change.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import NamedTuple

from reprise.events import Event, InvalidEventError, decode_event
from reprise.features.accumulators import FrameEvent
from reprise.features.executors.fold import EntityFold, Fold
from reprise.features.plan import EntityPlan, Plan
from reprise.log import Record
from reprise.materializer.metrics import MaterializerMetrics
from reprise.materializer.row_writer import PendingChange, RowWriter
from reprise.store.feast.codec import ViewCodec
from reprise.store.online_store import OnlineStore
from reprise.store.transport.blocking import ReplicationIds
from reprise.store.watermarks import Watermarks, log_position


@dataclass(frozen=True, slots=True)
class InvalidRecord:
    """A record without a valid event, and the reason."""

    record: Record
    reason: str


class _DecodedEvent(NamedTuple):
    partition: int
    offset: int
    event: Event
    frame_event: FrameEvent


class BatchFold:
    """Folds micro-batches of the event log into the online store."""

    def __init__(
        self,
        plan: Plan,
        store: OnlineStore,
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
            codec = ViewCodec(project, entity.view)
            return RowWriter(store, codec, entity.empty, fold.merge_all, conflicts.inc)

        self._users = writer(plan.user, self._fold.user)
        self._products = writer(plan.product, self._fold.product)
        self._pairs = writer(plan.pair, self._fold.pair)

    def fold(self, topic_id: bytes, polled: Mapping[int, Sequence[Record]]) -> list[InvalidRecord]:
        """Fold records by partition, in offset order; return the invalid ones. Safe to repeat after an error.

        Raises:
            ContendedRowError: Concurrent writers kept changing the same rows.
            StoreError: The store is unavailable or rejects a command.
        """
        started = time.perf_counter()
        outcomes: Counter[str] = Counter()
        decoded, invalid = self._decode(polled, outcomes)
        if decoded:
            replication_ids = self._store.replication_ids()
            distinct = self._without_duplicates(topic_id, decoded, outcomes)
            self._store.wait_for_replicas(replication_ids)
            if distinct:
                self._fold_events(topic_id, distinct, outcomes, replication_ids)
            now_us = time.time_ns() // 1_000
            for each in distinct:
                self._metrics.freshness.observe(max(0, now_us - each.event.timestamp_us) / 1e6)
        for outcome, count in outcomes.items():
            self._metrics.events.labels(outcome).inc(count)
        self._metrics.batch.observe(time.perf_counter() - started)
        return invalid

    def _decode(
        self, polled: Mapping[int, Sequence[Record]], outcomes: Counter[str]
    ) -> tuple[list[_DecodedEvent], list[InvalidRecord]]:
        decoded, invalid = [], []
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
                decoded.append(_DecodedEvent(record.partition, record.offset, event, frame_event))
        return decoded, invalid

    def _without_duplicates(
        self, topic_id: bytes, decoded: Sequence[_DecodedEvent], outcomes: Counter[str]
    ) -> list[_DecodedEvent]:
        """Drop events whose id was claimed at another position; a replay finds its own position."""
        positions = [log_position(topic_id, each.partition, each.offset) for each in decoded]
        entries = [(each.event.event_id, position) for each, position in zip(decoded, positions, strict=True)]
        claimed = self._store.claim_event_ids(entries, self._duplicate_window)
        distinct = [
            each
            for each, position, first in zip(decoded, positions, claimed, strict=True)
            if first == position
        ]
        outcomes["duplicate"] += len(decoded) - len(distinct)
        return distinct

    def _fold_events(
        self,
        topic_id: bytes,
        decoded: Sequence[_DecodedEvent],
        outcomes: Counter[str],
        replication_ids: ReplicationIds,
    ) -> None:
        user_keys = {e.event.user_id: self._users.key(e.event.user_id) for e in decoded}
        product_keys = {e.event.product_id: self._products.key(e.event.product_id) for e in decoded}
        pair_keys = {
            (e.event.user_id, e.event.product_id): self._pairs.key(e.event.user_id, e.event.product_id)
            for e in decoded
        }
        users = self._users.read(list(user_keys.values()))
        products = self._products.read(list(product_keys.values()))
        pairs = self._pairs.read(list(pair_keys.values()))
        user_changes: defaultdict[bytes, list[PendingChange]] = defaultdict(list)
        product_changes: defaultdict[bytes, list[PendingChange]] = defaultdict(list)
        pair_changes: defaultdict[bytes, list[PendingChange]] = defaultdict(list)
        states = {key: self._pairs.state(row) for key, row in pairs.items()}
        folded = {key: Watermarks.parse(row.watermarks, topic_id) for key, row in pairs.items()}
        for partition, offset, event, frame_event in decoded:
            key = pair_keys[event.user_id, event.product_id]
            if folded[key].covers(partition, offset):
                outcomes["replayed"] += 1
                continue
            change, states[key] = self._fold.apply(frame_event, states[key])
            at = event.timestamp_us
            user_changes[user_keys[event.user_id]].append(PendingChange(partition, offset, at, change.user))
            product_changes[product_keys[event.product_id]].append(
                PendingChange(partition, offset, at, change.product)
            )
            pair_changes[key].append(PendingChange(partition, offset, at, change.pair))
            outcomes["folded"] += 1
        self._users.write(topic_id, users, user_changes)
        self._products.write(topic_id, products, product_changes)
        self._store.wait_for_replicas(replication_ids)
        self._pairs.write(topic_id, pairs, pair_changes)
        self._store.wait_for_replicas(replication_ids)
