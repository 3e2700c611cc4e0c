"""The online store holds the batch executor's states, however often and in whatever pieces records come."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from reprise.events import Event, encode_event
from reprise.features.plan import Plan
from reprise.log import Record
from reprise.materializer.batch_fold import BatchFold
from reprise.materializer.metrics import MaterializerMetrics
from reprise.store.feast.codec import ViewCodec
from reprise.store.online_store import GuardedWrite, OnlineStore, StoredRow
from reprise.store.settings import OnlineStoreSettings
from reprise.store.transport.blocking import ReplicationIds
from support.collection import SOAK
from support.histories import PLAN_FILE, PROJECT, as_partitions, assert_store_holds, batch_states, make_events
from support.redis import RedisServer

TOPIC = bytes(range(16))
PARTITIONS = 3
WINDOW = timedelta(days=1)

pytestmark = pytest.mark.redis


class CrashError(Exception):
    """The process died here."""


class CrashingStore:
    """Passes on to a real store one command at a time, and dies before the write of a given number."""

    def __init__(self, store: OnlineStore, dies_before: int) -> None:
        self._store = store
        self._dies_before = dies_before
        self.writes = 0

    def read(self, rows: Sequence[tuple[ViewCodec, bytes]]) -> list[StoredRow]:
        return self._store.read(rows)

    def claim_event_ids(self, entries: Sequence[tuple[str, bytes]], ttl: timedelta) -> list[bytes]:
        found = []
        for entry in entries:
            self._count()
            found += self._store.claim_event_ids([entry], ttl)
        return found

    def write_guarded(self, writes: Sequence[GuardedWrite]) -> list[bool]:
        done = []
        for write in writes:
            self._count()
            done += self._store.write_guarded([write])
        return done

    def replication_ids(self) -> ReplicationIds:
        return self._store.replication_ids()

    def wait_for_replicas(self, replication_ids: ReplicationIds) -> None:
        self._store.wait_for_replicas(replication_ids)

    def _count(self) -> None:
        if self.writes == self._dies_before:
            raise CrashError
        self.writes += 1


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[OnlineStore]:
    settings = OnlineStoreSettings(redis_host=redis_server.host, redis_port=redis_server.port)
    with OnlineStore.connect(settings) as connected:
        yield connected


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan.load(PLAN_FILE)


def fold_of(plan: Plan, store: object) -> BatchFold:
    return BatchFold(plan, store, PROJECT, MaterializerMetrics(CollectorRegistry()), WINDOW)  # type: ignore[arg-type]


def outcome(fold: BatchFold, name: str) -> float:
    return fold._metrics.events.labels(name)._value.get()


def chunks(records: Sequence[Record], size: int) -> list[Sequence[Record]]:
    return [records[at : at + size] for at in range(0, len(records), size)]


def test_folding_a_history_in_batches_gives_the_batch_states(store: OnlineStore, plan: Plan) -> None:
    events = make_events(600)
    fold = fold_of(plan, store)
    for partition, records in as_partitions(events, PARTITIONS).items():
        for batch in chunks(records, 37):
            assert fold.fold(TOPIC, {partition: batch}) == []
    assert outcome(fold, "folded") == 600
    assert assert_store_holds(store, plan, batch_states(plan, events)) > 1_000


def test_a_replayed_history_changes_nothing(
    store: OnlineStore, plan: Plan, redis_server: RedisServer
) -> None:
    events = make_events(200)
    fold = fold_of(plan, store)
    partitions = as_partitions(events, PARTITIONS)
    for _ in range(3):
        for partition, records in partitions.items():
            for batch in chunks(records, 23):
                fold.fold(TOPIC, {partition: batch})
    assert outcome(fold, "folded") == 200
    assert outcome(fold, "replayed") == 400
    assert_store_holds(store, plan, batch_states(plan, events))


def test_dying_at_every_write_and_replaying_gives_the_batch_states(
    store: OnlineStore, plan: Plan, redis_server: RedisServer
) -> None:
    events = make_events(24, users=3, products=3)
    records = as_partitions(events, 1)[0]
    whole = CrashingStore(store, dies_before=-1)
    fold_of(plan, whole).fold(TOPIC, {0: records})
    boundaries = whole.writes
    assert boundaries > 24 + 9
    expected = batch_states(plan, events)
    for dies_before in range(0, boundaries, 1 if SOAK else 3):
        redis_server.flush()
        with pytest.raises(CrashError):
            fold_of(plan, CrashingStore(store, dies_before)).fold(TOPIC, {0: records})
        for batch in chunks(records, 7):  # the replay's batches need not be those of the first attempt
            fold_of(plan, store).fold(TOPIC, {0: batch})
        assert_store_holds(store, plan, expected)


def test_dying_again_and_again_at_random_gives_the_batch_states(store: OnlineStore, plan: Plan) -> None:
    rng = np.random.default_rng(3)
    events = make_events(240, users=5, products=4)
    partitions = as_partitions(events, PARTITIONS)
    committed = dict.fromkeys(partitions, 0)
    crashes = 0
    while any(committed[p] < len(records) for p, records in partitions.items()):
        partition = int(rng.integers(PARTITIONS))
        start = committed[partition]
        batch = partitions[partition][start : start + int(rng.integers(1, 30))]
        if not batch:
            continue
        try:
            fold_of(plan, CrashingStore(store, int(rng.integers(0, 60)))).fold(TOPIC, {partition: batch})
            committed[partition] = start + len(batch)
        except CrashError:
            crashes += 1
    assert crashes > 5
    assert_store_holds(store, plan, batch_states(plan, events))


class RacingStore(CrashingStore):
    """Lets another materializer fold records between this one's reads and its first write."""

    def __init__(self, store: OnlineStore, other: BatchFold, polled: Mapping[int, Sequence[Record]]) -> None:
        super().__init__(store, dies_before=-1)
        self._race = [(other, polled)]

    def write_guarded(self, writes: Sequence[GuardedWrite]) -> list[bool]:
        while self._race:
            other, polled = self._race.pop()
            other.fold(TOPIC, polled)
        return super().write_guarded(writes)


