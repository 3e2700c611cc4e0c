"""Rows of erased users are gone from all that is read and written, whoever reads and writes meanwhile."""

import threading
import uuid
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reprise.archive import Erasure, OfflineStore, UserErasedError, compact, events_dataset, rewrite
from reprise.archive.records import archive_table
from reprise.events import Event, event_key
from reprise.events.erasure import ERASED_RECORD, ErasureRecord, decode_erasure, erased_event_id
from reprise.log import EVENTS, Record
from reprise.runtime.storage import LocalStorage
from reprise.sql import connect
from reprise.sql import event_key as event_key_sql
from support.archived import TOPIC_ID, CrashError, MemoryLog, archive_worker, event_records
from support.histories import make_events
from support.offline import put

USER = "secret-person"
ERASURE = Erasure(
    erasure_id="e1",
    user_id=USER,
    salt="00" * 32,
    topic_id=str(uuid.UUID(bytes=TOPIC_ID)),
    partition=0,
    offset=39,
)


def history(count: int = 60) -> list[Event]:
    return [
        replace(e, user_id=USER, event_id=f"{USER}-{e.event_id}") if e.user_id == "u3" else e
        for e in make_events(count, users=5)
    ]


def filled(storage: LocalStorage, size: int = 10) -> OfflineStore:
    store = OfflineStore("", storage=storage)
    records = event_records(0, history(), [at * 10 for at in range(60)])
    for at in range(0, 60, size):
        put(store, records[at : at + size])
    return store


def erase_files(store: OfflineStore) -> None:
    for segment in store.segments(EVENTS.name):
        if any(store.matching_rows(segment, [ERASURE])):
            rewrite(store, segment)


def erased_rows(root: Path) -> int:
    """The number of rows of the files that name the user, before the erasure."""
    tables = [pq.read_table(path) for path in root.rglob("*.parquet")]
    rows = [row for table in tables for row in table.to_pylist()]
    return sum(row["offset"] <= 39 and USER in str(row) for row in rows)


def test_readers_see_the_same_before_during_and_after_the_files_are_rewritten(tmp_path: Path) -> None:
    store = filled(LocalStorage(tmp_path))
    raw = events_dataset(store)
    store.put_erasure(ERASURE)
    before = events_dataset(store)
    rewrite(store, store.segments(EVENTS.name)[0])
    during = events_dataset(store)
    erase_files(store)
    store.complete_erasure("e1")
    assert before == during == events_dataset(store)
    assert erased_rows(tmp_path) == 0
    assert USER not in "".join(str(p.read_bytes()) for p in tmp_path.rglob("*.json"))
    # order, products, times and amounts stay, and so do the user's later events
    same = ["product_id", "event_type", "amount", "timestamp"]
    assert before.select(same) == raw.select(same)
    assert USER in before.column("user_id").to_pylist()
    pairs = {(r["user_id"], r["product_id"]) for r in before.to_pylist() if "erased" in r["user_id"]}
    assert len(pairs) == len({user for user, _ in pairs}) > 1


def test_erasure_that_begins_during_a_read_is_noticed(tmp_path: Path) -> None:
    store = filled(LocalStorage(tmp_path))
    store.coverage(EVENTS.name)
    store.put_erasure(ERASURE.model_copy(update={"topic_id": None}))
    store.require_same_erasures()
    store.put_erasure(ERASURE)
    with pytest.raises(UserErasedError):
        store.require_same_erasures()


class ErasedMeanwhile(LocalStorage):
    """A user is erased, from beginning to end, before the first merged file is there, or while its sources are read."""

    def __init__(self, root: Path, *, reading: bool = False, dies: bool = False) -> None:
        super().__init__(root)
        self._other: OfflineStore | None = filled(LocalStorage(root))
        self._reading = reading
        self._dies = dies

    def _erase(self) -> None:
        other, self._other = self._other, None
        if other is not None:
            other.put_erasure(ERASURE)
            erase_files(other)
            other.complete_erasure("e1")

    def open(self, path: str) -> IO[bytes]:
        if self._reading and "-00000000000000000050-" in path:
            self._erase()
        return super().open(path)

    def write(self, path: str, content: bytes | Path) -> None:
        self._erase()
        super().write(path, content)
        if self._dies:
            raise CrashError


def test_compaction_that_read_before_an_erasure_does_not_bring_the_user_back(tmp_path: Path) -> None:
    report = compact(
        OfflineStore("", storage=ErasedMeanwhile(tmp_path)), EVENTS.name, before=date(2026, 2, 2)
    )
    assert report.removed == 6
    assert erased_rows(tmp_path) == 0


def test_compaction_after_one_that_died_before_it_noticed_an_erasure_erases_the_user(tmp_path: Path) -> None:
    with pytest.raises(CrashError):
        compact(
            OfflineStore("", storage=ErasedMeanwhile(tmp_path, dies=True)),
            EVENTS.name,
            before=date(2026, 2, 2),
        )
    report = compact(OfflineStore(str(tmp_path)), EVENTS.name, before=date(2026, 2, 2))
    assert (report.written, report.removed) == (1, 6)
    assert erased_rows(tmp_path) == 0


