"""The events to backfill from, in the order of arrival, and the log records that they include."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reprise import sql
from reprise.archive import OfflineStore, prepend_history, write_events
from reprise.store.watermarks import NO_TOPIC, Watermarks


@dataclass(frozen=True)
class History:
    """A Parquet file of events in the order of arrival, and the log records that it includes.

    ``watermarks`` are the last included offset of each partition of the newest topic, of no topic and empty if the
    events are no log records. ``earlier`` are those of earlier incarnations of the topic, by their ids.
    """

    path: Path
    watermarks: Watermarks = field(default_factory=lambda: Watermarks(NO_TOPIC))
    earlier: Mapping[bytes, Watermarks] = field(default_factory=dict)

    def describe_excess(self, row: bytes | None) -> str | None:
        """Return a record of a row's watermarks that is not included, for people; None if all are.

        Raises:
            CorruptWatermarksError: The bytes are no watermarks.
        """
        row_watermarks = Watermarks.parse(row)
        if row_watermarks.topic == NO_TOPIC:
            return None
        topics = {**self.earlier, self.watermarks.topic: self.watermarks}
        included = topics.get(row_watermarks.topic)
        if included is None:
            return f"records of the topic with the id {row_watermarks.topic.hex()}, of which none is included"
        position = row_watermarks.first_beyond(included)
        if position is None:
            return None
        last = included.offsets.get(position[0])
        known = "none is included" if last is None else f"{last:,} is the last included"
        return f"offset {position[1]:,} of partition {position[0]}, of which {known}"


def collect_history(
    store: OfflineStore,
    folder: Path,
    *,
    before_log: Path | None = None,
    memory_limit: str = sql.MEMORY_LIMIT,
    advance: Callable[[int], object] = lambda _: None,
) -> History:
    """Write the archived events, duplicates included, to a Parquet file.

    The events of ``before_log``, canonical Parquet, are from before the log began and come first. ``advance`` is called
    with the number of records read since the last call.

    Raises:
        EmptyStoreError: The store has no event.
        MissingRecordsError: Records are missing between others.
        OfflineStoreError: The store is damaged, or cannot be read.
    """
    path = folder / "arrivals.parquet"
    archived = write_events(store, path, order="arrival", memory_limit=memory_limit, advance=advance)
    *earlier, newest = (Watermarks(each.topic_id, each.last_offsets) for each in archived.incarnations)
    if before_log is not None:
        arrivals, path = path, folder / "history-and-arrivals.parquet"
        prepend_history(before_log, arrivals, path, memory_limit)
    return History(path, newest, {watermarks.topic: watermarks for watermarks in earlier})
