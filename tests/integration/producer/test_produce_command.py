import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx

from reprise.events import decode_event
from reprise.log import EVENTS, EventLogSettings, Record, open_consumer
from support.redis import free_port
from support.traces import SAMPLED, TRACE_ID, collector
from support.waiting import wait_until

COMMAND = [sys.executable, "-c", "from reprise.producer.main import command; command()"]
EVENT = {
    "event_id": "e",
    "user_id": "u",
    "product_id": "p",
    "event_type": "view",
    "timestamp": "2026-01-01T00:00:00Z",
}


def environment(log_dir: Path) -> dict[str, str]:
    return {**os.environ, "REPRISE_LOG_DIR": str(log_dir), "REPRISE_PROGRESS": "on"}


@contextmanager
def running(log_dir: Path, *options: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, *options], env={**environment(log_dir), **variables}, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def run(log_dir: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command, env = [*COMMAND, *options], environment(log_dir)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def read_events(log_dir: Path) -> list[Record]:
    found: list[Record] = []
    with closing(open_consumer(EventLogSettings(log_dir=log_dir), EVENTS, "test")) as consumer:
        while not found or consumer.positions() != consumer.end_offsets():
            polled = consumer.poll(10_000, 60.0)
            assert polled, "the log is empty"
            found.extend(record for records in polled.values() for record in records)
    return found


def wait_until_ready(url: str) -> None:
    def is_ready() -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{url}/ready").status_code == 200
        return False

    wait_until("the producer is ready", is_ready, 120, every=0.05)


def test_burst_writes_exactly_the_count_and_exits(tmp_path: Path) -> None:
    done = run(tmp_path, "--mode", "burst", "--count", "3000", "--users", "100", "--products", "20")
    assert done.returncode == 0, done.stderr
    assert re.search(r"3,000 events in .* s, .* a second", done.stdout)
    assert "Appending events: 3,000 of 3,000 events, done" in done.stderr
    records = read_events(tmp_path)
    assert len({decode_event(record.value).event_id for record in records}) == len(records) == 3000


def test_continuous_mode_simulates_and_takes_events_that_are_traced_until_sigterm(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    options = ("--rate", "300", "--port", str(port), "--host", "127.0.0.1")
    with collector() as taken:
        variables = {"REPRISE_TRACES": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": taken.url}
        with running(tmp_path, *options, **variables) as process:
            wait_until_ready(url)
            response = httpx.post(f"{url}/events", json=EVENT, headers={"traceparent": SAMPLED})
            assert response.status_code == 202
            wait_until("some are simulated", lambda: simulated(url) > 50, 60, every=0.05)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        received = taken.wait_for(2)
    assert {each.span.name for each in received} == {"POST /events", "append"}
    assert {each.span.trace_id.hex() for each in received} == {TRACE_ID}
    assert {each.resource["service.name"] for each in received} == {"reprise-producer"}
    decoded = [decode_event(record.value) for record in read_events(tmp_path)]
    events = {event.event_id: event for event in decoded}
    events.pop("e")
    assert len(events) > 50
    assert all(abs(event.timestamp_us / 1e6 - time.time()) < 60 for event in events.values())


def simulated(url: str) -> float:
    """How many simulated events are in the log."""
    wanted = 'reprise_producer_events_total{outcome="accepted",source="simulator"}'
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(wanted))


def test_serve_mode_simulates_nothing(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running(tmp_path, "--mode", "serve", "--port", str(port), "--host", "127.0.0.1") as process:
        wait_until_ready(url)
        assert httpx.post(f"{url}/events", json=[EVENT]).status_code == 202
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert len(read_events(tmp_path)) == 1


def test_without_keys_other_machines_are_listened_to_only_if_that_is_set(tmp_path: Path) -> None:
    refused = run(tmp_path, "--mode", "serve", "--port", str(free_port()))
    assert refused.returncode == 1
    assert "PRODUCER_ALLOW_ANONYMOUS=true" in refused.stderr
    port = free_port()
    options = ("--mode", "serve", "--port", str(port))
    with running(tmp_path, *options, PRODUCER_ALLOW_ANONYMOUS="true"):
        wait_until_ready(f"http://127.0.0.1:{port}")
    with running(tmp_path, *options, PRODUCER_API_KEY_HASHES="a" * 64):
        wait_until_ready(f"http://127.0.0.1:{port}")


def test_continuous_mode_without_http_stops_on_ctrl_c(tmp_path: Path) -> None:
    with running(tmp_path, "--no-http", "--rate", "500") as process:
        assert read_events(tmp_path)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert '"signal": "SIGINT"' in process.stderr.read()


def test_port_that_is_taken_is_said_plainly(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run(tmp_path, "--mode", "serve", "--host", "127.0.0.1", "--port", str(port))
    assert done.returncode == 1
    assert f"Error: cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_log_directory_that_cannot_be_made_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(tmp_path / "file", "--mode", "burst", "--count", "1")
    assert done.returncode == 1
    assert f"Error: {tmp_path / 'file'}" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_is_quick_and_names_every_unit() -> None:
    code = (
        "import sys; from reprise.producer.main import command;"
        " sys.exit(bool({'numpy', 'fastapi', 'uvicorn'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
