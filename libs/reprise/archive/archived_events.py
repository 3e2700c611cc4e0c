"""Reads archived events: every record once, duplicates of an event resolved as the stream resolves them.

The stream keeps the record of an ``event_id`` that arrives first. Arrival is the running maximum of log timestamps in
the partition, without those in the future, so it is monotonic even if clocks differ. Records are in the order of
(arrival, partition, offset).

Events of canaries (``reprise doctor``) are left out: training, outcomes and backfill are about the shop's users alone.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from reprise import sql
from reprise.archive.exceptions import EmptyStoreError, MissingRecordsError, SegmentGoneError
from reprise.archive.layout import Coverage
from reprise.archive.offline_store import OfflineStore
from reprise.archive.records import EVENT_RECORD_SCHEMA
from reprise.event_files.schema import EVENT_SCHEMA
from reprise.events.event import CANARY_PREFIX, ERA_US, MAX_AMOUNT, MAX_CLOCK_SKEW_SECONDS
from reprise.log import EVENTS
from reprise.runtime.exceptions import RepriseError
from reprise.runtime.files import atomic_write

_ATTEMPTS = 5
# with the number of a record's incarnation of the topic, from the oldest, and when it arrived
_ARRIVALS = pa.schema(
    [
        *EVENT_RECORD_SCHEMA,
        pa.field("incarnation", pa.int32(), nullable=False),
        pa.field("arrival", pa.timestamp("ms", tz="UTC"), nullable=False),
    ]
)
_FIRST_OF_ITS_ID = (
    'row_number() OVER (PARTITION BY event_id ORDER BY incarnation, arrival, partition, "offset") = 1'
)
# archives of earlier versions have events beyond the contract
_VALID = f"""
    problem IS NULL AND NOT starts_with(user_id, '{CANARY_PREFIX}') AND coalesce(amount, 0) <= {MAX_AMOUNT!r}
    AND epoch_us("timestamp") >= {ERA_US[0]}
    AND "timestamp" <= log_timestamp + INTERVAL {MAX_CLOCK_SKEW_SECONDS:.0f} SECONDS
"""
_SELECTS = {
    "canonical": f"""
        SELECT {", ".join(EVENT_SCHEMA.names)} FROM archived WHERE {_VALID} QUALIFY {_FIRST_OF_ITS_ID}
        ORDER BY "timestamp", {sql.event_key()}, event_id
    """,
    "arrival": f"""
        SELECT * EXCLUDE (problem, raw) FROM archived WHERE {_VALID}
        ORDER BY incarnation, arrival, partition, "offset"
    """,
}

Order = Literal["canonical", "arrival"]
"""The order of the records; neither has canaries.

