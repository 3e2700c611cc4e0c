"""Erases users, each at one position of the event log.

The record of the erasure in the log divides the user's events: the materializer removes the user's rows when it reads
it, and the archive loses the user's ids before it. Each step waits for the one before and can be repeated: a run that
was stopped is continued by the next, which need not name the users.
"""

import secrets
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.compute as pc
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from reprise import sql
from reprise.archive import Erasure, OfflineStore, Segment, SegmentGoneError, rewrite, write_events
from reprise.bundle import BundleStore, Digest
from reprise.events import InvalidEventError, decode_event, encode_event, parse_timestamp
from reprise.events.erasure import (
    ERASED_RECORD,
    ErasureRecord,
    decode_erasure,
    erased_event_id,
    erased_user_id,
)
from reprise.events.event import ERASED_PREFIX
from reprise.forget.settings import ForgetSettings
from reprise.log import (
    DEAD_LETTERS,
    EVENTS,
    PREDICTIONS,
    Record,
    Topic,
    acknowledged,
    open_consumer,
    open_producer,
)
from reprise.log.backend import describe_log, rewrite_records
from reprise.runtime.exceptions import RepriseError
from reprise.store.online_store import OnlineStore
from reprise.store.watermarks import log_position, parse_log_position

_ARCHIVED = (EVENTS, PREDICTIONS)
_POLL_SECONDS = 0.2
_POLLED_RECORDS = 1_000
_APPEND_SECONDS = 30.0


class UnfinishedError(RepriseError):
    """A step has to wait for a part of the platform; the next run continues."""


@dataclass(frozen=True)
class Forgotten:
    """A user that was erased, or would be."""

    rows: Mapping[str, int]  # Rows of the user in the archive, by topic
    models: Sequence[str]  # Digests of the bundles that were trained on events of the user's time


def preview(settings: ForgetSettings, user_ids: Sequence[str]) -> list[Forgotten]:
    """Return what would be erased from the archive; changes nothing.

    Raises:
        RepriseError: A store is unavailable.
    """
    store = OfflineStore(settings.offline_store)
    now = _now_ms()
    nowhere = str(uuid.UUID(int=0))
    erasures = [
        _new_erasure(user_id).model_copy(update={"topic_id": nowhere, "erased_at_ms": now})
        for user_id in dict.fromkeys(user_ids)
    ]
    counted = _survey(store, erasures)
    spans = _trained_spans(settings)
    return [_forgotten(spans, *counted[each.erasure_id]) for each in erasures]


def inactive_users(settings: ForgetSettings, age: timedelta) -> list[str]:
    """Return the users whose newest archived event was appended longer ago than ``age``.

    Raises:
        OfflineStoreError: There is no event, or the store cannot be read.
    """
    with TemporaryDirectory(prefix="reprise-forget-") as folder, sql.connect() as connection:
        path = Path(folder) / "arrivals.parquet"
        write_events(OfflineStore(settings.offline_store), path, order="arrival")
        found = connection.execute(
            f"""
            SELECT user_id FROM read_parquet({sql.literal(path)}) WHERE NOT starts_with(user_id, ?)
            GROUP BY user_id HAVING max(arrival) < ? ORDER BY user_id
            """,
            [ERASED_PREFIX, datetime.now(UTC) - age],
        ).fetchall()
    return [user_id for (user_id,) in found]


def forget(
    settings: ForgetSettings, user_ids: Sequence[str], report: Callable[[str], object] = lambda _: None
) -> list[Forgotten]:
    """Erase users, and those whose erasure was begun before; ``report`` is called with each step.

    Raises:
        UnfinishedError: The materializer or the archiver has not read the log far enough in time.
        RepriseError: A store or the log is unavailable.
    """
    store = OfflineStore(settings.offline_store)
    report(describe_log(settings))
    spans = _trained_spans(settings)
    pending = {each.user_id: each for each in store.erasures().values() if each is not None}
    for user_id in user_ids:
        if user_id not in pending:
            pending[user_id] = _new_erasure(user_id)
            store.put_erasure(pending[user_id])
    if not pending:
        return []
    with OnlineStore.connect(settings) as online:
        erasures = _erase_online(settings, store, online, list(pending.values()))
        report(f"{len(erasures)} users: features removed")
        wait_for_archive(settings, store)
        counted = _survey(store, erasures)
        for erasure, _ in counted.values():
            store.put_erasure(erasure)
        _erase_files(settings, store, online, erasures)
        _erase_late_rows(settings, online, erasures)
    for erasure in erasures:
        _erase_log(settings, erasure)
    forgotten = [_forgotten(spans, *each) for each in counted.values()]
    for erasure in erasures:
        store.complete_erasure(erasure.erasure_id)
    return forgotten


