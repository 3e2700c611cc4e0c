"""Exactly-once fold of a micro-batch into the online store.

Users and products are written before pairs. A replay after a crash finds the pairs in the state from before the
unfinished events, so it derives the same changes of users and products. Rows that already have a change skip it by
their watermarks.

With replicas, each step (event ids, users and products, pairs) starts only once replicas have the previous step's
writes. Otherwise a failover could keep a pair, which marks the event as folded, and lose its user's change.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import NamedTuple

from reprise.events import (
    ArrivalWindow,
    EarlyEventError,
    Event,
    InvalidEventError,
    LateEventError,
    decode_event,
)
from reprise.events.erasure import ERASED_RECORD, ErasureRecord, decode_erasure
from reprise.features.accumulators import FrameEvent
from reprise.features.executors.fold import EntityFold, Fold
from reprise.features.plan import EntityPlan, Plan
from reprise.log import Record
from reprise.materializer.metrics import MaterializerMetrics
from reprise.materializer.row_writer import ContendedRowError, PendingChange, RowWriter
from reprise.runtime.logs import get_logger
from reprise.store.exceptions import StoreError
from reprise.store.feast.codec import ViewCodec
from reprise.store.online_store import OnlineStore
from reprise.store.transport.blocking import ReplicationIds
from reprise.store.watermarks import Watermarks, log_position

_log = get_logger(__name__)
_REASONS: dict[type[Exception], str] = {EarlyEventError: "early", LateEventError: "late"}


@dataclass(frozen=True, slots=True)
class InvalidRecord:
    """A record without a valid event, or whose fold raised an error."""

    record: Record
    error: Exception


class _DecodedEvent(NamedTuple):
    record: Record
    event: Event
    frame_event: FrameEvent


class _DecodedErasure(NamedTuple):
    record: Record
    erasure: ErasureRecord


class BatchFold:
    """Folds micro-batches of the event log into the online store; ``refuse`` sends records to the dead letters."""

    def __init__(
        self,
        plan: Plan,
        store: OnlineStore,
        project: str,
        metrics: MaterializerMetrics,
        duplicate_window: timedelta,
        window: ArrivalWindow,
        refuse: Callable[[Sequence[InvalidRecord]], None],
    ) -> None:
        self._fold = Fold(plan)
        self._store = store
        self._metrics = metrics
        self._duplicate_window = duplicate_window
        self._window = window
        self._refuse = refuse

        def writer(entity: EntityPlan, fold: EntityFold) -> RowWriter:
            conflicts = metrics.conflicts.labels(entity.view.name)
            codec = ViewCodec(project, entity.view)
            return RowWriter(store, codec, entity.empty, fold.merge_all, conflicts.inc)

        self._users = writer(plan.user, self._fold.user)
        self._products = writer(plan.product, self._fold.product)
        self._pairs = writer(plan.pair, self._fold.pair)

    def fold(self, topic_id: bytes, polled: Mapping[int, Sequence[Record]]) -> None:
        """Fold records by partition, in offset order, and refuse the others. Safe to repeat after an error.

        Raises:
            ContendedRowError: Concurrent writers kept changing the same rows.
            EventLogError: The dead letters are unavailable.
            StoreError: The store is unavailable or rejects a command.
        """
        started = time.perf_counter()
        outcomes: Counter[str] = Counter()
        decoded, invalid = self._decode(polled, outcomes)
        for events, erasures in _steps(decoded):
            self._fold_or_split(topic_id, events, outcomes)
            self._erase(topic_id, erasures, outcomes)
        self._refuse(invalid)
        for outcome, count in outcomes.items():
            self._metrics.events.labels(outcome).inc(count)
        self._metrics.batch.observe(time.perf_counter() - started)

    def _decode(
        self, polled: Mapping[int, Sequence[Record]], outcomes: Counter[str]
    ) -> tuple[list[_DecodedEvent | _DecodedErasure], list[InvalidRecord]]:
        decoded: list[_DecodedEvent | _DecodedErasure] = []
        invalid = []
        for record in chain.from_iterable(polled.values()):
            if record.value == ERASED_RECORD:
                outcomes["ignored"] += 1
                continue
            if (erasure := decode_erasure(record.value)) is not None:
                decoded.append(_DecodedErasure(record, erasure))
                continue
            try:
                event = decode_event(record.value)
                self._window.check(event, record.timestamp_ms)
                frame_event = self._fold.frame_event(event)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the next records go on
                invalid.append(_refused(record, error, outcomes))
                continue
            if frame_event is None:
                outcomes["ignored"] += 1
            else:
                decoded.append(_DecodedEvent(record, event, frame_event))
        return decoded, invalid

    def _erase(self, topic_id: bytes, erasures: Sequence[_DecodedErasure], outcomes: Counter[str]) -> None:
        """Remove the rows of users and of their pairs, after all earlier events of their partitions.

        What a later event folded into a row that is removed by a replay is folded again, since it is replayed too.
        """
        positions = [(e, log_position(topic_id, r.partition, r.offset)) for r, e in erasures]
        found = [(e, at) for e, at in positions if self._store.erasure_position(e.erasure_id) in {None, at}]
        outcomes["ignored"] += len(erasures) - len(found)
        if not found:
            return
        outcomes["erased"] += len(found)
        users = {erasure.user_id for erasure, _ in found}
        replication_ids = self._store.replication_ids()
        removed = self._store.erase_users(users)
        self._store.wait_for_replicas(replication_ids)
        for erasure, position in found:
            self._store.note_erasure(erasure.erasure_id, position)
        _log.info("users_erased", users=len(users), rows=removed)

    def _fold_or_split(
        self, topic_id: bytes, decoded: Sequence[_DecodedEvent], outcomes: Counter[str]
    ) -> None:
        """Fold events; bisect them after an error that is about one of them, and refuse those that raise one."""
        attempted: Counter[str] = Counter()
        try:
            self._fold_distinct(topic_id, decoded, attempted)
        except (StoreError, ContendedRowError, OSError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the other records are folded
            if len(decoded) > 1:
                middle = len(decoded) // 2
                self._fold_or_split(topic_id, decoded[:middle], outcomes)
                self._fold_or_split(topic_id, decoded[middle:], outcomes)
                return
            # before later events move the pair's watermark past it
            self._refuse([_refused(decoded[0].record, error, outcomes)])
            # corrected and sent again, the event is no duplicate
            self._store.forget_event_id(decoded[0].event.event_id)
            return
        outcomes.update(attempted)

    def _fold_distinct(
        self, topic_id: bytes, decoded: Sequence[_DecodedEvent], outcomes: Counter[str]
    ) -> None:
        if not decoded:
            return
        replication_ids = self._store.replication_ids()
        distinct = self._without_duplicates(topic_id, decoded, outcomes)
        self._store.wait_for_replicas(replication_ids)
        if distinct:
            self._fold_events(topic_id, distinct, outcomes, replication_ids)
        now_us = time.time_ns() // 1_000
        for each in distinct:
            self._metrics.freshness.observe(max(0, now_us - each.event.timestamp_us) / 1e6)

    def _without_duplicates(
        self, topic_id: bytes, decoded: Sequence[_DecodedEvent], outcomes: Counter[str]
    ) -> list[_DecodedEvent]:
        """Drop events whose id was claimed at another position; a replay finds its own position."""
        positions = [log_position(topic_id, each.record.partition, each.record.offset) for each in decoded]
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
        for record, event, frame_event in decoded:
            partition, offset = record.partition, record.offset
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
        # all are merged before the first is written: an event that cannot be folded changes no row
        user_writes = self._users.merge(topic_id, users, user_changes)
        product_writes = self._products.merge(topic_id, products, product_changes)
        pair_writes = self._pairs.merge(topic_id, pairs, pair_changes)
        self._users.write(topic_id, user_writes, user_changes)
        self._products.write(topic_id, product_writes, product_changes)
        self._store.wait_for_replicas(replication_ids)
        self._pairs.write(topic_id, pair_writes, pair_changes)
        self._store.wait_for_replicas(replication_ids)


def _refused(record: Record, error: Exception, outcomes: Counter[str]) -> InvalidRecord:
    if isinstance(error, InvalidEventError):
        outcomes[_REASONS.get(type(error), "invalid")] += 1
    else:
        outcomes["failed"] += 1
        name = type(error).__name__
        _log.error("record_not_folded", partition=record.partition, offset=record.offset, error=name)
    return InvalidRecord(record, error)


def _steps(
    decoded: Iterable[_DecodedEvent | _DecodedErasure],
) -> Iterator[tuple[list[_DecodedEvent], list[_DecodedErasure]]]:
    """Yield events and the erasures after them, with as few steps as the order needs.

    A step ends before an event of a user whose erasure precedes it. Other events do not depend on an erasure.
    """
    events: list[_DecodedEvent] = []
    erasures: list[_DecodedErasure] = []
    users = set()
    for each in decoded:
        if isinstance(each, _DecodedErasure):
            erasures.append(each)
            users.add(each.erasure.user_id)
            continue
        if each.event.user_id in users:
            yield events, erasures
            events, erasures, users = [], [], set()
        events.append(each)
    yield events, erasures
