"""What the loop shows of itself while it cannot fold."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any, cast

import orjson
import pytest
from kafka.errors import TopicAuthorizationFailedError
from prometheus_client import CollectorRegistry

from reprise.log import EventLogSettings, LogConsumer, LogRefusedError, Record, UnreadableRecordsError
from reprise.log.kafka.connection import convert_error
from reprise.materializer.batch_fold import BatchFold, InvalidRecord
from reprise.materializer.metrics import MaterializerMetrics
from reprise.materializer.settings import MaterializerSettings
from reprise.materializer.worker import Worker, send_dead_letters
from reprise.store.exceptions import StoreUnavailableError
from support.fake_log import FakeLogProducer


class GrowingLog:
    """A consumer's view of a log of which ten records were read, and to which others append."""

    topic_id = bytes(16)
    assignment = frozenset({0})

    def poll(self, records: int, seconds: float) -> Mapping[int, Sequence[Record]]:
        return {0: [cast(Record, None)] * 10}

    def end_offsets(self) -> Mapping[int, int]:
        return {0: 7010}

    def positions(self) -> Mapping[int, int]:
        return {0: 10}


class AwayStore:
    """A fold whose store is away; the worker is told to stop after the first try."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def fold(self, topic_id: bytes, polled: Any) -> None:
        self._stop.set()
        raise StoreUnavailableError("redis:6379", "connection refused")


def test_the_lag_grows_for_all_to_see_while_the_store_is_away() -> None:
    registry, stop = CollectorRegistry(), threading.Event()
    worker = Worker(
        cast(LogConsumer, GrowingLog()),
        cast(BatchFold, AwayStore(stop)),
        MaterializerMetrics(registry),
        MaterializerSettings(batch_records=10, poll_seconds=0.001, retry_seconds=0.001),
    )
    worker.run(stop)
    assert registry.get_sample_value("reprise_materializer_lag_records", {"partition": "0"}) == 7000
    assert "connection refused" in (worker.problem or "")


class PartlyUnreadableLog(GrowingLog):
    """Partition 0 has records that cannot be decoded; partition 1 has others."""

    assignment = frozenset({0, 1})

    def __init__(self, stop: threading.Event) -> None:
        self._polls = 0
        self._stop = stop
        self.committed: dict[int, int] = {}

    def poll(self, records: int, seconds: float) -> Mapping[int, Sequence[Record]]:
        self._polls += 1
        if self._polls == 1:
            raise UnreadableRecordsError("ecommerce-events", 0, 7, ValueError("no codec"))
        self._stop.set()
        return {1: [Record(1, 3, 0, b"", b"")]}

    def end_offsets(self) -> Mapping[int, int]:
        return {0: 10, 1: 4}

    def positions(self) -> Mapping[int, int]:
        return {0: 7, 1: 4}

    def commit(self, offsets: Mapping[int, int]) -> None:
        self.committed.update(offsets)


class NoFold:
    def fold(self, topic_id: bytes, polled: Any) -> None: ...


def test_a_partition_that_cannot_be_read_is_named_and_the_others_go_on() -> None:
    registry, stop = CollectorRegistry(), threading.Event()
    log = PartlyUnreadableLog(stop)
    worker = Worker(
        cast(LogConsumer, log),
        cast(BatchFold, NoFold()),
        MaterializerMetrics(registry),
        MaterializerSettings(),
    )
    worker.run(stop)
    assert log.committed == {1: 4}
    labels = {"partition": "0"}
    assert registry.get_sample_value("reprise_materializer_unreadable_offset", labels) == 7
    assert worker.problem == ("ecommerce-events, partition 0: offset 7 cannot be read: ValueError: no codec")


class ForbiddenLog(GrowingLog):
    """Kafka no longer lets this user read the topic."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def poll(self, records: int, seconds: float) -> Mapping[int, Sequence[Record]]:
        self._stop.set()  # a worker that retries ends without an error
        settings = EventLogSettings.load(kafka_servers="kafka:9092")
        error = TopicAuthorizationFailedError({"ecommerce-events"})
        raise convert_error(error, settings, "ecommerce-events: reading")


def test_a_permanent_error_of_the_log_ends_the_worker_with_the_topic_and_the_reason() -> None:
    stop = threading.Event()
    worker = Worker(
        cast(LogConsumer, ForbiddenLog(stop)),
        cast(BatchFold, NoFold()),
        MaterializerMetrics(CollectorRegistry()),
        MaterializerSettings(retry_seconds=0.001),
    )
    with pytest.raises(LogRefusedError, match=r"ecommerce-events: reading: .*TopicAuthorizationFailedError"):
        worker.run(stop)


def test_letters_of_large_records_are_small_enough_for_the_log() -> None:
    log, key = FakeLogProducer(), b"k" * 900_000
    values = [b'"' * 1_000_000, b"\xff" * 1_000_000, b"\x00" * 1_000_000, b"no event"]
    invalid = [
        InvalidRecord(Record(0, at, 0, key, value), ValueError("no event")) for at, value in enumerate(values)
    ]
    send_dead_letters(log, MaterializerMetrics(CollectorRegistry()), invalid)
    letters = [orjson.loads(value) for _, _, value in log.appended]
    assert all(len(key) + len(value) < 1_000_000 for _, key, value in log.appended)
    assert [letter.get("truncated_from_bytes") for letter in letters] == [1_000_000] * 3 + [None]
    assert letters[3]["value"] == "no event"