def describe_remains(settings: ForgetSettings, now: datetime) -> list[str]:
    """Return what is kept of an erased user, and until when, for people."""
    if settings.kafka_servers is None:
        return []
    return [
        f"{topic.name}: its records until {(now + topic.retention).date()}, unless its retention was changed"
        for topic in map(settings.declared, (EVENTS, PREDICTIONS, DEAD_LETTERS))
    ]


def _new_erasure(user_id: str) -> Erasure:
    return Erasure(erasure_id=uuid.uuid4().hex, user_id=user_id, salt=secrets.token_hex(32))


def _erase_online(
    settings: ForgetSettings, store: OfflineStore, online: OnlineStore, erasures: Sequence[Erasure]
) -> list[Erasure]:
    """Have the materializer remove the users' rows; return the erasures with their positions in the log."""
    fresh = [each for each in erasures if each.topic_id is None]
    unread = [each for each in fresh if online.erasure_position(each.erasure_id) is None]
    if unread:
        _append(settings, unread)
    deadline = time.monotonic() + settings.timeout.total_seconds()
    done = [each for each in erasures if each.topic_id is not None]
    for each in fresh:
        while (position := online.erasure_position(each.erasure_id)) is None:
            if time.monotonic() > deadline:
                raise UnfinishedError("the materializer has not read the erasure yet; run this again later")
            time.sleep(_POLL_SECONDS)
        topic, partition, offset = parse_log_position(position)
        now_ms = _now_ms()
        found = {"topic_id": str(uuid.UUID(bytes=topic)), "partition": partition, "offset": offset}
        done.append(each.model_copy(update={**found, "erased_at_ms": now_ms}))
        store.put_erasure(done[-1])
    # a prediction that was asked before knows the user, and is logged a little later
    until_ms = _now_ms() + settings.in_flight // timedelta(milliseconds=1)
    for at, each in enumerate(done):
        if each.predictions_until_ms is None:
            done[at] = each.model_copy(update={"predictions_until_ms": until_ms})
            store.put_erasure(done[at])
    time.sleep(max(0.0, max(each.predictions_until_ms or 0 for each in done) - _now_ms()) / 1_000)
    return done


def _erase_late_rows(settings: ForgetSettings, online: OnlineStore, erasures: Sequence[Erasure]) -> None:
    """Remove what a materializer that had lost its partition has written after the erasure."""
    if settings.kafka_servers is not None:
        session_over_ms = max(e.erased_at_ms for e in erasures) + int(settings.kafka_session_seconds * 1_000)
        time.sleep(max(0, session_over_ms - _now_ms()) / 1_000)
    positions = {
        e.user_id: log_position(uuid.UUID(e.topic_id).bytes, e.partition, e.offset)
        for e in erasures
        if e.topic_id is not None
    }
    replication_ids = online.replication_ids()
    online.erase_rows_before(positions)
    online.wait_for_replicas(replication_ids)


def _append(settings: ForgetSettings, erasures: Sequence[Erasure]) -> None:
    log = open_producer(settings)
    try:
        futures = [
            log.append(EVENTS.name, e.user_id.encode(), ErasureRecord(e.erasure_id, e.user_id).to_bytes())
            for e in erasures
        ]
        for future in futures:
            acknowledged(future, EVENTS.name, _APPEND_SECONDS)
    finally:
        log.close(_APPEND_SECONDS)


def wait_for_archive(settings: ForgetSettings, store: OfflineStore) -> None:
    """Wait until the archive has all records that the log has now.

    What the archive lacks is read once: the log's last offsets may be those of transaction markers.

    Raises:
        UnfinishedError: It has not in time.
    """
    deadline = time.monotonic() + settings.timeout.total_seconds()
    for topic in _ARCHIVED:
        with closing(open_consumer(settings, topic, settings.group)) as consumer:
            while len(consumer.assignment) < consumer.partitions:
                if time.monotonic() > deadline:
                    raise UnfinishedError(f"another consumer of the group {settings.group} is running")
                consumer.poll(1, _POLL_SECONDS)
            beginnings, ends = consumer.beginning_offsets(), consumer.end_offsets()
            topic_id = consumer.topic_id
            lasts = _last_offsets(store, topic, topic_id)
            consumer.seek({p: min(end, max(beginnings[p], lasts.get(p, -1) + 1)) for p, end in ends.items()})
            wanted: dict[int, int] = {}
            while any(consumer.positions().get(p, 0) < end for p, end in ends.items()):
                _require_time(deadline, topic)
                for partition, records in consumer.poll(_POLLED_RECORDS, _POLL_SECONDS).items():
                    wanted.update((partition, r.offset) for r in records if r.offset < ends[partition])
        while any(lasts.get(partition, -1) < offset for partition, offset in wanted.items()):
            _require_time(deadline, topic)
            time.sleep(_POLL_SECONDS)
            lasts = _last_offsets(store, topic, topic_id)


