"""What Feast materializes, the stream continues from; and what happens when both write."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from prometheus_client import CollectorRegistry
from redis.exceptions import NoPermissionError

from reprise.events import ArrivalWindow, Event
from reprise.features.executors.batch import BatchExecutor
from reprise.log import Record
from reprise.materializer.batch_fold import BatchFold
from reprise.materializer.metrics import MaterializerMetrics
from reprise.store.feast.codec import ViewCodec
from reprise.store.online_store import OnlineStore, StoredRow
from support.feast_repository import FeastRepository, with_positions
from support.histories import (
    PROJECT,
    as_partitions,
    assert_store_holds,
    batch_states,
    event_table,
    make_events,
    refuse_none,
)
from support.redis import RedisServer

pytestmark = [pytest.mark.feast, pytest.mark.redis]

TOPIC = uuid.UUID("6f1d0c0e-5a0b-4d7e-9c3f-0123456789ab")
DOCUMENT = Path(__file__).parents[3] / "docs/feast.md"
PARTITIONS = 3
BEGINNING, LATER = pd.Timestamp("1900-01-02", tz="UTC"), pd.Timestamp("2100-01-01", tz="UTC")


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[OnlineStore]:
    settings = redis_server.settings()
    with OnlineStore.connect(settings) as connected:
        yield connected


class Stream:
    """The materializer's fold, fed a history as the log carries it."""

    def __init__(self, repository: FeastRepository, store: OnlineStore) -> None:
        self._metrics = MaterializerMetrics(CollectorRegistry())
        window = timedelta(days=1)
        self._fold = BatchFold(
            repository.plan, store, PROJECT, self._metrics, window, ArrivalWindow(300.0), refuse_none
        )

    def fold(self, partitions: Mapping[int, Sequence[Record]], size: int = 41) -> None:
        for partition, records in partitions.items():
            for at in range(0, len(records), size):
                self._fold.fold(TOPIC.bytes, {partition: records[at : at + size]})

    def count(self, outcome: str) -> float:
        value: float = self._metrics.events.labels(outcome)._value.get()
        return value


@pytest.fixture
def stream(applied: FeastRepository, store: OnlineStore) -> Stream:
    return Stream(applied, store)


def archived(events: Sequence[Event]) -> pa.Table:
    """Events in the order of arrival with their places, as the archive has them."""
    partitions = [offset_partition(event.user_id) for event in events]
    places = [(here, partitions[:at].count(here)) for at, here in enumerate(partitions)]
    return with_positions(event_table(events), places, str(TOPIC))


def row_of(store: OnlineStore, repository: FeastRepository, entity: str, *ids: str) -> StoredRow:
    view = getattr(repository.plan, entity).view
    codec = ViewCodec(PROJECT, view)
    return store.read([(codec, codec.key(*ids))])[0]


def test_the_stream_continues_from_what_feast_materialized_of_the_archive(
    applied: FeastRepository, feast_store: Any, store: OnlineStore, stream: Stream
) -> None:
    events = make_events(400)
    log = [*events[:60], events[10], *events[60:]]  # the archive covers a repeated event, too
    applied.write_states(archived(log[:250]))
    feast_store.materialize(BEGINNING, LATER)
    assert_store_holds(store, applied.plan, batch_states(applied.plan, events[:249]))
    partitions = as_partitions(log, PARTITIONS)
    for _ in range(2):
        stream.fold(partitions)
    assert stream.count("folded") == 151
    assert (stream.count("replayed"), stream.count("duplicate")) == (249 + 400, 2)
    assert_store_holds(store, applied.plan, batch_states(applied.plan, events))


def test_a_new_topic_continues_from_what_feast_materialized_of_a_file(
    applied: FeastRepository, feast_store: Any, store: OnlineStore, stream: Stream
) -> None:
    history, later = make_events(200, seed=1), make_events(150, seed=2)
    applied.write_states(event_table(history))
    feast_store.materialize(BEGINNING, LATER)
    for _ in range(2):
        stream.fold(as_partitions(later, PARTITIONS))
    assert stream.count("folded") == 150
    assert_store_holds(store, applied.plan, batch_states(applied.plan, [*history, *later]))


