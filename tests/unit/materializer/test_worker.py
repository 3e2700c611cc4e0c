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


class Log:
    """A consumer's view of a log; each poll raises or returns the next of ``polls``, the last stops the worker.

    ``ends`` and ``positions`` are those of the assigned partitions.
    """

    topic_id = bytes(16)

    def __init__(self, polls: Sequence[Any], ends: Mapping[int, int], positions: Mapping[int, int]) -> None:
        self.stop = threading.Event()
        self.committed: dict[int, int] = {}
        self.assignment = frozenset(ends)
        self._polls = list(polls)
        self._ends, self._positions = ends, positions

    def poll(self, records: int, seconds: float) -> Mapping[int, Sequence[Record]]:
        found = self._polls.pop(0)
        if not self._polls:
            self.stop.set()
        if isinstance(found, Exception):
            raise found
        return found

    def end_offsets(self) -> Mapping[int, int]:
        return self._ends

    def positions(self) -> Mapping[int, int]:
        return self._positions

    def commit(self, offsets: Mapping[int, int]) -> None:
        self.committed.update(offsets)


class Folding:
    """Stands for the fold; raises the error if there is one."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def fold(self, topic_id: bytes, polled: Any) -> None:
        if self._error is not None:
            raise self._error


def worker_on(log: Log, registry: CollectorRegistry, fold: Folding | None = None) -> Worker:
    """Return a worker that has run until the last poll of the log."""
    settings = MaterializerSettings(batch_records=10, poll_seconds=0.001, retry_seconds=0.001)
    fold = fold or Folding()
    worker = Worker(cast(LogConsumer, log), cast(BatchFold, fold), MaterializerMetrics(registry), settings)
    worker.run(log.stop)
    return worker


def test_the_lag_grows_for_all_to_see_while_the_store_is_away() -> None:
    registry = CollectorRegistry()
    log = Log([{0: [Record(0, 0, 0, b"", b"")] * 10}], {0: 7010}, {0: 10})
    away = Folding(StoreUnavailableError("redis:6379", "connection refused"))
    worker = worker_on(log, registry, away)
    assert registry.get_sample_value("reprise_materializer_lag_records", {"partition": "0"}) == 7000
    assert "connection refused" in (worker.problem or "")


def test_a_partition_that_cannot_be_read_is_named_and_the_others_go_on() -> None:
    registry = CollectorRegistry()
    unreadable = UnreadableRecordsError("ecommerce-events", 0, 7, ValueError("no codec"))
    log = Log([unreadable, {1: [Record(1, 3, 0, b"", b"")]}], {0: 10, 1: 4}, {0: 7, 1: 4})
    worker = worker_on(log, registry)
    assert log.committed == {1: 4}
    labels = {"partition": "0"}
    assert registry.get_sample_value("reprise_materializer_unreadable_offset", labels) == 7
    assert worker.problem == ("ecommerce-events, partition 0: offset 7 cannot be read: ValueError: no codec")


def test_a_permanent_error_of_the_log_ends_the_worker_with_the_topic_and_the_reason() -> None:
    settings = EventLogSettings.load(kafka_servers="kafka:9092")
    forbidden = TopicAuthorizationFailedError({"ecommerce-events"})
    log = Log([convert_error(forbidden, settings, "ecommerce-events: reading")], {0: 0}, {0: 0})
    with pytest.raises(LogRefusedError, match=r"ecommerce-events: reading: .*TopicAuthorizationFailedError"):
        worker_on(log, CollectorRegistry())


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