def test_erasure_while_a_compaction_reads_is_noticed_before_the_merged_file_is_there(tmp_path: Path) -> None:
    storage = ErasedMeanwhile(tmp_path, reading=True, dies=True)
    with pytest.raises(CrashError):
        compact(OfflineStore("", storage=storage), EVENTS.name, before=date(2026, 2, 2))
    assert erased_rows(tmp_path) == 0


def test_archiver_that_reads_the_log_again_does_not_bring_the_user_back(tmp_path: Path) -> None:
    log = MemoryLog({0: event_records(0, history(), [at * 10 for at in range(60)])})

    def archive() -> None:
        log.committed[0] = 0
        worker, _ = archive_worker(log, tmp_path)
        worker.run_until_idle(threading.Event(), 0.01)

    archive()
    store = OfflineStore(str(tmp_path))
    store.put_erasure(ERASURE)
    erase_files(store)
    store.complete_erasure("e1")
    archive()
    assert erased_rows(tmp_path) == 0
    compact(store, EVENTS.name, before=date(2026, 2, 2))
    archive()
    assert erased_rows(tmp_path) == 0
    assert store.coverage(EVENTS.name)[0].records == 60


def test_archiver_that_reads_again_what_the_store_holds_in_part_does_not_bring_the_user_back(
    tmp_path: Path,
) -> None:
    records = event_records(0, history(), [0] * 60)
    log = MemoryLog({0: records[:40]})

    def archive() -> None:
        worker, _ = archive_worker(log, tmp_path, records=1_000)
        worker.run_until_idle(threading.Event(), 0.01)

    store = OfflineStore(str(tmp_path))
    put(store, records[:10])
    log.committed[0] = 10
    archive()
    store.put_erasure(ERASURE)
    erase_files(store)
    store.complete_erasure("e1")
    log.records[0], log.committed[0] = records, 5
    archive()
    found = sorted((each.first, each.last) for each in store.segments(EVENTS.name))
    assert found == [(0, 9), (10, 39), (40, 59)]
    assert erased_rows(tmp_path) == 0


@pytest.mark.parametrize(
    ("first", "last", "written"),
    [
        (0, 59, []),
        (5, 34, []),
        (10, 19, []),
        (55, 60, [(60, 60)]),
        (60, 61, [(60, 61)]),
        (15, 71, [(60, 71)]),
    ],
)
@pytest.mark.parametrize("gap", [False, True])
def test_offsets_that_segments_hold_are_not_written_again(
    tmp_path: Path, first: int, last: int, written: list[tuple[int, int]], gap: bool
) -> None:
    store = filled(LocalStorage(tmp_path))
    held = sorted(store.segments(EVENTS.name), key=lambda each: each.first)
    if gap:
        store.remove(held.pop(2))
        written = [(max(20, first), min(29, last))] * (first <= 29 and last >= 20) + written
    records = event_records(0, make_events(72), [0] * 72)[first : last + 1]
    segment = replace(held[0], first=first, last=last)
    size = store.write_absent(segment, archive_table(EVENTS.name, TOPIC_ID, records))
    found = set(store.segments(EVENTS.name)) - set(held)
    assert sorted((each.first, each.last) for each in found) == written
    assert size == sum((tmp_path / each.path).stat().st_size for each in found)


@pytest.mark.parametrize("value", [ErasureRecord("e1", USER).to_bytes(), ERASED_RECORD])
def test_record_of_an_erasure_is_archived_without_the_user(value: bytes) -> None:
    (row,) = archive_table(EVENTS.name, TOPIC_ID, [Record(0, 7, 0, b"k", value)]).to_pylist()
    assert (row["offset"], row["problem"], row["raw"]) == (7, "erased", None)


def test_order_of_an_erased_event_is_that_of_the_event_in_python_and_sql() -> None:
    ids = ["e1", f"{USER}-7", "reprise-erased-", "reprise-erased-0123-x"]
    ids += [erased_event_id(b"salt", each) for each in ids]
    assert [event_key(each) for each in ids[4:]] == [event_key(each) for each in ids[:4]]
    with connect() as connection:
        connection.register("ids", pa.table({"event_id": ids}))
        found = connection.execute(f"SELECT {event_key_sql()} FROM ids").fetchall()
    assert [key for (key,) in found] == [event_key(each) for each in ids]


@pytest.mark.parametrize(
    "other", [b'{"erasure_id":1,"user_id":"u"}', b'{"erasure_id":"e"}', b'{"erasure_id":', b"{}", b"\xff"]
)
def test_only_whole_records_of_an_erasure_are_read(other: bytes) -> None:
    record = ErasureRecord("e", "u")
    assert decode_erasure(record.to_bytes()) == record
    assert decode_erasure(other) is None