def test_integers_too_large_for_a_double_survive_materializing(
    applied: FeastRepository, feast_store: Any, store: OnlineStore
) -> None:
    events = make_events(300, users=30)
    at = applied.plan.user.field_index["purchases_first_amount_key"]
    with BatchExecutor(applied.plan) as executor:
        executor.load_events(event_table(events))
        rows = [row for batch in executor.final_states("user") for row in batch.to_pylist()]
    expected = {row["user_id"]: row["purchases_first_amount_key"] for row in rows}
    assert any(key is not None and key != int(float(key)) for key in expected.values())
    assert any(key is None for key in expected.values())
    applied.write_states(event_table(events))
    feast_store.materialize(BEGINNING, LATER)
    assert {key: row_of(store, applied, "user", key).state[at] for key in expected} == expected


def test_materializing_behind_the_stream_changes_no_number_and_no_watermark(
    applied: FeastRepository, feast_store: Any, store: OnlineStore, stream: Stream
) -> None:
    events = make_events(300)
    partitions = as_partitions(events, PARTITIONS)
    stream.fold(partitions)
    applied.write_states(archived(events[:200]))
    feast_store.materialize(BEGINNING, LATER)
    assert_store_holds(store, applied.plan, batch_states(applied.plan, events))
    stream.fold(partitions)
    assert stream.count("folded") == 300
    assert_store_holds(store, applied.plan, batch_states(applied.plan, events))


def test_feast_does_not_bring_a_late_event_to_a_row_that_it_has_written(
    applied: FeastRepository, feast_store: Any, store: OnlineStore, stream: Stream
) -> None:
    on_time = make_events(60, users=1, products=1)
    late = Event("late", "u0", "p0", "view", on_time[30].timestamp_us + 7)
    applied.write_states(archived(on_time))
    feast_store.materialize(BEGINNING, LATER)
    applied.write_states(archived([*on_time, late]))
    feast_store.materialize(BEGINNING, LATER)
    assert_store_holds(store, applied.plan, batch_states(applied.plan, on_time))
    stream.fold(as_partitions([*on_time, late], PARTITIONS))
    assert stream.count("folded") == 1
    assert_store_holds(store, applied.plan, batch_states(applied.plan, [*on_time, late]))


def test_the_documented_user_of_feast_may_ask_and_is_refused_when_it_materializes(
    applied: FeastRepository, feast_store: Any, store: OnlineStore, stream: Stream, redis_server: RedisServer
) -> None:
    events = make_events(60)
    stream.fold(as_partitions(events[:40], PARTITIONS))
    applied.write_states(archived(events))
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "feast", *documented_rules())
        try:
            online, config = feast_store._get_provider().online_store, feast_store.config.online_store
            address = f"{redis_server.host}:{redis_server.port}"
            config.connection_string = f"{address},username=feast,password=geheim"
            online._client = None
            with pytest.raises(NoPermissionError):
                feast_store.materialize(BEGINNING, LATER)
            answer = feast_store.get_online_features(
                features=["user_state:purchases_count"], entity_rows=[{"user_id": "u0"}]
            )
            assert answer.to_dict()["purchases_count"] != [None]
        finally:
            client.execute_command("ACL", "DELUSER", "feast")
    assert_store_holds(store, applied.plan, batch_states(applied.plan, events[:40]))


def documented_rules() -> list[str]:
    (line,) = re.findall(r"^ *ACL SETUSER feast on >PASSWORD (.*)$", DOCUMENT.read_text(), re.MULTILINE)
    return ["reset", "on", ">geheim", *line.split()]


def test_materializing_again_leaves_rows_of_the_same_newest_event_as_they_are(
    applied: FeastRepository, feast_store: Any, store: OnlineStore, stream: Stream
) -> None:
    """The stream's rows hold from the same microsecond as Feast's own, so Feast has nothing newer to write."""
    events = make_events(120)
    stream.fold(as_partitions(events, PARTITIONS))
    marked = [row_of(store, applied, "user", f"u{number}") for number in range(12)]
    applied.write_states(event_table(events))  # of no topic: written, they would be seen by their watermarks
    feast_store.materialize(BEGINNING, LATER)
    assert [row_of(store, applied, "user", f"u{number}") for number in range(12)] == marked


def offset_partition(user_id: str) -> int:
    return sum(user_id.encode()) % PARTITIONS