- ``canonical``: the canonical table of events. Each ``event_id`` is there once, as it arrived first.
- ``arrival``: every valid record in order of arrival, duplicates included, with its partition and offset.
"""


@dataclass(frozen=True)
class ArchivedEvents:
    """What was read: the number of events written, that of all records including invalid ones and duplicates, and the
    coverage of each incarnation of the topic, the oldest first.
    """

    events: int
    records: int
    incarnations: tuple[Coverage, ...]

    @property
    def newest(self) -> Coverage:
        """The newest incarnation of the topic."""
        return self.incarnations[-1]


# a compaction may replace a segment after it was listed
@retry(retry=retry_if_exception_type(SegmentGoneError), stop=stop_after_attempt(_ATTEMPTS), reraise=True)
def write_events(
    store: OfflineStore,
    path: Path,
    *,
    order: Order = "canonical",
    topic_id: bytes | None = None,
    whole: bool = True,
    memory_limit: str = sql.MEMORY_LIMIT,
    advance: Callable[[int], object] = lambda _: None,
) -> ArchivedEvents:
    """Write the archived events, of all incarnations of the topic or of one, to a Parquet file, which is replaced.

    ``memory_limit`` is DuckDB's before it spills to disk. ``advance`` is called with the number of records read since
    the last call.

    Raises:
        EmptyStoreError: The store has no event.
        MissingRecordsError: Records are missing, and ``whole`` is set.
        CorruptSegmentError: A segment does not match its name.
        StorageUnavailableError: The storage failed.
    """
    incarnations = _incarnations(store, topic_id, whole=whole)
    failures: list[RepriseError] = []
    counts: list[int] = []

    def count(records: int) -> None:
        counts.append(records)
        advance(records)

    arrivals = _arrivals(store, incarnations, count, failures)
    with (
        TemporaryDirectory(prefix="reprise-offline-") as spill,
        sql.connect(memory_limit=memory_limit, temp_directory=Path(spill)) as connection,
        atomic_write(path) as incoming,
    ):
        connection.register("archived", pa.RecordBatchReader.from_batches(_ARRIVALS, arrivals))
        try:
            events = sql.copy_to_parquet(connection, _SELECTS[order], incoming)
        except duckdb.Error as error:
            # DuckDB has only the text of an error of its source
            if failures:
                raise failures[0] from error
            raise
        store.require_same_erasures()
    return ArchivedEvents(events, sum(counts), incarnations)


def events_dataset(
    store: OfflineStore,
    *,
    topic_id: bytes | None = None,
    whole: bool = True,
    memory_limit: str = sql.MEMORY_LIMIT,
) -> pa.Table:
    """Return the archived events as the canonical table, each ``event_id`` once, in canonical order.

    The arguments and errors are those of ``write_events``, which writes the same table to a file.
    """
    with TemporaryDirectory(prefix="reprise-offline-") as folder:
        path = Path(folder) / "events.parquet"
        write_events(store, path, topic_id=topic_id, whole=whole, memory_limit=memory_limit)
        return pq.read_table(path).cast(EVENT_SCHEMA)


def prepend_history(history: Path, arrivals: Path, path: Path, memory_limit: str) -> None:
    """Write one Parquet file of a canonical history from before the log, then of what ``write_events`` wrote.

    The history's ``incarnation`` and ``arrival`` will be null. DuckDB spills to the folder of the file.
    """
    query = f"""
        SELECT * FROM read_parquet({sql.literal(history)})
        UNION ALL BY NAME SELECT * FROM read_parquet({sql.literal(arrivals)})
        ORDER BY incarnation NULLS FIRST, arrival, partition, "offset"
    """
    with sql.connect(memory_limit=memory_limit, temp_directory=path.parent / "spill") as connection:
        sql.copy_to_parquet(connection, query, path)


def _arrivals(
    store: OfflineStore,
    incarnations: Sequence[Coverage],
    advance: Callable[[int], object],
    failures: list[RepriseError],
) -> Iterator[pa.RecordBatch]:
    """Yield the records of all incarnations with their arrival; keeps the error that ends the iteration."""
    now_ms = time.time_ns() // 1_000_000
    try:
        for number, coverage in enumerate(incarnations):
            for parts in coverage.parts.values():
                arrived = np.iinfo(np.int64).min
                for batch in (batch for part in parts for batch in store.read(part)):
                    stamps = batch.column("log_timestamp").cast(pa.int64()).to_numpy()
                    # a writer's clock may be in the future, and outcomes are complete until the newest arrival
                    stamps = np.where(stamps > now_ms, 0, stamps)
                    arrivals = np.maximum(np.maximum.accumulate(stamps), arrived)
                    arrived = arrivals[-1]
                    numbers = pa.array(np.full(len(arrivals), number, np.int32))
                    arrival = pa.array(arrivals).cast(_ARRIVALS.field("arrival").type)
                    yield pa.RecordBatch.from_arrays([*batch.columns, numbers, arrival], schema=_ARRIVALS)
                    advance(batch.num_rows)
    except RepriseError as error:
        failures.append(error)
        raise


def _incarnations(store: OfflineStore, topic_id: bytes | None, *, whole: bool) -> tuple[Coverage, ...]:
    found = [c for c in store.coverage(EVENTS.name) if topic_id is None or c.topic_id == topic_id]
    if not found:
        raise EmptyStoreError(f"{store.url} has no record of {EVENTS.name}")
    gaps = [str(gap) for coverage in found for gap in coverage.gaps]
    if gaps and whole:
        raise MissingRecordsError(EVENTS.name, gaps)
    if len(found) > 1:
        found.sort(key=lambda coverage: _begins(store, coverage))
    return tuple(found)


def _begins(store: OfflineStore, coverage: Coverage) -> int:
    firsts = (next(iter(store.read(parts[0]))) for parts in coverage.parts.values())
    first: int = min(batch.column("log_timestamp").cast(pa.int64())[0].as_py() for batch in firsts)
    return first
