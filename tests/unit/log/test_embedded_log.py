import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from reprise.log import (
    EVENTS,
    BufferFullError,
    CorruptLogError,
    EventLogSettings,
    LogConsumer,
    LogProducer,
    LogTimeoutError,
    LogUnavailableError,
    OffsetOutOfRangeError,
    Position,
    RebalanceListener,
    Topic,
    TopicGoneError,
    open_consumer,
    open_producer,
)
from reprise.log.backend import inspect_topics
from reprise.log.embedded.consumer import EmbeddedConsumer
from reprise.log.embedded.producer import EmbeddedProducer
from reprise.log.embedded.topic_database import TopicDatabase
from support.collection import SOAK
from support.log_contract import TIMEOUT, LogContract, append_all, drain, poll_until

KILLS = 4 if SOAK else 2
ONE = Topic("one", partitions=1)

APPEND_FOREVER = """
import sys, time
from pathlib import Path
from reprise.log import EVENTS
from reprise.log.embedded.producer import EmbeddedProducer
producer = EmbeddedProducer(Path(sys.argv[1]))
name = sys.argv[2]
print("ready", flush=True)
for number in range(int(sys.argv[3])):
    while producer.buffered() > 2000:
        time.sleep(0.001)
    producer.append(EVENTS.name, f"{name}-{number % 50}".encode(), f"{name}:{number}:".encode() + b"x" * 400)
producer.flush(60)
producer.close(60)
"""

FILL_THE_DISK = """
import resource, sys
from pathlib import Path
from reprise.log import LogUnavailableError, Topic
from reprise.log.embedded.producer import EmbeddedProducer
producer = EmbeddedProducer(Path(sys.argv[1]), topics=[Topic("one", 1)])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
outcomes = [producer.append("one", b"k", b"v%d" % n + bytes(3000)).exception(20) for n in range(40)]
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert all(error is None or isinstance(error, LogUnavailableError) for error in outcomes), outcomes
assert producer.problem() is not None
accepted = sum(error is None for error in outcomes)
assert not any(outcomes[:accepted]), outcomes
assert producer.append("one", b"k", b"after").result(20).offset == accepted
assert producer.problem() is None
producer.close(20)
print(accepted)
"""


class TestEmbeddedLog(LogContract):
    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path: Path) -> None:
        self.settings = EventLogSettings(log_dir=tmp_path / "log")

    def open_producer(self) -> LogProducer:
        return open_producer(self.settings)

    def open_consumer(self, group: str, listener: RebalanceListener | None = None) -> LogConsumer:
        return open_consumer(self.settings, EVENTS, group, listener)


def write(log_dir: Path, count: int) -> None:
    producer = EmbeddedProducer(log_dir, topics=[ONE])
    for value in values(count):
        producer.append(ONE.name, b"k", value.encode())
    producer.close(TIMEOUT)


def read(log_dir: Path, count: int) -> list[str]:
    with closing(EmbeddedConsumer(log_dir, ONE, "g")) as consumer:
        return [record.value.decode() for record in drain(consumer, count).get(0, [])]


def database_file(log_dir: Path) -> Path:
    return log_dir / "one" / "topic.sqlite"


