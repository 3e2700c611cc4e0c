"""The archiver as a process: killed at random under load (50 times with REPRISE_SOAK=1), drained, asked how it is."""

import random
import signal
import time
import urllib.request
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from reprise.archive import OfflineStore
from reprise.archiver.main import command
from reprise.log import EVENTS, PREDICTIONS, EventLogSettings
from support.archived import event_records
from support.archiver_process import (
    append,
    archived,
    environment,
    files,
    load,
    log_tail,
    running,
    said,
    until_idle,
    wait_for_more,
)
from support.collection import SOAK
from support.histories import make_events
from support.offline import put
from support.redis import free_port
from support.waiting import wait_until

KILLS = 50 if SOAK else 1


@pytest.mark.slow
def test_killed_at_random_under_load_it_archives_every_record_once(tmp_path: Path) -> None:
    rng = random.Random(7)
    logged: dict[tuple[str, int, int], bytes] = {}
    for kill in range(KILLS):
        logged |= append(EventLogSettings(log_dir=tmp_path / "log"), load(seed=2 * kill))
        with running(tmp_path, "--port", "0") as process:
            before = files(tmp_path)
            wait_for_more(tmp_path, before)
            logged |= append(EventLogSettings(log_dir=tmp_path / "log"), load(seed=2 * kill + 1))
            time.sleep(rng.uniform(0, 0.4))
            process.send_signal(signal.SIGKILL)
            process.wait()
    until_idle(tmp_path)
    assert archived(tmp_path) == {place: said(place, value) for place, value in logged.items()}
    assert len(logged) == KILLS * 800


def test_it_says_that_it_is_ready_and_drains_when_told_to_stop(tmp_path: Path) -> None:
    logged = append(EventLogSettings(log_dir=tmp_path / "log"), load(seed=1))
    port = free_port()
    with running(tmp_path, "--port", str(port)) as process:
        everything = lambda: "archived" in metrics(port) and len(archived(tmp_path)) == len(logged)  # noqa: E731
        wait_until(lambda: f"all is archived:\n{log_tail(tmp_path)}", everything, 120, every=0.1)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready") as answer:
            assert answer.status == 200
        assert f'reprise_archiver_records_total{{outcome="archived",topic="{EVENTS.name}"}} 300.0' in metrics(
            port
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def run(folder: Path, *options: str) -> Result:
    return CliRunner(env={**environment(folder), "REPRISE_PROGRESS": "off"}).invoke(command, options)


def metrics(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
            return answer.read().decode()
    except OSError:
        return ""


def test_it_archives_to_the_last_record_compacts_and_exports(tmp_path: Path) -> None:
    logged = append(EventLogSettings(log_dir=tmp_path / "log"), load(seed=3, count=30))
    done = until_idle(tmp_path)
    assert done.stdout.decode() == f"30 of {EVENTS.name}, 10 of {PREDICTIONS.name}\n"
    assert archived(tmp_path).keys() == logged.keys()
    exported = tmp_path / "events.parquet"
    compacted = run(tmp_path, "--compact")
    assert compacted.output == "".join(
        f"{topic.name}: wrote 0 files, removed 0\n" for topic in (EVENTS, PREDICTIONS)
    )
    done = run(tmp_path, "--export", str(exported))
    assert done.output == f"{exported}: 30 events of 30 records\n"
    table = pq.read_table(exported)
    assert sorted(table.column("event_id").to_pylist()) == sorted(f"3-{at}" for at in range(30))


def test_holes_are_refused_until_they_are_accepted(tmp_path: Path) -> None:
    put(OfflineStore(str(tmp_path / "offline")), event_records(2, make_events(3), [0, 1, 2])[2:])
    exported = str(tmp_path / "events.parquet")
    refused = run(tmp_path, "--export", exported)
    assert refused.exit_code == 1
    assert "partition 2, offsets 0 to 1" in refused.output
    assert "reprise archive --accept-holes" in refused.output
    accepted = run(tmp_path, "--accept-holes")
    assert accepted.output == f"{EVENTS.name}: accepted partition 2, offsets 0 to 1, 2 records\n"
    assert run(tmp_path, "--accept-holes").output == "nothing is missing\n"
    done = run(tmp_path, "--export", exported)
    assert done.output == f"{exported}: 1 events of 1 records\n"


def test_options_that_exclude_one_another_are_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "--compact", "--export", str(tmp_path / "x"))
    assert done.exit_code == 2
    assert "exclude one another" in done.output


def test_an_export_of_an_empty_store_says_so_in_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, "--export", str(tmp_path / "x"))
    assert done.exit_code == 1
    assert done.output == f"Error: {tmp_path / 'offline'} has no record of {EVENTS.name}\n"
