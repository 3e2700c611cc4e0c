"""The archiver writes every record once, in files that do not depend on when it died."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from reprise.archive import OfflineStore, compact, write_events
from reprise.archiver.worker import Worker
from reprise.log import EVENTS, OffsetOutOfRangeError, Record
from reprise.runtime.storage import LocalStorage, StorageUnavailableError
from support.archived import (
    START_MS,
    TOPIC_ID,
    Boundaries,
    CrashError,
    MemoryLog,
    archive_worker,
    event_records,
    files_under,
)
from support.histories import make_events
from support.waiting import wait_until


def log_of(count: int = 110, partitions: int = 2, seed: int = 0) -> MemoryLog:
    """A log whose timestamps jump back and forth, cross windows and midnight, with broken records in it."""
    rng = np.random.default_rng(seed)
    events = make_events(count * partitions, seed=seed)
    records: dict[int, list[Record]] = {}
    for partition in range(partitions):
        instants = np.cumsum(rng.choice([0, 10, 900, 25_000], count)) + rng.integers(0, 800, count)
        instants[count // 2 :] += 86_400_000
        own = event_records(partition, events[partition * count : (partition + 1) * count], instants.tolist())
        for at in rng.choice(count, 5, replace=False):
            own[at] = own[at]._replace(value=b"broken \xff %d" % at)
        records[partition] = own
    return MemoryLog(records)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of ``log_of()`` by a worker that nothing disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    archive(log_of(), folder)
    return files_under(folder)


def archive(log: MemoryLog, root: Path, **options: object) -> None:
    worker, _ = archive_worker(log, root, **options)  # type: ignore[arg-type]
    worker.run_until_idle(threading.Event(), 0.01)


def steps(worker: Worker, count: int = 1) -> None:
    for _ in range(count):
        worker._step(threading.Event(), 0.01)


def rows(root: Path) -> list[dict[str, object]]:
    store = OfflineStore(str(root))
    (coverage,) = store.coverage(EVENTS.name)
    assert not coverage.gaps
    batches = [b for parts in coverage.parts.values() for part in parts for b in store.read(part)]
    return pa.Table.from_batches(batches).to_pylist()


def positions(found: Sequence[dict[str, object]]) -> list[tuple[object, object]]:
    return [(row["partition"], row["offset"]) for row in found]


@contextmanager
def in_a_thread(worker: Worker) -> Iterator[threading.Thread]:
    """Have the worker run, and tell it to stop in the end."""
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(5)
    assert not thread.is_alive()


def test_every_record_is_one_row_and_a_broken_one_keeps_its_bytes_and_the_reason(tmp_path: Path) -> None:
    log = log_of()
    archive(log, tmp_path)
    found = rows(tmp_path)
    expected = [record for records in log.records.values() for record in records]
    assert positions(found) == [(record.partition, record.offset) for record in expected]
    broken = [row for row in found if row["problem"] is not None]
    assert [row["raw"] for row in broken] == [r.value for r in expected if r.value.startswith(b"broken")]
    assert len(broken) == 10
    assert all("JSON" in str(row["problem"]) and row["event_id"] is None for row in broken)
    assert all(row["raw"] is None for row in found if row["problem"] is None)
    assert log.committed == {0: 110, 1: 110}
    days = {path.split("/")[2] for path in files_under(tmp_path)}
    assert days == {"date=2026-02-01", "date=2026-02-02"}, "those on which the records were appended"


def test_files_do_not_depend_on_how_records_come(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    archive(log_of(), tmp_path / "one", chunk=1)
    archive(log_of(), tmp_path / "many", chunk=64)
    assert files_under(tmp_path / "one") == files_under(tmp_path / "many") == undisturbed
    assert len(undisturbed) > 20


def test_dying_at_every_boundary_leaves_the_files_of_an_undisturbed_run(tmp_path: Path) -> None:
    whole = Boundaries()
    archive(log_of(30), tmp_path / "undisturbed", boundaries=whole)
    expected = files_under(tmp_path / "undisturbed")
    assert whole.passed == 4 * len(expected)
    for dies_at in range(whole.passed):
        log, root = log_of(30), tmp_path / f"died-{dies_at}"
        with pytest.raises(CrashError):
            archive(log, root, boundaries=Boundaries(dies_at))
        archive(log, root, chunk=13)
        assert files_under(root) == expected, dies_at
        assert log.committed == {0: 30, 1: 30}


def test_a_compaction_before_the_successor_of_a_dead_archiver_leaves_every_record_once(
    tmp_path: Path,
) -> None:
    whole = Boundaries()
    archive(log_of(6, 1), tmp_path / "undisturbed", boundaries=whole)
    for dies_at in range(0, whole.passed, 3):
        log, root = log_of(6, 1), tmp_path / f"died-{dies_at}"
        store = OfflineStore(str(root))
        with pytest.raises(CrashError):
            archive(log, root, boundaries=Boundaries(dies_at))
        compact(store, EVENTS.name, before=date(2027, 1, 1))
        archive(log, root, chunk=13)
        assert rows(root) == rows(tmp_path / "undisturbed"), dies_at
        compact(store, EVENTS.name, before=date(2027, 1, 1))
        assert rows(root) == rows(tmp_path / "undisturbed"), dies_at


def test_dying_again_and_again_leaves_the_files_of_an_undisturbed_run(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    rng = np.random.default_rng(1)
    log, root = log_of(), tmp_path / "disturbed"
    crashes = 0
    while log.committed != {0: 110, 1: 110}:
        try:
            archive(log, root, chunk=int(rng.integers(1, 50)), boundaries=Boundaries(int(rng.integers(0, 9))))
        except CrashError:
            crashes += 1
    assert crashes > 5
    assert files_under(root) == undisturbed


def test_segments_end_at_multiples_of_the_record_count_and_at_the_size(tmp_path: Path) -> None:
    records = event_records(0, make_events(100), [0] * 100)
    archive(MemoryLog({0: records}), tmp_path / "count", records=30)
    assert [s.last for s in segments(tmp_path / "count")] == [29, 59, 89, 99]
    size = sum(len(r.key) + len(r.value) for r in records[:10])
    archive(MemoryLog({0: records}), tmp_path / "size", records=1_000, size=size)
    assert segments(tmp_path / "size")[0].last == 9


def segments(root: Path) -> list[object]:
    return sorted(OfflineStore(str(root)).segments(EVENTS.name), key=lambda s: s.first)


def test_a_window_that_is_over_is_written_without_waiting_for_the_next_record(tmp_path: Path) -> None:
    log = MemoryLog({0: event_records(0, make_events(5), [0, 10, 20, 30, 40])})
    now = [START_MS + 60_000 + 900]
    worker, _ = archive_worker(log, tmp_path, now_ms=lambda: now[0])
    steps(worker)
    assert files_under(tmp_path) == {}  # the grace is not over
    oldest = "reprise_archiver_oldest_record_timestamp_seconds", {"topic": EVENTS.name}
    assert worker._metrics.registry.get_sample_value(*oldest) == START_MS / 1_000
    now[0] += 200
    steps(worker)
    assert log.committed == {0: 5}
    assert worker._metrics.registry.get_sample_value(*oldest) == 0


def test_a_window_is_not_ended_while_the_log_holds_more_of_it(tmp_path: Path) -> None:
    log = MemoryLog({0: event_records(0, make_events(18), [0] * 18)})
    worker, _ = archive_worker(log, tmp_path, chunk=4, now_ms=lambda: START_MS + 10**9)
    steps(worker)
    assert files_under(tmp_path) == {}
    steps(worker, 5)
    assert [(s.first, s.last) for s in segments(tmp_path)] == [(0, 17)]


def test_a_cut_that_was_made_by_the_clock_is_kept_by_a_replay_though_late_records_came(
    tmp_path: Path,
) -> None:
    records = event_records(0, make_events(8), [0] * 8)
    log = MemoryLog({0: records[:5]})
    dies_before_commit = Boundaries(2)
    worker, _ = archive_worker(log, tmp_path, boundaries=dies_before_commit, now_ms=lambda: START_MS + 10**9)
    with pytest.raises(CrashError):
        steps(worker)
    log.records[0] = records
    archive(log, tmp_path)
    assert [(s.first, s.last) for s in segments(tmp_path)] == [(0, 4), (5, 7)]
    assert positions(rows(tmp_path)) == [(0, offset) for offset in range(8)]


@pytest.mark.parametrize(("polls_between", "archived_by_another"), [(0, False), (2, False), (0, True)])
def test_a_partition_that_goes_and_comes_back_loses_nothing(
    tmp_path: Path, undisturbed: dict[str, bytes], polls_between: int, archived_by_another: bool
) -> None:
    log = log_of()
    worker, consumer = archive_worker(log, tmp_path / "moved")
    steps(worker, 4)
    assert consumer.positions()[0] > log.committed[0]
    consumer.lose(0)
    steps(worker, polls_between)
    if archived_by_another:
        archive(log, tmp_path / "moved")
    consumer.regain(0)
    worker.run_until_idle(threading.Event(), 0.01)
    assert files_under(tmp_path / "moved") == undisturbed
    assert worker._metrics.lost.labels(EVENTS.name)._value.get() == 0


def test_a_partition_that_stays_away_is_left_to_the_other(tmp_path: Path) -> None:
    log = log_of()
    worker, consumer = archive_worker(log, tmp_path, now_ms=lambda: START_MS + 10**9)
    steps(worker, 4)
    consumer.lose(0)
    before = {path for path in files_under(tmp_path) if "/p00000-" in path}
    worker.run_until_idle(threading.Event(), 0.01)
    assert {path for path in files_under(tmp_path) if "/p00000-" in path} == before
    assert log.committed[1] == 110


def test_a_zombie_writes_the_same_files_and_commits_nothing(tmp_path: Path) -> None:
    log = log_of()
    zombie, consumer = archive_worker(log, tmp_path / "both", chunk=19)
    steps(zombie)
    archive(log, tmp_path / "both")
    consumer._positions.clear()  # it does not know yet: nothing was told to its listener
    committed = dict(log.committed)
    for partition in list(zombie._open):
        zombie._finish(partition, threading.Event())
    assert log.committed == committed
    found = rows(tmp_path / "both")
    assert len(positions(found)) == len(set(positions(found))) == 220


class AwayStorage(LocalStorage):
    """Refuses to write a few times."""

    def __init__(self, root: Path, times: int) -> None:
        super().__init__(root)
        self.left = times

    def write(self, path: str, content: bytes | Path) -> None:
        if self.left:
            self.left -= 1
            raise StorageUnavailableError("write", self.location(path), "no route")
        super().write(path, content)


def test_a_store_that_is_away_is_waited_for(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    storage = AwayStorage(tmp_path / "away", 3)
    archive(log_of(), tmp_path / "away", storage=storage)
    assert storage.left == 0
    assert files_under(tmp_path / "away") == undisturbed


def test_a_worker_that_cannot_write_says_why_and_stops_when_told(tmp_path: Path) -> None:
    worker, _ = archive_worker(log_of(), tmp_path, storage=AwayStorage(tmp_path, 10**9))
    with in_a_thread(worker) as thread:
        while worker.problem is None or "no route" not in worker.problem:
            assert thread.is_alive()
    assert files_under(tmp_path) == {}


def test_offsets_that_the_log_has_lost_end_a_segment_and_are_counted(tmp_path: Path) -> None:
    records = event_records(0, make_events(20), [0] * 20)
    worker, _ = archive_worker(MemoryLog({0: records[:6] + records[9:]}), tmp_path)
    worker.run_until_idle(threading.Event(), 0.01)
    assert [(s.first, s.last) for s in segments(tmp_path)] == [(0, 5), (9, 19)]
    assert worker._metrics.lost.labels(EVENTS.name)._value.get() == 3
    (coverage,) = OfflineStore(str(tmp_path)).coverage(EVENTS.name)
    assert [str(gap) for gap in coverage.gaps] == ["partition 0, offsets 6 to 8"]
    assert coverage.topic_id == TOPIC_ID


def missing(worker: Worker) -> float:
    return float(worker._metrics.missing.labels(EVENTS.name)._value.get())


def sparse_log() -> MemoryLog:
    """A log with offsets that hold no record, also at its beginning and over a multiple of the record count."""
    places = [2, 3, 4, 6, 15, 16, 17, 25, 26, 28]
    records = event_records(0, make_events(10), [0] * 10)
    before = [-1, *places]
    return MemoryLog(
        {
            0: [
                record._replace(offset=place, absent=place - before[at] - 1)
                for at, (record, place) in enumerate(zip(records, places, strict=True))
            ]
        }
    )


def test_offsets_without_a_record_are_no_gap_however_records_come(tmp_path: Path) -> None:
    archive(sparse_log(), tmp_path / "whole", records=10)
    assert [(s.first, s.last) for s in segments(tmp_path / "whole")] == [(0, 6), (7, 17), (18, 28)]
    assert [row["offset"] for row in rows(tmp_path / "whole")] == [2, 3, 4, 6, 15, 16, 17, 25, 26, 28]
    for dies_at in range(12):
        log, root = sparse_log(), tmp_path / f"died-{dies_at}"
        with pytest.raises(CrashError):
            archive(log, root, records=10, chunk=1, boundaries=Boundaries(dies_at))
        archive(log, root, records=10)
        assert files_under(root) == files_under(tmp_path / "whole"), dies_at
    store = OfflineStore(str(tmp_path / "whole"))
    assert compact(store, EVENTS.name, before=date(2027, 1, 1)).written == 1
    report = write_events(store, tmp_path / "events.parquet")
    assert (report.events, report.records) == (10, 10)


def test_a_partition_whose_next_records_were_deleted_stands_still_and_the_others_go_on(
    tmp_path: Path,
) -> None:
    log = log_of()
    del log.records[0][:30]
    worker, _ = archive_worker(log, tmp_path)
    with in_a_thread(worker):
        wait_until("the other is archived", lambda: log.committed[1] >= 60, 10, every=0.001)
        wait_until("the gap is counted", lambda: missing(worker) == 30, 10, every=0.001)
    assert "partitions [0]" in (worker.problem or "")
    assert log.committed[0] == 0
    assert {s.partition for s in segments(tmp_path)} == {1}


def test_what_was_gathered_before_records_were_deleted_is_kept(tmp_path: Path) -> None:
    log = MemoryLog({0: event_records(0, make_events(40), [0] * 40)})
    worker, _ = archive_worker(log, tmp_path, records=1_000)
    steps(worker)
    gathered = worker._open[0].next_offset
    assert gathered
    assert log.committed == {0: 0}
    del log.records[0][:20]
    with in_a_thread(worker):
        wait_until("the gap is counted", lambda: missing(worker) == 20 - gathered, 10, every=0.001)
        wait_until("it is committed", lambda: log.committed[0] == gathered, 10, every=0.001)
    assert [(s.first, s.last) for s in segments(tmp_path)] == [(0, gathered - 1)]


def test_told_where_to_go_on_the_next_archiver_archives_what_there_is(tmp_path: Path) -> None:
    log = log_of()
    del log.records[0][:30]
    with pytest.raises(OffsetOutOfRangeError, match="partition 0 has no offset 0"):
        archive(log, tmp_path)
    log.committed[0] = 30
    worker, _ = archive_worker(log, tmp_path)
    worker.run_until_idle(threading.Event(), 0.01)
    assert log.committed == {0: 110, 1: 110}
    assert worker.problem is None
    assert missing(worker) == 0


def test_a_partition_that_ends_before_what_was_read_of_it_ends_the_worker(tmp_path: Path) -> None:
    log = log_of()
    worker, consumer = archive_worker(log, tmp_path)
    consumer.fails_with = OffsetOutOfRangeError("partition 0 ends at 110")
    with pytest.raises(OffsetOutOfRangeError, match="ends at 110"):
        worker.run(threading.Event())


def test_beside_a_partition_that_cannot_be_read_the_others_are_archived_to_their_end(tmp_path: Path) -> None:
    log = log_of()
    worker, consumer = archive_worker(log, tmp_path, records=1_000, now_ms=lambda: START_MS + 10**9)
    consumer.unreadable_from[0] = 25
    with in_a_thread(worker):
        wait_until("the other is archived", lambda: log.committed[1] == 110, 10, every=0.001)
        wait_until("the problem is named", lambda: worker.problem is not None, 10, every=0.001)
        wait_until("what was gathered is committed", lambda: log.committed[0] == 25, 10, every=0.001)
        assert "partition 0: offset 25 cannot be read" in (worker.problem or "")
    assert log.committed == {0: 25, 1: 110}
    found = positions(rows(tmp_path))
    assert found == [*((0, offset) for offset in range(25)), *((1, offset) for offset in range(110))]
