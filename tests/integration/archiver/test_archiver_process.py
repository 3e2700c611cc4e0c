"""The archiver as a process: killed at random under load (50 times with REPRISE_SOAK=1), drained, asked how it is."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest
from reprise_eventlog import EVENTS, PREDICTIONS, EventLogSettings, Position, open_producer
from reprise_events import encode_event
from reprise_offline import OfflineStore
from support.histories import make_events
from support.redis import free_port

KILLS = 50 if os.environ.get("REPRISE_SOAK") == "1" else 4
COMMAND = "from reprise_archiver.main import command; command()"


def environment(folder: Path) -> dict[str, str]:
    return {
        **{k: v for k, v in os.environ.items() if k != "KAFKA_SERVERS"},
        "REPRISE_LOG_DIR": str(folder / "log"),
        "REPRISE_OFFLINE_STORE": str(folder / "offline"),
        "ARCHIVER_SEGMENT_RECORDS": "40",
        "ARCHIVER_WINDOW_SECONDS": "1",
        "ARCHIVER_GRACE_SECONDS": "0.2",
        "ARCHIVER_POLL_SECONDS": "0.05",
        "ARCHIVER_BATCH_RECORDS": "50",
    }


@contextmanager
def running(folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "archiver.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, "--host", "127.0.0.1", *options],
            env=environment(folder),
            stdout=output,
            stderr=output,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def append(folder: Path, values: list[tuple[str, bytes, bytes]]) -> dict[tuple[str, int, int], bytes]:
    """Append to the log, and return what is where."""
    settings = EventLogSettings(log_dir=folder / "log")
    producer = open_producer(settings)
    try:
        waiting = [(topic, value, producer.append(topic, key, value)) for topic, key, value in values]
        found: dict[tuple[str, int, int], bytes] = {}
        for topic, value, future in waiting:
            position: Position = future.result(10)
            found[topic, position.partition, position.offset] = value
        return found
    finally:
        producer.close(10)


def load(seed: int, count: int = 300) -> list[tuple[str, bytes, bytes]]:
    events = make_events(count, users=50, seed=seed)
    predictions = [
        (PREDICTIONS.name, e.user_id.encode(), json.dumps({"user_id": e.user_id, "n": e.event_id}).encode())
        for e in events[::3]
    ]
    return [(EVENTS.name, e.user_id.encode(), encode_event(e)) for e in events] + predictions


def archived(folder: Path) -> dict[tuple[str, int, int], object]:
    """Return what each archived record says, by its place; a place that comes twice is an error."""
    found: dict[tuple[str, int, int], object] = {}
    store = OfflineStore(str(folder / "offline"))
    for topic, said in ((EVENTS.name, "event_id"), (PREDICTIONS.name, "prediction")):
        for coverage in store.coverage(topic):
            assert not coverage.holes
            parts = [part for parts in coverage.parts.values() for part in parts]
            for row in pa.Table.from_batches(b for part in parts for b in store.read(part)).to_pylist():
                place = (topic, row["partition"], row["offset"])
                assert place not in found
                found[place] = row[said]
    return found


def said(place: tuple[str, int, int], value: bytes) -> object:
    return json.loads(value)["event_id"] if place[0] == EVENTS.name else value.decode()


def until_idle(folder: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", COMMAND, "--until-idle", "1"],
        env=environment(folder),
        capture_output=True,
        check=True,
        timeout=60,
    )


@pytest.mark.slow
def test_killed_at_random_under_load_it_archives_every_record_once(tmp_path: Path) -> None:
    rng = random.Random(7)
    logged: dict[tuple[str, int, int], bytes] = {}
    for kill in range(KILLS):
        logged |= append(tmp_path, load(seed=2 * kill))
        with running(tmp_path, "--port", "0") as process:
            before = files(tmp_path)
            give_up = time.monotonic() + 30
            while files(tmp_path) == before:
                assert process.poll() is None, (tmp_path / "archiver.log").read_text()
                assert time.monotonic() < give_up
                time.sleep(0.005)
            logged |= append(tmp_path, load(seed=2 * kill + 1))
            time.sleep(rng.uniform(0, 0.4))
            process.send_signal(signal.SIGKILL)
            process.wait()
    until_idle(tmp_path)
    assert archived(tmp_path) == {place: said(place, value) for place, value in logged.items()}
    assert len(logged) == KILLS * 800


def files(folder: Path) -> int:
    return len(list((folder / "offline").rglob("*.parquet")))


def test_it_says_that_it_is_ready_and_drains_when_told_to_stop(tmp_path: Path) -> None:
    logged = append(tmp_path, load(seed=1))
    port = free_port()
    with running(tmp_path, "--port", str(port)) as process:
        give_up = time.monotonic() + 30
        while "archived" not in metrics(port) or len(archived(tmp_path)) < len(logged):
            assert process.poll() is None, (tmp_path / "archiver.log").read_text()
            assert time.monotonic() < give_up, metrics(port)
            time.sleep(0.1)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready") as answer:
            assert answer.status == 200
        assert f'reprise_archiver_records_total{{outcome="archived",topic="{EVENTS.name}"}} 300.0' in metrics(
            port
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def metrics(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
            return answer.read().decode()
    except OSError:
        return ""


def test_until_idle_archives_to_the_last_record_and_says_how_many(tmp_path: Path) -> None:
    logged = append(tmp_path, load(seed=3, count=30))
    done = until_idle(tmp_path)
    assert done.stdout.decode() == f"30 of {EVENTS.name}, 10 of {PREDICTIONS.name}\n"
    assert archived(tmp_path).keys() == logged.keys()


def test_export_writes_the_canonical_events(tmp_path: Path) -> None:
    append(tmp_path, load(seed=3, count=30))
    until_idle(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "--export", str(tmp_path / "events.parquet")],
        env=environment(tmp_path),
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert b"30 events of 30 records" in done.stdout
    table = pa.parquet.read_table(tmp_path / "events.parquet")
    assert sorted(table.column("event_id").to_pylist()) == sorted(f"3-{at}" for at in range(30))
