"""Reading archived events: the canonical table, each event once, the one that the stream kept."""

from collections.abc import Container
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reprise.archive import (
    CorruptSegmentError,
    EmptyStoreError,
    MissingRecordsError,
    OfflineStore,
    Segment,
    SegmentGoneError,
    archive_table,
    compact,
    events_dataset,
    log_date,
    rewrite,
    write_events,
)
from reprise.event_files.schema import EVENT_SCHEMA
from reprise.events import CANARY_PREFIX, ArrivalWindow, Event, encode_event, event_key
from reprise.log import EVENTS, Record
from reprise.runtime.storage import LocalStorage
from support.archived import START_MS, TOPIC_ID, event_records
from support.histories import event_table, make_events
from support.offline import put


def canonical(events: list[Event]) -> pa.Table:
    return event_table(sorted(events, key=lambda e: (e.timestamp_us, event_key(e.event_id)))).cast(
        EVENT_SCHEMA
    )


def test_events_come_back_canonical_as_they_were_appended(tmp_path: Path) -> None:
    store = OfflineStore(str(tmp_path))
    events = make_events(120)
    for partition in range(3):
        own = events[partition::3]
        put(store, event_records(partition, own, range(len(own))))
    table = events_dataset(store)
    assert table.schema == EVENT_SCHEMA
    assert table.equals(canonical(events))


@pytest.mark.parametrize(("kept", "expected"), [({"a", "c"}, '{"a":{"b":[1,"ü"]}}'), ((), None)])
def test_archive_has_named_other_fields_alone_whoever_wrote_to_the_log(
    kept: Container[str], expected: str | None
) -> None:
    written = replace(make_events(1)[0], metadata={"a": {"b": [1, "ü"]}, "email": "someone@example.com"})
    table = archive_table(EVENTS.name, TOPIC_ID, event_records(0, [written], [0]), kept_fields=kept)
    assert table.column("metadata").to_pylist() == [expected]


def test_archive_has_an_event_without_metadata_that_grow_too_large_when_written() -> None:
    (event,) = make_events(1)
    (record,) = event_records(0, [replace(event, metadata={"many": []})], [0])
    grown = record._replace(value=record.value.replace(b"[]", b"[%s1]" % (b"1e15," * 12_000)))
    table = archive_table(EVENTS.name, TOPIC_ID, [grown], kept_fields={"many"})
    assert table.select(["event_id", "metadata", "problem"]).to_pylist() == [
        {"event_id": event.event_id, "metadata": None, "problem": None}
    ]


def test_archive_tells_who_posted_an_event_and_reads_segments_from_before_it_did(tmp_path: Path) -> None:
    store = OfflineStore(str(tmp_path / "store"))
    before, after = make_events(4)[:2], [replace(event, posted_by="key:shop") for event in make_events(4)[2:]]
    records = event_records(0, [*before, *after], range(4))
    segment = put(store, records[:2])
    put(store, records[2:])
    path = store.storage.location(segment.path)
    pq.write_table(pq.read_table(path).drop_columns(["posted_by"]), path)
    for _ in range(2):
        write_events(store, tmp_path / "arrivals.parquet", order="arrival")
        arrivals = pq.read_table(tmp_path / "arrivals.parquet")
        assert arrivals.column("posted_by").to_pylist() == [None, None, "key:shop", "key:shop"]
        assert events_dataset(store).equals(canonical(make_events(4)))
        compact(store, EVENTS.name, before=date(2999, 1, 1))
    assert len(store.segments(EVENTS.name)) == 1


def test_columns_of_later_versions_are_left_out_and_survive_what_would_rewrite_them(tmp_path: Path) -> None:
    store = OfflineStore(str(tmp_path))
    events = make_events(4)
    records = event_records(0, events, range(4))
    later, _ = put(store, records[:2]), put(store, records[2:])
    path = store.storage.location(later.path)
    table = pq.read_table(path)
    pq.write_table(table.add_column(3, "channel", pa.array(["web", "shop"])), path)
    assert events_dataset(store).equals(canonical(events))
    for change in (
        lambda: compact(store, EVENTS.name, before=date(2999, 1, 1)),
        lambda: rewrite(store, later),
    ):
        with pytest.raises(CorruptSegmentError, match="other columns"):
            change()
    assert pq.read_table(path).column("channel").to_pylist() == ["web", "shop"]
    pq.write_table(table.drop_columns(["amount"]), path)
    with pytest.raises(CorruptSegmentError, match="other columns"):
        events_dataset(store)


