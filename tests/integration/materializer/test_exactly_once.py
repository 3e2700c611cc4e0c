"""The online store holds the batch executor's states, however often and in whatever pieces records come."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from reprise.events import ArrivalWindow, EarlyEventError, Event, LateEventError, decode_event, encode_event
from reprise.features.plan import Plan
from reprise.log import Record
from reprise.materializer.batch_fold import BatchFold, InvalidRecord
from reprise.materializer.metrics import MaterializerMetrics
from reprise.store.exceptions import StoreError, StoreRefusedError, StoreUnavailableError
from reprise.store.feast import protobuf
from reprise.store.feast.codec import ViewCodec
from reprise.store.online_store import GuardedWrite, OnlineStore
from reprise.store.watermarks import Watermarks
from support.collection import SOAK
from support.fuzzed_records import BATCH, RECORDS, WINDOW, problem_of, random_record
from support.histories import (
    PLAN_FILE,
    PROJECT,
    as_partitions,
    assert_store_holds,
    batch_states,
    make_events,
    refuse_none,
)
from support.redis import RedisServer

TOPIC = bytes(range(16))
PARTITIONS = 3
DUPLICATES = timedelta(days=1)
ARRIVALS = ArrivalWindow(300.0, 3650)

pytestmark = pytest.mark.redis


class CrashError(BaseException):
    """The process died here."""


class HarmedStore(OnlineStore):
    """Dies before the write of a given number, one row or event id at a time, or lets others fold before a write."""

    dies_before = -1
    writes = 0
    race: Callable[[], object] | None = None

    def claim_event_ids(self, entries: Sequence[tuple[str, bytes]], ttl: timedelta) -> list[bytes]:
        claim = super().claim_event_ids
        return self._counted(lambda part: claim(part, ttl), entries)

    def write_guarded(self, writes: Sequence[GuardedWrite]) -> list[bool]:
        race, self.race = self.race, None
        if race is not None:
            race()
        return self._counted(super().write_guarded, writes)

    def _counted(self, write: Callable[[Sequence[Any]], list[Any]], items: Sequence[Any]) -> list[Any]:
        done = []
        for part in [items] if self.dies_before < 0 else [[item] for item in items]:
            if self.writes == self.dies_before:
                raise CrashError
            self.writes += len(part)
            done += write(part)
        return done

    def die_before(self, write: int, fold: Callable[[], object]) -> None:
        self.writes, self.dies_before = 0, write
        try:
            fold()
        finally:
            self.dies_before = -1


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[HarmedStore]:
    settings = redis_server.settings()
    with HarmedStore.connect(settings) as connected:
        yield connected


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan.load(PLAN_FILE)


def fold_of(
    plan: Plan,
    store: OnlineStore,
    refuse: Callable[[Sequence[InvalidRecord]], None] = refuse_none,
    arrivals: ArrivalWindow = ARRIVALS,
) -> BatchFold:
    metrics = MaterializerMetrics(CollectorRegistry())
    return BatchFold(plan, store, PROJECT, metrics, DUPLICATES, arrivals, refuse)


def outcome(fold: BatchFold, name: str) -> float:
    return fold._metrics.events.labels(name)._value.get()


def fold_in_batches(fold: BatchFold, partitions: Mapping[int, Sequence[Record]], size: int) -> None:
    for partition, records in partitions.items():
        for at in range(0, len(records), size):
            fold.fold(TOPIC, {partition: records[at : at + size]})


def test_folding_a_history_in_batches_gives_the_batch_states(store: OnlineStore, plan: Plan) -> None:
    events = make_events(600)
    fold = fold_of(plan, store)
    fold_in_batches(fold, as_partitions(events, PARTITIONS), 37)
    assert outcome(fold, "folded") == 600
    assert assert_store_holds(store, plan, batch_states(plan, events)) > 1_000


def test_a_replayed_history_changes_nothing(store: OnlineStore, plan: Plan) -> None:
    events = make_events(200)
    fold = fold_of(plan, store)
    for _ in range(3):
        fold_in_batches(fold, as_partitions(events, PARTITIONS), 23)
    assert outcome(fold, "folded") == 200
    assert outcome(fold, "replayed") == 400
    assert_store_holds(store, plan, batch_states(plan, events))


def test_dying_at_every_write_and_replaying_gives_the_batch_states(
    store: HarmedStore, plan: Plan, redis_server: RedisServer
) -> None:
    events = make_events(24, users=3, products=3)
    records = as_partitions(events, 1)[0]
    fold_of(plan, store).fold(TOPIC, {0: records})
    boundaries = store.writes
    assert boundaries > 24 + 9
    expected = batch_states(plan, events)
    for dies_before in range(0, boundaries, 1 if SOAK else 3):
        redis_server.flush()
        with pytest.raises(CrashError):
            store.die_before(dies_before, lambda: fold_of(plan, store).fold(TOPIC, {0: records}))
        # the replay's batches need not be those of the first attempt
        fold_in_batches(fold_of(plan, store), {0: records}, 7)
        assert_store_holds(store, plan, expected)


def test_dying_again_and_again_at_random_gives_the_batch_states(store: HarmedStore, plan: Plan) -> None:
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
            polled = {partition: batch}
            store.die_before(int(rng.integers(0, 60)), partial(fold_of(plan, store).fold, TOPIC, polled))
            committed[partition] = start + len(batch)
        except CrashError:
            crashes += 1
    assert crashes > 5
    assert_store_holds(store, plan, batch_states(plan, events))


def test_a_product_shared_by_partitions_loses_no_update(store: HarmedStore, plan: Plan) -> None:
    events = make_events(90, users=9, products=2)
    partitions = as_partitions(events, 2)
    store.race = partial(fold_of(plan, store).fold, TOPIC, {1: partitions[1]})
    racing = fold_of(plan, store)
    racing.fold(TOPIC, {0: partitions[0]})
    assert racing._metrics.conflicts.labels("product_state")._value.get() > 0
    assert_store_holds(store, plan, batch_states(plan, events))


@pytest.mark.parametrize("zombie_part", [0.3, 0.7, 1.0])
def test_a_zombie_that_folds_the_same_records_meanwhile_changes_nothing(
    store: HarmedStore, plan: Plan, zombie_part: float
) -> None:
    events = make_events(60, users=4, products=3)
    records = as_partitions(events, 1)[0]
    store.race = partial(fold_of(plan, store).fold, TOPIC, {0: records[: int(60 * zombie_part)]})
    fold_of(plan, store).fold(TOPIC, {0: records})
    assert_store_holds(store, plan, batch_states(plan, events))


def test_a_repeated_event_id_is_folded_once(store: OnlineStore, plan: Plan) -> None:
    events = make_events(50)
    repeated = [*events, *events[10:20]]
    fold = fold_of(plan, store)
    for _ in range(2):
        fold_in_batches(fold, as_partitions(repeated, PARTITIONS), 11)
    assert outcome(fold, "duplicate") == 20
    assert_store_holds(store, plan, batch_states(plan, events))


def test_late_events_fold_to_the_same_states(store: OnlineStore, plan: Plan) -> None:
    events = make_events(300)
    shuffled = [events[at] for at in np.random.default_rng(5).permutation(300)]
    fold_in_batches(fold_of(plan, store), as_partitions(shuffled, PARTITIONS), 29)
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
    records = as_records(values, events[-1].timestamp_us)
    invalid: list[InvalidRecord] = []
    fold = fold_of(plan, store, invalid.extend)
    fold.fold(TOPIC, {0: records})
    assert [each.record.offset for each in invalid] == [10, 11]
    assert "JSON" in str(invalid[0].error)
    assert "event_type" in str(invalid[1].error)
    assert outcome(fold, "ignored") == 1
    assert_store_holds(store, plan, batch_states(plan, events))


@pytest.mark.parametrize("first", range(0, RECORDS, BATCH))
def test_random_records_are_folded_or_refused_as_the_contract_says(
    store: OnlineStore, plan: Plan, first: int
) -> None:
    records = [random_record(seed) for seed in range(first, first + BATCH)]
    polled: dict[int, list[Record]] = {}
    for record in records:
        polled.setdefault(record.partition, []).append(record)
    invalid: list[InvalidRecord] = []
    fold = fold_of(plan, store, invalid.extend, WINDOW)
    fold.fold(TOPIC, polled)
    expected = [record.offset for record in records if problem_of(record) is not None]
    assert sorted(each.record.offset for each in invalid) == expected
    assert outcome(fold, "folded") > 0
    assert outcome(fold, "failed") == 0


def test_an_error_of_any_class_while_decoding_refuses_its_record_only(
    store: OnlineStore, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = make_events(20)
    fatal = encode_event(events[7])

    def decode(payload: bytes) -> Event:
        if payload == fatal:
            raise RecursionError("too deep")
        return decode_event(payload)

    monkeypatch.setattr("reprise.materializer.batch_fold.decode_event", decode)
    invalid: list[InvalidRecord] = []
    fold = fold_of(plan, store, invalid.extend)
    fold.fold(TOPIC, {0: as_partitions(events, 1)[0]})
    assert [(each.record.value, type(each.error)) for each in invalid] == [(fatal, RecursionError)]
    assert outcome(fold, "failed") == 1
    assert_store_holds(store, plan, batch_states(plan, [*events[:7], *events[8:]]))


def as_records(values: Sequence[bytes], appended_us: int) -> list[Record]:
    return [Record(0, offset, appended_us // 1000, b"key", value) for offset, value in enumerate(values)]


@pytest.mark.parametrize(
    ("accepted", "refused", "error"),
    [
        (timedelta(seconds=299), timedelta(minutes=6), EarlyEventError),
        (timedelta(seconds=299), timedelta(days=365), EarlyEventError),
        (-timedelta(days=3650), -timedelta(days=3650, microseconds=1), LateEventError),
    ],
    ids=["early", "a year early", "late"],
)
def test_an_event_outside_the_window_is_refused_at_every_replay(
    store: OnlineStore, plan: Plan, accepted: timedelta, refused: timedelta, error: type[Exception]
) -> None:
    events = make_events(6)
    appended_us = events[-1].timestamp_us // 1000 * 1000
    inside, outside = (
        replace(events[2], event_id=name, timestamp_us=appended_us + distance // timedelta(microseconds=1))
        for name, distance in (("inside", accepted), ("outside", refused))
    )
    records = as_records([encode_event(event) for event in (outside, inside, *events)], appended_us)
    invalid: list[InvalidRecord] = []
    fold = fold_of(plan, store, invalid.extend)
    for _ in range(2):
        fold.fold(TOPIC, {0: records})
    assert [(each.record.offset, type(each.error)) for each in invalid] == [(0, error)] * 2
    assert outcome(fold, error.__name__.removesuffix("EventError").lower()) == 2
    assert_store_holds(store, plan, batch_states(plan, [inside, *events]))


@pytest.mark.parametrize(("kept", "error"), [("text", "CorruptRowError"), ("inf", "UnencodableStateError")])
def test_a_record_that_cannot_be_folded_stops_no_other_and_changes_no_row(
    store: OnlineStore, plan: Plan, redis_server: RedisServer, kept: str, error: str
) -> None:
    codec = ViewCodec(PROJECT, plan.pair.view)
    key, watermarks = codec.key("u-bad", "p-bad"), Watermarks(TOPIC, {}).to_bytes()
    if kept == "text":
        redis_server.client().set(key, "no hash")
    else:
        store.write_guarded([GuardedWrite(codec, key, None, [1] * len(codec.state_fields), watermarks, 1)])
        doubles = [
            name
            for name, f in zip(codec.state_fields, plan.pair.view.fields, strict=True)
            if f.kind == "double"
        ]
        redis_server.client().hset(key, mapping=dict.fromkeys(doubles, protobuf.encode_double(math.inf)))
    events = make_events(40)
    bad = replace(events[20], event_id="bad", user_id="u-bad", product_id="p-bad")
    worse = replace(bad, event_id="worse")
    records = as_partitions([*events[:20], bad, *events[20:], worse], 1)[0]
    invalid: list[InvalidRecord] = []
    fold = fold_of(plan, store, invalid.extend)
    fold.fold(TOPIC, {0: records})
    found = [(each.record.offset, type(each.error).__name__) for each in invalid]
    assert found == [(20, error), (41, error)]
    assert outcome(fold, "failed") == 2
    redis_server.client().delete(key)
    assert_store_holds(store, plan, batch_states(plan, events))
    # sent again once the row is repaired
    fold.fold(TOPIC, {1: [Record(1, 0, records[-1].timestamp_ms, b"u-bad", encode_event(bad))]})
    assert outcome(fold, "duplicate") == 0
    assert_store_holds(store, plan, batch_states(plan, [*events, bad]))


@pytest.mark.parametrize("error", [StoreUnavailableError, StoreRefusedError])
def test_a_store_that_is_away_or_refuses_makes_no_dead_letter(
    store: HarmedStore, plan: Plan, error: type[StoreError]
) -> None:
    def fail() -> None:
        raise error("write", "away")

    store.race = fail
    records = as_partitions(make_events(5), 1)[0]
    with pytest.raises(error):
        fold_of(plan, store).fold(TOPIC, {0: records})


def test_the_comparison_notices_a_lost_event(store: OnlineStore, plan: Plan) -> None:
    events = make_events(30)
    fold_of(plan, store).fold(TOPIC, {0: as_partitions(events[:-1], 1)[0]})
    with pytest.raises(AssertionError):
        assert_store_holds(store, plan, batch_states(plan, events))
