"""What the offline store's events leave in the online store, and the stream going on from there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as changed
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event as StopEvent
from typing import Any

import pyarrow.parquet as pq
import pytest
from prometheus_client import CollectorRegistry

from reprise.archive import EmptyStoreError, MissingRecordsError, OfflineStore
from reprise.backfill.history import collect_history
from reprise.backfill.replaceable_store import ReplaceableStore
from reprise.backfill.state_writer import BackfillError, BackfillReport, backfill
from reprise.events import ArrivalWindow, Event
from reprise.features.plan import Plan
from reprise.log import Record
from reprise.materializer.batch_fold import BatchFold
from reprise.materializer.metrics import MaterializerMetrics
from reprise.store.feast.codec import ViewCodec
from reprise.store.online_store import GuardedWrite
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
    refuse_none,
)
from support.redis import RedisServer

PARTITIONS = 3
PLAN = Plan.load(PLAN_FILE)
WINDOW = timedelta(days=36_500)  # the history is of long ago

pytestmark = pytest.mark.redis

Partitions = Mapping[int, Sequence[Record]]


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


@dataclass(frozen=True)
class World:
    """An archive in a folder, and an online store."""

    store: ReplaceableStore
    folder: Path

    @property
    def offline(self) -> OfflineStore:
        return OfflineStore(str(self.folder / "offline"))

    def archive(self, partitions: Partitions, topic_id: bytes = TOPIC_ID) -> None:
        log = MemoryLog(partitions, topic_id)
        worker, _ = archive_worker(log, self.folder / "offline", chunk=50)
        worker.run_until_idle(StopEvent(), 0.01)

    def fill(
        self, *, history: Path | None = None, replace: bool = False, store: Any = None
    ) -> BackfillReport:
        """Backfill from the archive."""
        with TemporaryDirectory(dir=self.folder) as work:
            collected = collect_history(self.offline, Path(work), before_log=history)
            store = store or self.store
            return backfill(collected, PLAN, store, PROJECT, duplicate_window=WINDOW, replace=replace)

    def stream(self, partitions: Partitions, topic_id: bytes = TOPIC_ID) -> dict[str, float]:
        """Fold all records from offset 0, and return how many events had which outcome."""
        metrics = MaterializerMetrics(CollectorRegistry())
        fold = BatchFold(
            PLAN, self.store, PROJECT, metrics, timedelta(days=1), ArrivalWindow(300.0), refuse_none
        )
        for partition, records in partitions.items():
            for at in range(0, len(records), 29):
                fold.fold(topic_id, {partition: records[at : at + 29]})
        outcomes = ("folded", "replayed", "duplicate")
        return {name: metrics.events.labels(name)._value.get() for name in outcomes}

    def assert_holds(self, events: Sequence[Event]) -> None:
        assert assert_store_holds(self.store, PLAN, batch_states(PLAN, events)) > 500

    def user_watermarks(self) -> Watermarks:
        codec = ViewCodec(PROJECT, PLAN.user.view)
        [row] = self.store.read([(codec, codec.key("u1"))])
        return Watermarks.parse(row.watermarks, TOPIC_ID)


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    kind = getattr(request, "param", "redis")
    server = request.getfixturevalue("redis_server" if kind == "redis" else "redis_cluster")
    with ReplaceableStore.connect(server.settings()) as connected:
        yield World(connected, tmp_path)


@pytest.mark.parametrize(
    ("world", "part"),
    [
        ("redis", 0.0),
        ("redis", 0.5),
        ("redis", 1.0),
        pytest.param("redis_cluster", 0.5, marks=pytest.mark.soak),
    ],
    indirect=["world"],
)
def test_the_stream_goes_on_from_the_archive_with_no_gap_and_nothing_twice(world: World, part: float) -> None:
    events = make_events(400)
    partitions = logged(events)
    archived = until(partitions, part)
    count = sum(map(len, archived.values()))
    if part:
        world.archive(archived)
        report = world.fill()
        assert report.events == report.claimed_ids == count
    assert world.stream(partitions) == {"folded": 400 - count, "replayed": count, "duplicate": 0}
    world.assert_holds(events)


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

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def write_guarded(self, writes: Sequence[GuardedWrite]) -> list[bool]:
        if self._left == 0:
            raise StoppedError
        self._left -= 1
        return self._store.write_guarded(writes)


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_backfill_that_was_stopped_is_finished_by_the_next(world: World, writes: int) -> None:
    events = make_events(150)
    world.archive(logged(events))
    with pytest.raises(StoppedError):
        world.fill(store=StoppingStore(world.store, writes))
    world.fill()
    world.assert_holds(events)


def test_a_state_that_is_ahead_is_refused_and_left_as_it_is(world: World, redis_server: RedisServer) -> None:
    partitions = logged(make_events(200))
    world.stream(partitions)
    before = everything(redis_server)
    world.archive(until(partitions, 0.5))
    with pytest.raises(BackfillError, match=r"rows of user_state .*offset \d+ of partition \d.*--replace"):
        world.fill()
    assert everything(redis_server) == before


@pytest.mark.parametrize("world", ["redis", "redis_cluster"], indirect=True)
def test_replace_takes_a_state_back_and_the_stream_brings_it_forward_again(world: World) -> None:
    events = make_events(200)
    partitions = logged(events)
    world.stream(partitions)
    world.archive(until(partitions, 0.3))
    assert world.fill(replace=True).removed > 0
    world.stream(partitions)
    world.assert_holds(events)


def test_replace_leaves_the_rows_of_another_project_alone(world: World) -> None:
    other = ViewCodec(f"other-{PROJECT}", PLAN.user.view)
    row = GuardedWrite(other, other.key("u1"), None, PLAN.user.empty, b"theirs", 1)
    assert world.store.write_guarded([row]) == [True]
    world.archive(logged(make_events(60)))
    world.fill(replace=True)
    assert world.store.read([(other, row.key)])[0].watermarks == b"theirs"


def test_a_state_behind_the_archive_is_brought_forward(world: World) -> None:
    events = make_events(200)
    partitions = logged(events)
    world.stream(until(partitions, 0.4))
    world.archive(partitions)
    world.fill()
    world.assert_holds(events)


def test_an_archive_that_lacks_records_is_refused_by_name(world: World, redis_server: RedisServer) -> None:
    world.archive(logged(make_events(200)))
    root = world.folder / "offline"
    (root / sorted(path for path in files_under(root) if "/p00001-" in path)[1]).unlink()
    with pytest.raises(MissingRecordsError, match=r"ecommerce-events .*partition 1, offsets \d+ to \d+"):
        world.fill()
    assert everything(redis_server) == {}


def test_an_empty_archive_is_refused(world: World) -> None:
    with pytest.raises(EmptyStoreError, match="has no record of ecommerce-events"):
        world.fill()


def test_a_duplicate_that_comes_after_the_archive_is_dropped(world: World) -> None:
    events = make_events(100)
    partitions = logged([*events, *(changed(event, product_id="another") for event in events[90:])])
    counts = {partition: len(records) for partition, records in logged(events).items()}
    world.archive({partition: partitions[partition][:count] for partition, count in counts.items()})
    world.fill()
    rest = {partition: partitions[partition][count:] for partition, count in counts.items()}
    assert world.stream(rest) == {"folded": 0, "replayed": 0, "duplicate": 10}
    world.assert_holds(events)


def test_duplicates_in_the_archive_are_resolved_as_the_stream_resolves_them(
    world: World, redis_server: RedisServer
) -> None:
    events = make_events(80)
    # earlier by their own timestamps, and of other products, but appended later
    late = [
        changed(e, product_id="late", timestamp_us=e.timestamp_us - 90 * 86_400_000_000) for e in events[::7]
    ]
    partitions = logged([*events, *late])
    world.archive(partitions)
    world.fill()
    world.assert_holds(events)
    redis_server.flush()
    assert world.stream(partitions)["duplicate"] == len(late)
    world.assert_holds(events)


def test_the_history_before_the_log_and_the_archive_add_up(world: World) -> None:
    events = make_events(300)
    history = world.folder / "history.parquet"
    pq.write_table(event_table(events[:100]), history)
    partitions = logged(events[100:])
    world.archive(until(partitions, 0.6))
    world.fill(history=history)
    world.stream(partitions)
    world.assert_holds(events)


def test_a_topic_that_was_made_anew_goes_on_after_the_old_one(world: World) -> None:
    first, second = make_events(100, seed=1), make_events(100, seed=2)
    later = {
        partition: [record._replace(timestamp_ms=record.timestamp_ms + 10**9) for record in records]
        for partition, records in logged(second).items()
    }
    old, new = b"\xff" * 16, b"\x01" * 16
    world.stream(logged(first), old)
    world.archive(logged(first), old)
    world.archive(until(later, 0.5), new)
    world.fill()
    world.stream(later, new)
    world.assert_holds([*first, *second])


def test_rows_name_the_last_archived_offset_of_every_partition_broken_records_included(world: World) -> None:
    events = make_events(60)
    partitions = logged(events)
    last = partitions[0][-1]
    partitions[0].append(last._replace(offset=last.offset + 1, value=b"broken"))
    world.archive(partitions)
    assert world.fill().events == 60
    expected = {partition: len(records) - 1 for partition, records in partitions.items()}
    assert world.user_watermarks().offsets == expected
    world.assert_holds(events)