def test_canaries_stay_in_the_archive_and_are_left_out_of_what_is_read(tmp_path: Path) -> None:
    store = OfflineStore(str(tmp_path / "store"))
    events = make_events(20)
    canary = replace(events[7], event_id="c", user_id=f"{CANARY_PREFIX}user-1")
    put(store, event_records(0, [*events[:10], canary, *events[10:]], range(21)))
    assert events_dataset(store).equals(canonical(events))
    archived = write_events(store, tmp_path / "arrivals.parquet", order="arrival")
    assert (archived.events, archived.records) == (20, 21)
    assert 10 not in pq.read_table(tmp_path / "arrivals.parquet").column("offset").to_pylist()
    assert archived.newest.records == 21


def one(product: str, partition: int, offset: int, log_ms: int, happened_us: int = 1) -> Record:
    event = Event("same", "u", product, "view", START_MS * 1000 + happened_us)
    return Record(partition, offset, START_MS + log_ms, b"u", encode_event(event))


def kept(store: OfflineStore) -> list[str]:
    return events_dataset(store).column("product_id").to_pylist()


def test_of_duplicates_in_a_partition_the_lowest_offset_is_kept_whatever_the_clocks_said(
    tmp_path: Path,
) -> None:
    store = OfflineStore(str(tmp_path))
    put(store, [one("first", 0, 0, 500, happened_us=9), one("second", 0, 1, 100, happened_us=1)])
    assert kept(store) == ["first"]


def test_of_duplicates_in_two_partitions_the_one_that_arrived_first_is_kept(tmp_path: Path) -> None:
    store = OfflineStore(str(tmp_path))
    put(store, [one("late", 0, 0, 500)])
    put(store, [one("early", 1, 0, 400)])
    assert kept(store) == ["early"]


def test_a_record_arrives_no_earlier_than_the_one_before_it(tmp_path: Path) -> None:
    store = OfflineStore(str(tmp_path))
    (other,) = event_records(0, make_events(1), [900])
    put(store, [other])
    put(store, [one("stamped early, appended late", 0, 1, 100)])
    put(store, [one("early", 1, 0, 400)])
    assert "early" in kept(store)
    assert "stamped early, appended late" not in kept(store)


def test_of_several_incarnations_the_older_comes_first_and_one_can_be_chosen(tmp_path: Path) -> None:
    store = OfflineStore(str(tmp_path))
    old, new = b"\xff" * 16, bytes(16)
    put(store, [one("old", 0, 0, 0)], old)
    put(store, [one("new", 0, 0, 10_000)], new)
    assert kept(store) == ["old"]
    assert events_dataset(store, topic_id=new).column("product_id").to_pylist() == ["new"]
    report = write_events(store, tmp_path / "events.parquet")
    assert [coverage.topic_id for coverage in report.incarnations] == [old, new]
    assert report.newest.topic_id == new


def test_arrival_order_has_duplicates_and_places(tmp_path: Path) -> None:
    store = OfflineStore(str(tmp_path))
    put(store, [one("b", 0, 0, 500), one("c", 0, 1, 100)])
    put(store, [one("a", 1, 0, 400)])
    report = write_events(store, tmp_path / "arrivals.parquet", order="arrival")
    table = pq.read_table(tmp_path / "arrivals.parquet")
    assert table.column("product_id").to_pylist() == ["a", "b", "c"]
    assert table.column("offset").to_pylist() == [0, 0, 1]
    assert (report.events, report.records) == (3, 3)


def test_a_writers_clock_in_the_future_does_not_move_the_newest_arrival(tmp_path: Path) -> None:
    store, decade_ms = OfflineStore(str(tmp_path)), 10 * 365 * 86_400_000
    put(store, [one("a", 0, 0, 100), one("b", 0, 1, decade_ms), one("c", 0, 2, 500)])
    write_events(store, tmp_path / "arrivals.parquet", order="arrival")
    arrivals = pq.read_table(tmp_path / "arrivals.parquet").column("arrival").cast(pa.timestamp("ms", "UTC"))
    assert [each - START_MS for each in arrivals.cast(pa.int64()).to_pylist()] == [100, 100, 500]


def test_broken_records_are_counted_and_left_out(tmp_path: Path) -> None:
    store = OfflineStore(str(tmp_path))
    put(store, [one("a", 0, 0, 0), Record(0, 1, START_MS, b"", b"broken")])
    report = write_events(store, tmp_path / "events.parquet")
    assert (report.events, report.records) == (1, 2)


