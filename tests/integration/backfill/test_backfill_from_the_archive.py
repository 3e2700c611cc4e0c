"""What the offline store's events leave in the online store, and the stream going on from there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace as changed
from datetime import timedelta
from pathlib import Path
from threading import Event as StopEvent

import numpy as np
import pyarrow.parquet as pq
import pytest
from prometheus_client import CollectorRegistry

from reprise.archive import EmptyStoreError, MissingRecordsError, OfflineStore
from reprise.backfill.exceptions import StateAheadError
from reprise.backfill.history import collect_history
from reprise.backfill.replaceable_store import ReplaceableStore
from reprise.backfill.state_writer import BackfillReport, backfill
from reprise.events import Event, encode_event
from reprise.features.plan import Plan
from reprise.log import Record
from reprise.materializer.batch_fold import BatchFold
from reprise.materializer.metrics import MaterializerMetrics
from reprise.store.feast.codec import ViewCodec
from reprise.store.online_store import GuardedWrite
from reprise.store.settings import OnlineStoreSettings
from reprise.store.watermarks import Watermarks
from support.archived import START_MS, TOPIC_ID, MemoryLog, archive_worker, files_under
from support.histories import (
    PLAN_FILE,
    PROJECT,
    as_partitions,
    assert_store_holds,
    batch_states,
    event_table,
    make_events,
)
from support.redis import RedisServer

PARTITIONS = 3
WINDOW = timedelta(days=36_500)  # the history is of long ago

pytestmark = pytest.mark.redis

Partitions = Mapping[int, Sequence[Record]]


ON_BOTH = pytest.mark.parametrize("store", ["redis", "redis_cluster"], indirect=True)


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Iterator[ReplaceableStore]:
    kind = getattr(request, "param", "redis")
    server = request.getfixturevalue("redis_server" if kind == "redis" else "redis_cluster")
    settings = OnlineStoreSettings(redis_host=server.host, redis_port=server.port, redis_type=kind)
    with ReplaceableStore.connect(settings) as connected:
        yield connected


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan.load(PLAN_FILE)


def logged(events: Sequence[Event]) -> dict[int, list[Record]]:
    """The events as records, each appended a second after the one before."""
    instants = {event.event_id: START_MS + at * 1_000 for at, event in reversed(list(enumerate(events)))}
    return {
        partition: [record._replace(timestamp_ms=instants[event_id_of(record)]) for record in records]
        for partition, records in as_partitions(events, PARTITIONS).items()
    }


def event_id_of(record: Record) -> str:
    return record.value.split(b'"event_id":"')[1].split(b'"')[0].decode()


def until(partitions: Partitions, part: float) -> dict[int, list[Record]]:
    """The first records of each partition."""
    return {partition: list(records[: int(len(records) * part)]) for partition, records in partitions.items()}


def archive(partitions: Partitions, root: Path, topic_id: bytes = TOPIC_ID) -> OfflineStore:
    worker, _ = archive_worker(MemoryLog(partitions, topic_id), root, chunk=50)
    worker.run_until_idle(StopEvent(), 0.01)
    return OfflineStore(str(root))


def fill(
    offline: OfflineStore, plan: Plan, store: ReplaceableStore, folder: Path, **options: object
) -> BackfillReport:
    history = options.pop("history", None)
    folder.mkdir(exist_ok=True)
    collected = collect_history(offline, folder, before_log=history)  # type: ignore[arg-type]
    return backfill(
        collected.path,
        plan,
        store,
        PROJECT,
        included=collected.included,
        duplicate_window=WINDOW,
        **options,  # type: ignore[arg-type]
    )


def stream(
    store: ReplaceableStore, plan: Plan, partitions: Partitions, topic_id: bytes = TOPIC_ID
) -> BatchFold:
    """Fold all records from offset 0, and return what folded them."""
    fold = BatchFold(plan, store, PROJECT, MaterializerMetrics(CollectorRegistry()), timedelta(days=1))
    for partition, records in partitions.items():
        for at in range(0, len(records), 29):
            fold.fold(topic_id, {partition: records[at : at + 29]})
    return fold


def outcome(fold: BatchFold, name: str) -> float:
    return fold._metrics.events.labels(name)._value.get()


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
@ON_BOTH
def test_the_stream_goes_on_from_the_archive_with_no_gap_and_nothing_twice(
    store: ReplaceableStore, plan: Plan, tmp_path: Path, part: float
) -> None:
    events = make_events(400)
    partitions = logged(events)
    archived = until(partitions, part)
    if part:
        report = fill(archive(archived, tmp_path / "offline"), plan, store, tmp_path / "work")
        assert report.events == report.claimed_ids == sum(map(len, archived.values()))
    fold = stream(store, plan, partitions)
    assert outcome(fold, "folded") == 400 - sum(map(len, archived.values()))
    assert assert_store_holds(store, plan, batch_states(plan, events)) > 500


def test_a_store_that_was_lost_is_as_the_stream_had_left_it(
    store: ReplaceableStore, plan: Plan, tmp_path: Path, redis_server: RedisServer
) -> None:
    events = make_events(300)
    partitions = logged(events)
    stream(store, plan, partitions)
    streamed = contents(store, plan, events)
    redis_server.flush()
    fill(archive(partitions, tmp_path / "offline"), plan, store, tmp_path / "work")
    restored = contents(store, plan, events)
    assert restored.keys() == streamed.keys()
    for key, (state, timestamp) in streamed.items():
        # merged in another order, sums may differ in their last bits; central moments keep fewer of them
        np.testing.assert_allclose(restored[key][0], state, rtol=1e-9, atol=1e-6)
        assert restored[key][1] == timestamp


def contents(
    store: ReplaceableStore, plan: Plan, events: Sequence[Event]
) -> dict[bytes, tuple[list[float], int | None]]:
    found = {}
    for entity, states in zip(plan.entities, batch_states(plan, events).values(), strict=True):
        codec = ViewCodec(PROJECT, entity.view)
        keys = [codec.key(*ids) for ids in states]
        for key, row in zip(keys, store.read([(codec, key) for key in keys]), strict=True):
            state = [np.nan if value is None else float(value) for value in row.state]
            found[key] = (state, row.event_timestamp_us)
    return found


def test_a_second_backfill_changes_no_more_than_the_last_bits_of_sums(
    store: ReplaceableStore, plan: Plan, tmp_path: Path, redis_server: RedisServer
) -> None:
    events = make_events(120)
    offline = archive(logged(events), tmp_path / "offline")
    fill(offline, plan, store, tmp_path / "one")
    first = everything(redis_server)
    fill(offline, plan, store, tmp_path / "two")
    assert everything(redis_server).keys() == first.keys()
    assert_store_holds(store, plan, batch_states(plan, events))


def everything(server: RedisServer) -> dict[bytes, object]:
    with server.client() as client:
        return {
            key: client.hgetall(key) if client.type(key) == b"hash" else client.get(key)
            for key in client.scan_iter()
        }


class StoppedError(Exception):
    """The backfill was stopped."""


class StoppingStore:
    """Is stopped before a round trip of writes."""

    def __init__(self, store: ReplaceableStore, writes: int) -> None:
        self._store = store
        self._left = writes
        self.read = store.read
        self.claim_event_ids = store.claim_event_ids
        self.replication_ids, self.wait_for_replicas = store.replication_ids, store.wait_for_replicas

    def write_guarded(self, writes: Sequence[GuardedWrite]) -> list[bool]:
        if self._left == 0:
            raise StoppedError
        self._left -= 1
        return self._store.write_guarded(writes)


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_backfill_that_was_stopped_is_finished_by_the_next(
    store: ReplaceableStore, plan: Plan, tmp_path: Path, writes: int
) -> None:
    events = make_events(150)
    offline = archive(logged(events), tmp_path / "offline")
    with pytest.raises(StoppedError):
        fill(offline, plan, StoppingStore(store, writes), tmp_path / "one")  # type: ignore[arg-type]
    fill(offline, plan, store, tmp_path / "two")
    assert_store_holds(store, plan, batch_states(plan, events))


def test_a_state_that_is_ahead_is_refused_and_left_as_it_is(
    store: ReplaceableStore, plan: Plan, tmp_path: Path, redis_server: RedisServer
) -> None:
    events = make_events(200)
    partitions = logged(events)
    stream(store, plan, partitions)
    before = everything(redis_server)
    offline = archive(until(partitions, 0.5), tmp_path / "offline")
    with pytest.raises(StateAheadError, match=r"rows of user_state .*offset \d+ of partition \d.*--replace"):
        fill(offline, plan, store, tmp_path / "one")
    assert everything(redis_server) == before


@ON_BOTH
def test_replace_takes_a_state_back_and_the_stream_brings_it_forward_again(
    store: ReplaceableStore, plan: Plan, tmp_path: Path
) -> None:
    events = make_events(200)
    partitions = logged(events)
    stream(store, plan, partitions)
    half = until(partitions, 0.3)
    report = fill(archive(half, tmp_path / "offline"), plan, store, tmp_path / "work", replace=True)
    assert report.removed > 0
    stream(store, plan, partitions)
    assert_store_holds(store, plan, batch_states(plan, events))


def test_replace_leaves_the_rows_of_another_project_alone(
    store: ReplaceableStore, plan: Plan, tmp_path: Path, redis_server: RedisServer
) -> None:
    other = ViewCodec(f"other-{PROJECT}", plan.user.view)
    row = GuardedWrite(other, other.key("u1"), None, plan.user.empty, b"theirs", 1)
    assert store.write_guarded([row]) == [True]
    offline = archive(logged(make_events(60)), tmp_path / "offline")
    fill(offline, plan, store, tmp_path / "work", replace=True)
    assert store.read([(other, row.key)])[0].watermarks == b"theirs"


def test_a_state_behind_the_archive_is_brought_forward(
    store: ReplaceableStore, plan: Plan, tmp_path: Path
) -> None:
    events = make_events(200)
    partitions = logged(events)
    stream(store, plan, until(partitions, 0.4))
    fill(archive(partitions, tmp_path / "offline"), plan, store, tmp_path / "work")
    assert_store_holds(store, plan, batch_states(plan, events))


def test_an_archive_that_lacks_records_is_refused_by_name(
    store: ReplaceableStore, plan: Plan, tmp_path: Path, redis_server: RedisServer
) -> None:
    offline = archive(logged(make_events(200)), tmp_path / "offline")
    name = sorted(path for path in files_under(tmp_path / "offline") if "/p00001-" in path)[1]
    (tmp_path / "offline" / name).unlink()
    with pytest.raises(MissingRecordsError, match=r"ecommerce-events .*partition 1, offsets \d+ to \d+"):
        fill(offline, plan, store, tmp_path / "work")
    assert everything(redis_server) == {}


def test_an_empty_archive_is_refused(store: ReplaceableStore, plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(EmptyStoreError, match="has no record of ecommerce-events"):
        fill(OfflineStore(str(tmp_path / "offline")), plan, store, tmp_path / "work")


def test_a_duplicate_that_comes_after_the_archive_is_dropped(
    store: ReplaceableStore, plan: Plan, tmp_path: Path
) -> None:
    events = make_events(100)
    repeated = [*events, *(changed(event, product_id="another") for event in events[90:])]
    partitions = logged(repeated)
    counts = {partition: len(records) for partition, records in logged(events).items()}
    archived = {partition: partitions[partition][:count] for partition, count in counts.items()}
    fill(archive(archived, tmp_path / "offline"), plan, store, tmp_path / "work")
    rest = {partition: partitions[partition][count:] for partition, count in counts.items()}
    fold = stream(store, plan, rest)
    assert (outcome(fold, "folded"), outcome(fold, "duplicate")) == (0, 10)
    assert_store_holds(store, plan, batch_states(plan, events))


def test_duplicates_in_the_archive_are_resolved_as_the_stream_resolves_them(
    store: ReplaceableStore, plan: Plan, tmp_path: Path, redis_server: RedisServer
) -> None:
    events = make_events(80)
    # earlier by their own timestamps, and of other products, but appended later
    late = [
        changed(e, product_id="late", timestamp_us=e.timestamp_us - 90 * 86_400_000_000) for e in events[::7]
    ]
    partitions = logged([*events, *late])
    fill(archive(partitions, tmp_path / "offline"), plan, store, tmp_path / "work")
    assert_store_holds(store, plan, batch_states(plan, events))
    redis_server.flush()
    assert outcome(stream(store, plan, partitions), "duplicate") == len(late)
    assert_store_holds(store, plan, batch_states(plan, events))


def test_an_event_of_the_last_stretch_that_is_read_again_is_no_duplicate(
    store: ReplaceableStore, plan: Plan, tmp_path: Path
) -> None:
    events = make_events(100)
    partitions = logged(events)
    fill(archive(partitions, tmp_path / "offline"), plan, store, tmp_path / "work")
    fold = stream(store, plan, partitions)
    assert (outcome(fold, "replayed"), outcome(fold, "duplicate")) == (100, 0)


def test_the_history_before_the_log_and_the_archive_add_up(
    store: ReplaceableStore, plan: Plan, tmp_path: Path
) -> None:
    events = make_events(300)
    pq.write_table(event_table(events[:100]), tmp_path / "history.parquet")
    partitions = logged(events[100:])
    offline = archive(until(partitions, 0.6), tmp_path / "offline")
    fill(offline, plan, store, tmp_path / "work", history=tmp_path / "history.parquet")
    stream(store, plan, partitions)
    assert_store_holds(store, plan, batch_states(plan, events))


def test_a_topic_that_was_made_anew_goes_on_after_the_old_one(
    store: ReplaceableStore, plan: Plan, tmp_path: Path
) -> None:
    first, second = make_events(100, seed=1), make_events(100, seed=2)
    later = {
        partition: [record._replace(timestamp_ms=record.timestamp_ms + 10**9) for record in records]
        for partition, records in logged(second).items()
    }
    old, new = b"\xff" * 16, b"\x01" * 16
    stream(store, plan, logged(first), old)
    archive(logged(first), tmp_path / "offline", old)
    offline = archive(until(later, 0.5), tmp_path / "offline", new)
    fill(offline, plan, store, tmp_path / "work")
    stream(store, plan, later, new)
    assert_store_holds(store, plan, batch_states(plan, [*first, *second]))


def test_rows_name_the_last_archived_offset_of_every_partition(
    store: ReplaceableStore, plan: Plan, tmp_path: Path
) -> None:
    partitions = logged(make_events(100))
    fill(archive(partitions, tmp_path / "offline"), plan, store, tmp_path / "work")
    codec = ViewCodec(PROJECT, plan.user.view)
    (row,) = store.read([(codec, codec.key("u1"))])
    expected = {partition: len(records) - 1 for partition, records in partitions.items()}
    assert Watermarks.parse(row.watermarks, TOPIC_ID).offsets == expected


def test_broken_records_are_covered_and_add_nothing(
    store: ReplaceableStore, plan: Plan, tmp_path: Path
) -> None:
    events = make_events(60)
    records = [Record(0, at, START_MS + at, b"k", encode_event(event)) for at, event in enumerate(events)]
    records += [Record(0, 60, START_MS + 60, b"k", b"broken")]
    report = fill(archive({0: records}, tmp_path / "offline"), plan, store, tmp_path / "work")
    assert report.events == 60
    codec = ViewCodec(PROJECT, plan.user.view)
    (row,) = store.read([(codec, codec.key("u1"))])
    assert Watermarks.parse(row.watermarks, TOPIC_ID).offsets == {0: 60}
    assert_store_holds(store, plan, batch_states(plan, events))