def test_a_product_shared_by_partitions_loses_no_update(store: OnlineStore, plan: Plan) -> None:
    events = make_events(90, users=9, products=2)
    partitions = as_partitions(events, 2)
    other = fold_of(plan, store)
    racing = fold_of(plan, RacingStore(store, other, {1: partitions[1]}))
    racing.fold(TOPIC, {0: partitions[0]})
    assert racing._metrics.conflicts.labels("product_state")._value.get() > 0
    assert_store_holds(store, plan, batch_states(plan, events))


@pytest.mark.parametrize("zombie_part", [0.3, 0.7, 1.0])
def test_a_zombie_that_folds_the_same_records_meanwhile_changes_nothing(
    store: OnlineStore, plan: Plan, zombie_part: float
) -> None:
    events = make_events(60, users=4, products=3)
    records = as_partitions(events, 1)[0]
    newcomer = fold_of(plan, store)
    zombie = fold_of(plan, RacingStore(store, newcomer, {0: records[: int(60 * zombie_part)]}))
    zombie.fold(TOPIC, {0: records})
    assert_store_holds(store, plan, batch_states(plan, events))


def test_a_repeated_event_id_is_folded_once(store: OnlineStore, plan: Plan) -> None:
    events = make_events(50)
    repeated = [*events, *events[10:20]]
    fold = fold_of(plan, store)
    for _ in range(2):
        for partition, records in as_partitions(repeated, PARTITIONS).items():
            for batch in chunks(records, 11):
                fold.fold(TOPIC, {partition: batch})
    assert outcome(fold, "duplicate") == 20
    assert_store_holds(store, plan, batch_states(plan, events))


def test_late_events_fold_to_the_same_states(store: OnlineStore, plan: Plan) -> None:
    events = make_events(300)
    shuffled = [events[at] for at in np.random.default_rng(5).permutation(300)]
    fold = fold_of(plan, store)
    for partition, records in as_partitions(shuffled, PARTITIONS).items():
        for batch in chunks(records, 29):
            fold.fold(TOPIC, {partition: batch})
    assert_store_holds(store, plan, batch_states(plan, events))


def test_a_recreated_topic_is_folded_from_its_start(store: OnlineStore, plan: Plan) -> None:
    first, second = make_events(40, seed=1), make_events(40, seed=2)
    fold = fold_of(plan, store)
    fold.fold(TOPIC, {0: as_partitions(first, 1)[0]})
    fold.fold(TOPIC[::-1], {0: as_partitions(second, 1)[0]})
    assert outcome(fold, "folded") == 80
    assert_store_holds(store, plan, batch_states(plan, [*first, *second]))


def test_broken_and_uninteresting_records_do_not_stop_the_stream(store: OnlineStore, plan: Plan) -> None:
    events = make_events(20)
    good = [encode_event(event) for event in events]
    cart = Event("cart-1", "u1", "p1", "cart", events[-1].timestamp_us)
    values = [*good[:10], b"no json", b'{"event_id": "x"}', encode_event(cart), *good[10:]]
    records = [Record(0, offset, 0, b"key", value) for offset, value in enumerate(values)]
    fold = fold_of(plan, store)
    invalid = fold.fold(TOPIC, {0: records})
    assert [each.record.offset for each in invalid] == [10, 11]
    assert "JSON" in invalid[0].reason
    assert "event_type" in invalid[1].reason
    assert outcome(fold, "ignored") == 1
    assert_store_holds(store, plan, batch_states(plan, events))


def test_the_comparison_notices_a_lost_event(store: OnlineStore, plan: Plan) -> None:
    events = make_events(30)
    fold_of(plan, store).fold(TOPIC, {0: as_partitions(events[:-1], 1)[0]})
    with pytest.raises(AssertionError):
        assert_store_holds(store, plan, batch_states(plan, events))