def test_events_outside_the_window_are_rejected_and_those_of_earlier_versions_left_out(
    tmp_path: Path,
) -> None:
    store = OfflineStore(str(tmp_path))
    day_us = 86_400_000_000
    skew_us = [299_000_000, 301_000_000, 0, 0, -10 * day_us, -10 * day_us - 1]
    products = ["soon", "early", "large", "next year", "ten days old", "older"]
    records = [one(p, 0, at, 0, skew_us[at]) for at, p in enumerate(products)]
    records = [r._replace(value=r.value.replace(b'"same"', b'"%d"' % at)) for at, r in enumerate(records)]
    table = archive_table(EVENTS.name, TOPIC_ID, records, ArrivalWindow(300.0, 10))
    rejected = [at for at, problem in enumerate(table.column("problem").to_pylist()) if problem]
    assert [products[at] for at in rejected] == ["early", "older"]
    rows = table.to_pylist()
    rows[2]["amount"] = 1e308
    rows[3]["timestamp"] += timedelta(days=365)
    segment = Segment(EVENTS.name, TOPIC_ID, log_date(START_MS), 0, 0, 5)
    store.write(segment, pa.Table.from_pylist(rows, table.schema))
    assert kept(store) == ["ten days old", "soon"]


def test_missing_records_are_refused_unless_told_otherwise(tmp_path: Path) -> None:
    store = OfflineStore(str(tmp_path))
    put(store, [one("a", 0, 4, 0)])
    with pytest.raises(MissingRecordsError, match="partition 0, offsets 0 to 3"):
        events_dataset(store)
    assert len(events_dataset(store, whole=False)) == 1


def test_missing_records_that_were_accepted_are_not_refused_but_later_ones_are(tmp_path: Path) -> None:
    store = OfflineStore(str(tmp_path))
    put(store, [one("a", 0, 4, 0)])
    (coverage,) = store.coverage(EVENTS.name)
    [gap] = coverage.gaps
    store.accept(EVENTS.name, coverage.topic_id, gap)
    assert len(events_dataset(store)) == 1
    (coverage,) = store.coverage(EVENTS.name)
    assert (coverage.gaps, coverage.accepted) == ((), (gap,))
    put(store, [one("b", 0, 9, 1)])
    with pytest.raises(MissingRecordsError, match=r"partition 0, offsets 5 to 8.*--accept-holes"):
        events_dataset(store)


def test_an_empty_store_says_so(tmp_path: Path) -> None:
    with pytest.raises(EmptyStoreError, match=str(tmp_path)):
        events_dataset(OfflineStore(str(tmp_path)))


class CompactedMeanwhile(LocalStorage):
    """Compacts the store just before the second segment is opened."""

    def __init__(self, root: Path, times: int = 1) -> None:
        super().__init__(root)
        self._root_path = root
        self.opened = 0
        self.left = times

    def open(self, path: str) -> IO[bytes]:
        self.opened += 1
        if self.left and self.opened > 1:
            self.left -= 1
            compact(OfflineStore(str(self._root_path)), EVENTS.name, before=date(2100, 1, 1))
        return super().open(path)


def test_a_compaction_meanwhile_is_read_around(tmp_path: Path) -> None:
    events = make_events(30)
    records = event_records(0, events, range(30))
    for at in range(0, 30, 10):
        put(OfflineStore(str(tmp_path)), records[at : at + 10])
    storage = CompactedMeanwhile(tmp_path)
    assert events_dataset(OfflineStore(str(tmp_path), storage=storage)).equals(canonical(events))
    assert storage.left == 0


class AlwaysGone(LocalStorage):
    def open(self, path: str) -> IO[bytes]:
        raise FileNotFoundError(path)


def test_a_segment_that_stays_away_is_named_in_the_end(tmp_path: Path) -> None:
    put(OfflineStore(str(tmp_path)), event_records(0, make_events(3), range(3)))
    with pytest.raises(SegmentGoneError, match="p00000"):
        events_dataset(OfflineStore(str(tmp_path), storage=AlwaysGone(tmp_path)))


def test_any_file_system_of_fsspec_will_do() -> None:
    store = OfflineStore("memory://offline-reading-test/deep")
    events = make_events(20)
    put(store, event_records(0, events[:10], range(10)))
    put(store, [r._replace(offset=r.offset + 10) for r in event_records(0, events[10:], range(10))])
    assert events_dataset(store).equals(canonical(events))
    compact(store, EVENTS.name, before=date(2100, 1, 1))
    assert len(store.segments(EVENTS.name)) == 1
    assert events_dataset(store).equals(canonical(events))