@contextmanager
def locked(log_dir: Path) -> Iterator[None]:
    """Hold the topic's write lock."""
    with closing(sqlite3.connect(database_file(log_dir), isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def topic_id(log_dir: Path, topic: Topic = ONE) -> bytes:
    with closing(TopicDatabase(log_dir, topic)) as database:
        return database.topic_id


def values(count: int) -> list[str]:
    return [f"v{number}" for number in range(count)]


def test_damaged_file_is_reported_by_reader_and_writer(tmp_path: Path) -> None:
    write(tmp_path, 1000)
    path = database_file(tmp_path)
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(CorruptLogError, match="malformed") as caught:
        EmbeddedConsumer(tmp_path, ONE, "g")
    assert caught.value.path == path
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(CorruptLogError, match="not a database"):
        EmbeddedProducer(tmp_path, topics=[ONE])


def test_failed_poll_loses_nothing_of_the_healthy_partitions(tmp_path: Path) -> None:
    two = Topic("two", partitions=2)
    with closing(EmbeddedConsumer(tmp_path, two, "g")) as consumer:
        consumer.poll(1, 0)
        producer = EmbeddedProducer(tmp_path, topics=[two])
        for number in range(40):
            producer.append(two.name, f"u{number}".encode(), f"v{number}".encode())
        producer.close(TIMEOUT)
        with closing(sqlite3.connect(tmp_path / "two" / "topic.sqlite")) as connection:
            connection.execute("ALTER TABLE records_1 RENAME TO gone")
            for _ in range(3):
                with pytest.raises(LogUnavailableError):
                    consumer.poll(100, 0)
            connection.execute("ALTER TABLE gone RENAME TO records_1")
        found = drain(consumer, 40)
    assert sorted(found) == [0, 1]
    assert sum(map(len, found.values())) == 40


def test_writer_killed_mid_append_leaves_a_dense_readable_log(tmp_path: Path) -> None:
    for attempt in range(KILLS):
        with subprocess.Popen(
            [sys.executable, "-c", APPEND_FOREVER, str(tmp_path), f"w{attempt}", "1000000000"],
            stdout=subprocess.PIPE,
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            with closing(TopicDatabase(tmp_path, EVENTS)) as database:
                partitions = range(database.partitions)
                more = sum(map(database.end_offset, partitions)) + 300
                while sum(map(database.end_offset, partitions)) < more:
                    assert writer.poll() is None
                    time.sleep(0.01)
            writer.send_signal(signal.SIGKILL)
    producer = EmbeddedProducer(tmp_path)
    appended = append_all(producer, [f"after-{number}" for number in range(50)])
    producer.close(TIMEOUT)
    with closing(EmbeddedConsumer(tmp_path, EVENTS, "g")) as consumer:
        poll_until(lambda: bool(consumer.assignment), consumer)
        ends = consumer.end_offsets()
        assert ends.items() >= {position.partition: position.offset + 1 for position in appended}.items()
        consumer.seek(dict.fromkeys(ends, 0))
        total = sum(ends.values())
        found = drain(consumer, total)
    assert sum(map(len, found.values())) == total > 300 * KILLS
    for records in found.values():
        assert [record.offset for record in records] == list(range(len(records)))


def test_an_offset_that_was_read_stays_its_records_after_a_crash_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_dir, disk = tmp_path / "log", tmp_path / "disk"

    def save(_: int) -> None:
        shutil.copytree(log_dir, disk, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*-shm"))

    with closing(EmbeddedConsumer(log_dir, ONE, "g")) as consumer:
        save(0)
        monkeypatch.setattr(os, "fsync", save)
        write(log_dir, 5)
        drain(consumer, 5)
        write(log_dir, 3)
    write(disk, 1)
    assert read(disk, 6) == [*values(5), "v0"]


def test_full_disk_keeps_what_was_acknowledged_and_nothing_half_written(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", FILL_THE_DISK, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    accepted = int(run.stdout)
    assert 5 < accepted < 40
    found = [value.rstrip("\0") for value in read(tmp_path, accepted + 1)]
    assert found == [*values(accepted), "after"]


def test_writers_in_two_processes_share_a_partition_without_gaps(tmp_path: Path) -> None:
    count = 5000
    writers = [
        subprocess.Popen([sys.executable, "-c", APPEND_FOREVER, str(tmp_path), name, str(count)])
        for name in ("a", "b")
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    with closing(EmbeddedConsumer(tmp_path, EVENTS, "g")) as consumer:
        found = drain(consumer, 2 * count)
    numbers: dict[str, list[int]] = {}
    for records in found.values():
        assert [record.offset for record in records] == list(range(len(records)))
        for record in records:
            key, number = record.key.decode(), int(record.value.split(b":")[1])
            numbers.setdefault(key, []).append(number)
    assert all(sequence == sorted(sequence) for sequence in numbers.values())
    assert sum(map(len, numbers.values())) == 2 * count


def test_partitions_of_a_killed_consumer_are_taken_over(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from reprise.log import EVENTS;"
        "from reprise.log.embedded.consumer import EmbeddedConsumer;"
        "c = EmbeddedConsumer(Path(sys.argv[1]), EVENTS, 'g'); c.poll(1, 0); print(len(c.assignment), flush=True);"
        "import time; time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "6"
        with closing(EmbeddedConsumer(tmp_path, EVENTS, "g")) as consumer:
            consumer.poll(1, 0)
            assert not consumer.assignment
            holder.kill()
            holder.wait()
            poll_until(lambda: len(consumer.assignment) == EVENTS.partitions, consumer)


def test_record_is_seen_within_tens_of_milliseconds(tmp_path: Path) -> None:
    producer = EmbeddedProducer(tmp_path, topics=[ONE])
    consumer = EmbeddedConsumer(tmp_path, ONE, "g")
    consumer.poll(1, 0)
    delays = []
    for _ in range(20):
        started = time.perf_counter()
        threading.Timer(0.02, producer.append, (ONE.name, b"k", b"v")).start()
        assert consumer.poll(10, 5.0)
        delays.append(time.perf_counter() - started - 0.02)
    producer.close(TIMEOUT)
    consumer.close()
    assert sorted(delays)[10] < 0.03


def test_busy_partition_does_not_starve_the_others(tmp_path: Path) -> None:
    producer = EmbeddedProducer(tmp_path)
    append_all(producer, ["busy"] * 3000)
    quiet = append_all(producer, ["quiet", "silent", "still"])
    producer.close(TIMEOUT)
    with closing(EmbeddedConsumer(tmp_path, EVENTS, "g")) as consumer:
        seen = {partition for _ in range(6) for partition in consumer.poll(10, 0)}
    assert {position.partition for position in quiet} <= seen


def test_records_larger_than_a_read_come_back_whole(tmp_path: Path) -> None:
    big = os.urandom(900_000)
    producer = EmbeddedProducer(tmp_path, topics=[ONE], fsync=True)
    futures = [producer.append(ONE.name, b"k", big) for _ in range(8)]
    assert [future.result(TIMEOUT).offset for future in futures] == list(range(8))
    producer.close(TIMEOUT)
    with closing(EmbeddedConsumer(tmp_path, ONE, "g")) as consumer:
        consumer.poll(1, 0)
        assert consumer.end_offsets() == {0: 8}
        assert all(record.value == big for record in drain(consumer, 7)[0])


def test_full_buffer_refuses_until_records_are_written(tmp_path: Path) -> None:
    producer = EmbeddedProducer(tmp_path, topics=[ONE], buffer_bytes=10_000)
    with locked(tmp_path):
        futures: list[Future[Position]] = []
        refused = None
        while refused is None and len(futures) < 1000:
            try:
                futures.append(producer.append(ONE.name, b"k", bytes(1000)))
            except BufferFullError as error:
                refused = error
        assert refused is not None
        assert 5 <= len(futures) <= 10
        with pytest.raises(LogTimeoutError):
            producer.flush(0.05)
    producer.flush(TIMEOUT)
    assert producer.append(ONE.name, b"k", b"v").result(TIMEOUT).offset == len(futures)
    producer.close(TIMEOUT)


def test_close_fails_what_it_could_not_write_in_time(tmp_path: Path) -> None:
    producer = EmbeddedProducer(tmp_path, topics=[ONE])
    with locked(tmp_path):
        first = producer.append(ONE.name, b"k", b"v")
        time.sleep(0.05)
        second = producer.append(ONE.name, b"k", b"w")
        producer.close(0.1)
        assert isinstance(second.exception(0), LogTimeoutError)
    assert first.result(TIMEOUT).offset == 0


def test_consumer_notices_that_its_topic_was_removed_and_the_next_one_starts_at_zero(tmp_path: Path) -> None:
    write(tmp_path, 5)
    with closing(EmbeddedConsumer(tmp_path, ONE, "g")) as consumer:
        first = consumer.topic_id
        drain(consumer, 5)
        consumer.commit({0: 5})
        shutil.rmtree(tmp_path / "one")
        with pytest.raises(TopicGoneError):
            consumer.poll(10, 5)
    write(tmp_path, 2)
    assert topic_id(tmp_path) != first
    assert read(tmp_path, 2) == values(2)


def test_producer_says_that_its_topic_was_removed_and_then_makes_it_anew(tmp_path: Path) -> None:
    producer = EmbeddedProducer(tmp_path, topics=[ONE])
    producer.append(ONE.name, b"k", b"v").result(TIMEOUT)
    shutil.rmtree(tmp_path / "one")
    assert isinstance(producer.append(ONE.name, b"k", b"v").exception(TIMEOUT), TopicGoneError)
    assert "removed" in str(producer.problem())
    assert producer.append(ONE.name, b"k", b"v").result(TIMEOUT).offset == 0
    assert producer.problem() is None
    producer.close(TIMEOUT)


def test_committed_offset_past_the_end_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 5)
    consumer = EmbeddedConsumer(tmp_path, ONE, "g")
    drain(consumer, 5)
    consumer.commit({0: 5})
    consumer.close()
    with closing(sqlite3.connect(database_file(tmp_path))) as connection, connection:
        connection.execute("DELETE FROM records_0 WHERE offset > 0")
    with (
        closing(EmbeddedConsumer(tmp_path, ONE, "g")) as again,
        pytest.raises(OffsetOutOfRangeError, match=r"offset 5 .* ends at 1"),
    ):
        again.poll(1, 0)


def test_topic_keeps_the_partitions_that_it_was_made_with(tmp_path: Path) -> None:
    TopicDatabase(tmp_path, Topic("one", partitions=3)).close()
    with closing(TopicDatabase(tmp_path, ONE)) as database:
        assert database.partitions == 3


def test_log_of_an_earlier_version_is_refused_rather_than_taken_for_empty(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "topic.json").write_text(json.dumps({"version": 1, "partitions": 1}))
    for use in (
        lambda: EmbeddedProducer(tmp_path, topics=[ONE]),
        lambda: EmbeddedConsumer(tmp_path, ONE, "g"),
        lambda: inspect_topics(EventLogSettings(log_dir=tmp_path), [ONE]),
    ):
        with pytest.raises(LogUnavailableError, match=r"one holds the log files of an earlier version"):
            use()
    assert os.listdir(tmp_path / "one") == ["topic.json"]


def test_racing_processes_make_a_topic_once(tmp_path: Path) -> None:
    ids: list[bytes] = []
    threads = [threading.Thread(target=lambda: ids.append(topic_id(tmp_path, EVENTS))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1
    assert os.listdir(tmp_path) == [EVENTS.name]


def test_log_directory_that_is_a_file_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("")
    with pytest.raises(LogUnavailableError, match="log"):
        EmbeddedProducer(tmp_path / "log")
