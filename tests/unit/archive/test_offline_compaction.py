"""Compaction makes large files of small ones, and readers never see a record twice or not at all."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reprise.archive import CorruptSegmentError, OfflineStore, compact, expire
from reprise.log import EVENTS, PREDICTIONS, Record
from reprise.runtime.storage import LocalStorage
from support.archived import Boundaries, CrashError, CrashingStorage, event_records, files_under
from support.histories import make_events
from support.offline import put

AFTER = date(2026, 2, 2)


def records_of(count: int = 60) -> list[Record]:
    return event_records(0, make_events(count), [at * 10 for at in range(count)])


def put_pieces(store: OfflineStore, records: Sequence[Record], size: int) -> None:
    for at in range(0, len(records), size):
        put(store, records[at : at + size])


def rows(store: OfflineStore, topic: str = EVENTS.name) -> list[dict[str, object]]:
    (coverage,) = store.coverage(topic)
    assert not coverage.gaps
    batches = [b for parts in coverage.parts.values() for part in parts for b in store.read(part)]
    return pa.Table.from_batches(batches).to_pylist()


def spans(store: OfflineStore) -> list[tuple[int, int]]:
    return sorted((s.first, s.last) for s in store.segments(EVENTS.name))


def test_small_segments_become_one_with_the_same_rows(tmp_path: Path) -> None:
    store = OfflineStore(str(tmp_path))
    put_pieces(store, records_of(), 7)
    before = rows(store)
    report = compact(store, EVENTS.name, before=AFTER)
    assert (report.written, report.removed) == (1, 9)
    assert spans(store) == [(0, 59)]
    assert rows(store) == before
    (path,) = tmp_path.rglob("*.parquet")
    assert pq.ParquetFile(path).num_row_groups == 1


def test_compacting_again_changes_nothing(tmp_path: Path) -> None:
    store = OfflineStore(str(tmp_path))
    put_pieces(store, records_of(), 7)
    compact(store, EVENTS.name, before=AFTER, max_records=20)
    files = files_under(tmp_path)
    assert len(files) > 2
    report = compact(store, EVENTS.name, before=AFTER, max_records=20)
    assert (report.written, report.removed) == (0, 0)
    assert files_under(tmp_path) == files


def test_a_day_that_is_not_settled_is_left_as_it_is(tmp_path: Path) -> None:
    store = OfflineStore(str(tmp_path))
    put_pieces(store, records_of(), 7)
    report = compact(store, EVENTS.name, before=date(2026, 2, 1))
    assert (report.written, report.removed) == (0, 0)


def test_days_and_partitions_are_compacted_apart(tmp_path: Path) -> None:
    store = OfflineStore(str(tmp_path))
    for partition in (0, 1):
        events = make_events(20, seed=partition)
        instants = [0] * 10 + [86_400_000] * 10
        put_pieces(store, event_records(partition, events, instants), 5)
    compact(store, EVENTS.name, before=date(2026, 2, 3))
    found = sorted((s.date.day, s.partition, s.first, s.last) for s in store.segments(EVENTS.name))
    assert found == [(1, 0, 0, 9), (1, 1, 0, 9), (2, 0, 10, 19), (2, 1, 10, 19)]


def test_a_hole_is_not_closed(tmp_path: Path) -> None:
    store = OfflineStore(str(tmp_path))
    records = records_of(30)
    put_pieces(store, records[:10], 5)
    put_pieces(store, records[15:], 5)
    compact(store, EVENTS.name, before=AFTER)
    assert spans(store) == [(0, 9), (15, 29)]


def test_dying_at_every_boundary_shows_every_record_once_and_the_next_run_finishes(tmp_path: Path) -> None:
    undisturbed = OfflineStore(str(tmp_path / "undisturbed"))
    put_pieces(undisturbed, records_of(), 7)
    expected_rows = rows(undisturbed)
    compact(undisturbed, EVENTS.name, before=AFTER, max_records=30)
    expected = files_under(tmp_path / "undisturbed")
    dies_at = 0
    while True:
        root = tmp_path / str(dies_at)
        store = OfflineStore(str(root))
        put_pieces(store, records_of(), 7)
        crashing = CrashingStorage(LocalStorage(root), Boundaries(dies_at))
        try:
            compact(OfflineStore(str(root), storage=crashing), EVENTS.name, before=AFTER, max_records=30)
        except CrashError:
            assert rows(store) == expected_rows
            compact(store, EVENTS.name, before=AFTER, max_records=30)
            assert files_under(root) == expected
        else:
            break
        dies_at += 1
    assert dies_at == 2 * (2 + 8)  # the last piece is as long as a segment may be with what precedes it


def test_segments_that_overlap_become_one_that_has_every_record_once(tmp_path: Path) -> None:
    store = OfflineStore(str(tmp_path))
    records = records_of(30)
    put(store, records[:12])
    put(store, records[8:20])
    put(store, records[10:15])
    put(store, records[20:])
    before = rows(store)
    assert len(before) == 30
    compact(store, EVENTS.name, before=AFTER)
    assert spans(store) == [(0, 29)]
    assert rows(store) == before


def test_a_damaged_segment_is_named_and_nothing_is_removed(tmp_path: Path) -> None:
    store = OfflineStore(str(tmp_path))
    put_pieces(store, records_of(), 20)
    damaged = sorted(tmp_path.rglob("*.parquet"))[1]
    damaged.write_bytes(damaged.read_bytes()[:-30])
    with pytest.raises(CorruptSegmentError, match=damaged.name):
        compact(store, EVENTS.name, before=AFTER)
    assert len(store.segments(EVENTS.name)) == 3


def test_a_segment_that_holds_other_offsets_than_its_name_says_is_refused(tmp_path: Path) -> None:
    store = OfflineStore(str(tmp_path))
    put(store, records_of(10))
    (path,) = tmp_path.rglob("*.parquet")
    path.rename(path.with_name(path.name.replace("0009.parquet", "0010.parquet")))
    with pytest.raises(CorruptSegmentError, match=r"ends before offset 10"):
        rows(store)


def test_predictions_are_kept_as_they_are_with_the_ids_they_name(tmp_path: Path) -> None:
    store = OfflineStore(str(tmp_path))
    values = [b'{"user_id":"u1","product_id":"p1","probability":0.25}', b'{"user_id": 7}', b"[1]", b"\xff"]
    put(store, [Record(0, at, 0, b"u1", value) for at, value in enumerate(values)], topic=PREDICTIONS.name)
    found = rows(store, PREDICTIONS.name)
    assert [row["prediction"] for row in found] == [values[0].decode(), values[1].decode(), None, None]
    assert [(row["user_id"], row["product_id"]) for row in found[:2]] == [("u1", "p1"), (None, None)]
    assert [row["raw"] for row in found] == [None, None, b"[1]", b"\xff"]
    assert [row["problem"] is None for row in found] == [True, True, False, False]


def test_expired_days_become_an_accepted_gap_and_the_last_segment_stays(tmp_path: Path) -> None:
    store = OfflineStore(str(tmp_path))
    instants = [day * 86_400_000 for day in range(3) for _ in range(10)]
    put_pieces(store, event_records(0, make_events(30), instants), 5)
    assert expire(store, EVENTS.name, before=date(2026, 2, 1)) == 0
    for before, removed, first in ((2, 2, 10), (2, 0, 10), (3, 2, 20), (28, 1, 25), (28, 0, 25)):
        assert expire(store, EVENTS.name, before=date(2026, 2, before)) == removed
        (coverage,) = store.coverage(EVENTS.name)
        assert not coverage.gaps
        assert coverage.parts[0][0].first == first
        assert coverage.last_offsets == {0: 29}


def test_expiry_leaves_a_partition_whose_beginning_was_lost(tmp_path: Path) -> None:
    store = OfflineStore(str(tmp_path))
    put_pieces(store, records_of()[20:], 10)
    assert expire(store, EVENTS.name, before=date(2026, 3, 1)) == 0
    assert [str(gap) for c in store.coverage(EVENTS.name) for gap in c.gaps] == [
        "partition 0, offsets 0 to 19"
    ]
