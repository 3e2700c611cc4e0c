"""Gathering the events of the offline store, and of a history before the log, in the order of their arrival."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reprise.archive import Coverage, OfflineStore, prepend_history, write_events
from reprise.backfill.covered import Covered
from reprise.store.watermarks import Watermarks


@dataclass(frozen=True)
class Gathered:
    """Events in one file, as they arrived, and which records of the log they are."""

    path: Path
    covered: Covered


def gather(
    store: OfflineStore,
    folder: Path,
    *,
    history: Path | None = None,
    memory_limit: str = "3GiB",
    advance: Callable[[int], None] | None = None,
) -> Gathered:
    """Write the archived events, duplicates included, to a Parquet file in the order of their arrival.

    Args:
        store: The offline store.
        folder: Where to write the file.
        history: Canonical Parquet of what happened before the log began; it arrived before everything else.
        memory_limit: What DuckDB may hold before it spills.
        advance: Called with the number of records read since the last call.

    Raises:
        EmptyStoreError: The store has no event.
        MissingRecordsError: The store lacks records before others that it has.
        OfflineStoreError: The store is damaged, or could not be read.
    """
    arrivals = folder / "arrivals.parquet"
    archived = write_events(store, arrivals, order="arrival", memory_limit=memory_limit, advance=advance)
    covered = Covered(
        _watermarks(archived.newest),
        {found.topic_id: _watermarks(found) for found in archived.incarnations[:-1]},
    )
    if history is None:
        return Gathered(arrivals, covered)
    both = folder / "history-and-arrivals.parquet"
    prepend_history(history, arrivals, both, memory_limit)
    return Gathered(both, covered)


def _watermarks(coverage: Coverage) -> Watermarks:
    return Watermarks(coverage.topic_id, coverage.last_offsets)