def _last_offsets(store: OfflineStore, topic: Topic, topic_id: bytes) -> Mapping[int, int]:
    return {c.topic_id: c.last_offsets for c in store.coverage(topic.name)}.get(topic_id, {})


def _require_time(deadline: float, topic: Topic) -> None:
    if time.monotonic() > deadline:
        raise UnfinishedError(
            f"the archiver has not written all records of {topic.name} yet; run this again later"
        )


@retry(retry=retry_if_exception_type(SegmentGoneError), stop=stop_after_attempt(5), reraise=True)
def _survey(store: OfflineStore, erasures: Sequence[Erasure]) -> dict[str, tuple[Erasure, dict[str, int]]]:
    """Return by id each erasure, with the times of the user's events, and the number of rows to erase by topic."""
    found = {each.erasure_id: (each, dict.fromkeys((t.name for t in _ARCHIVED), 0)) for each in erasures}
    for topic in _ARCHIVED:
        for segment in store.segments(topic.name):
            for each, rows in store.matching_rows(segment, erasures):
                erasure, counts = found[each.erasure_id]
                counts[topic.name] += rows.num_rows
                times = [erasure.first_us, erasure.last_us]
                if topic == EVENTS:
                    times += pc.min_max(rows.column("timestamp").cast(pa.int64())).as_py().values()
                known = [instant for instant in times if instant is not None]
                span = {"first_us": min(known, default=None), "last_us": max(known, default=None)}
                found[each.erasure_id] = erasure.model_copy(update=span), counts
    return found


def _erase_files(
    settings: ForgetSettings, store: OfflineStore, online: OnlineStore, erasures: Sequence[Erasure]
) -> None:
    """Rewrite segments until none has rows of the users."""
    recent_ms = _now_ms() - int(settings.duplicate_window_seconds * 1_000)
    for topic in _ARCHIVED:
        dirty, clean = True, set[Segment]()
        while dirty:
            dirty = False
            for segment in store.segments(topic.name):
                if segment in clean:
                    continue
                try:
                    matching = [rows for _, rows in store.matching_rows(segment, erasures)]
                    # sent again, such an event is the new user's: neither archive nor stream knows its id
                    for row in (row for rows in matching for row in rows.to_pylist()):
                        if row.get("event_id") and row["log_timestamp"].timestamp() * 1_000 >= recent_ms:
                            online.forget_event_id(row["event_id"])
                    if matching:
                        rewrite(store, segment)
                        dirty = True
                    clean.add(segment)
                except SegmentGoneError:
                    dirty = True


def _erase_log(settings: ForgetSettings, erasure: Erasure) -> None:
    """Erase the user's records from the embedded log; Kafka deletes its own by their age."""
    salt = bytes.fromhex(erasure.salt)

    def erased_event(record: Record) -> bytes | None:
        mark = decode_erasure(record.value)
        if mark is not None and mark.erasure_id == erasure.erasure_id:
            return ERASED_RECORD
        if record.partition == erasure.partition and record.offset > erasure.offset:
            return None
        try:
            event = decode_event(record.value)
        except InvalidEventError:
            return ERASED_RECORD
        user_id = erased_user_id(salt, event.user_id, event.product_id)
        return encode_event(replace(event, event_id=erased_event_id(salt, event.event_id), user_id=user_id))

    until_ms = erasure.predictions_until_ms or 0
    rewrites: list[tuple[Topic, Callable[[Record], bytes | None]]] = [
        (EVENTS, erased_event),
        (PREDICTIONS, lambda record: ERASED_RECORD if record.timestamp_ms <= until_ms else None),
        (DEAD_LETTERS, lambda record: ERASED_RECORD if record.timestamp_ms <= erasure.erased_at_ms else None),
    ]
    for topic, rewritten in rewrites:
        rewrite_records(settings, topic, erasure.user_id.encode(), rewritten)


def _trained_spans(settings: ForgetSettings) -> dict[Digest, tuple[int, int]]:
    """Return the times of the first and last event that each bundle was trained on."""
    store = BundleStore(settings.model_store)
    data = {digest: store.verify(digest).data for digest in store.digests()}
    return {
        digest: (parse_timestamp(each.first), parse_timestamp(each.last)) for digest, each in data.items()
    }


def _forgotten(
    spans: Mapping[Digest, tuple[int, int]], erasure: Erasure, rows: Mapping[str, int]
) -> Forgotten:
    if erasure.first_us is None or erasure.last_us is None:
        return Forgotten(rows, [])
    models = [
        d for d, (first, last) in spans.items() if first <= erasure.last_us and erasure.first_us <= last
    ]
    return Forgotten(rows, models)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
