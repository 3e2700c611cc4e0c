"""The archiver as a process, and what it left."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from reprise.archive import OfflineStore
from reprise.events import encode_event
from reprise.log import EVENTS, PREDICTIONS, EventLogSettings, Position, open_producer
from support.histories import make_events
from support.waiting import wait_until

Place = tuple[str, int, int]
"""Topic, partition and offset."""

COMMAND = "from reprise.archiver.main import command; command()"


def environment(folder: Path, servers: str | None = None) -> dict[str, str]:
    kafka = {} if servers is None else {"KAFKA_SERVERS": servers, "KAFKA_SESSION_SECONDS": "1"}
    return {
        **{k: v for k, v in os.environ.items() if k != "KAFKA_SERVERS"},
        "REPRISE_LOG_DIR": str(folder / "log"),
        "REPRISE_OFFLINE_STORE": str(folder / "offline"),
        "ARCHIVER_SEGMENT_RECORDS": "40",
        "ARCHIVER_WINDOW_SECONDS": "1",
        "ARCHIVER_GRACE_SECONDS": "0.2",
        "ARCHIVER_POLL_SECONDS": "0.05",
        "ARCHIVER_BATCH_RECORDS": "50",
        **kafka,
    }


@contextmanager
def running(folder: Path, *options: str, servers: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "archiver.log").open("ab") as output:
        command = [sys.executable, "-c", COMMAND, "--host", "127.0.0.1", *options]
        variables = environment(folder, servers)
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=output)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def append(settings: EventLogSettings, values: list[tuple[str, bytes, bytes]]) -> dict[Place, bytes]:
    producer = open_producer(settings)
    try:
        waiting = [(topic, value, producer.append(topic, key, value)) for topic, key, value in values]
        found: dict[Place, bytes] = {}
        for topic, value, future in waiting:
            position: Position = future.result(60)
            found[topic, position.partition, position.offset] = value
        return found
    finally:
        producer.close(60)


def load(seed: int, count: int = 300) -> list[tuple[str, bytes, bytes]]:
    events = make_events(count, users=50, seed=seed)
    bodies = [(each.user_id, {"user_id": each.user_id, "n": each.event_id}) for each in events[::3]]
    predictions = [(PREDICTIONS.name, user.encode(), json.dumps(body).encode()) for user, body in bodies]
    return [(EVENTS.name, e.user_id.encode(), encode_event(e)) for e in events] + predictions


def archived(folder: Path) -> dict[Place, object]:
    """Return what each archived record says, by its place; a place that comes twice is an error."""
    found: dict[Place, object] = {}
    store = OfflineStore(str(folder / "offline"))
    for topic, said in ((EVENTS.name, "event_id"), (PREDICTIONS.name, "prediction")):
        for coverage in store.coverage(topic):
            assert not coverage.gaps
            parts = [part for parts in coverage.parts.values() for part in parts]
            for row in pa.Table.from_batches(b for part in parts for b in store.read(part)).to_pylist():
                place = (topic, row["partition"], row["offset"])
                assert place not in found
                found[place] = row[said]
    return found


def said(place: Place, value: bytes) -> object:
    return json.loads(value)["event_id"] if place[0] == EVENTS.name else value.decode()


def until_idle(folder: Path, servers: str | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", COMMAND, "--until-idle", "2" if servers else "1"]
    variables = environment(folder, servers)
    return subprocess.run(command, env=variables, capture_output=True, check=True, timeout=60)


def wait_for_more(folder: Path, before: int) -> None:
    wait_until(
        lambda: f"files are written:\n{log_tail(folder)}", lambda: files(folder) > before, 120, every=0.01
    )


def log_tail(folder: Path) -> str:
    return (folder / "archiver.log").read_text()[-4000:]


def files(folder: Path) -> int:
    return len(list((folder / "offline").rglob("[!.]*.parquet")))
