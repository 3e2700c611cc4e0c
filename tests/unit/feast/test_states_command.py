"""``reprise features states``: from a file, or from what the archiver keeps."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from reprise.archive import OfflineStore
from reprise.features.main import command
from reprise.store.feast.view import WATERMARKS
from reprise.store.watermarks import Watermarks
from support.archived import TOPIC_ID
from support.histories import as_partitions, event_table, make_events
from support.offline import put
from support.plans import REPOSITORY


def states(*arguments: str) -> Result:
    return CliRunner().invoke(command, ["states", "--repository", str(REPOSITORY), *arguments])


@pytest.fixture(autouse=True)
def no_offline_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REPRISE_OFFLINE_STORE", raising=False)


def test_a_file_of_events_makes_a_file_for_each_view(tmp_path: Path) -> None:
    pq.write_table(event_table(make_events(60)), tmp_path / "events.parquet")
    done = states("--events", str(tmp_path / "events.parquet"), "--out", str(tmp_path / "states"))
    assert done.exit_code == 0, done.output
    assert "after 60 events" in done.output
    assert {path.name for path in (tmp_path / "states").iterdir()} == {
        "user_state.parquet", "product_state.parquet", "pair_state.parquet",
    }  # fmt: skip


def test_the_offline_store_says_how_far_the_states_reach_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPRISE_OFFLINE_STORE", f"file://{tmp_path}/offline")
    offline = OfflineStore(f"file://{tmp_path}/offline")
    partitions = as_partitions(make_events(90), 3)
    for records in partitions.values():
        put(offline, records)
    done = states("--out", str(tmp_path / "states"))
    assert done.exit_code == 0, done.output
    rows = pq.read_table(tmp_path / "states" / "user_state.parquet").to_pylist()
    newest = {row["user_id"]: row[WATERMARKS] for row in sorted(rows, key=lambda row: row["event_timestamp"])}
    everything = {partition: len(records) - 1 for partition, records in partitions.items()}
    assert len(newest) > 5
    assert {bytes(marks) for marks in newest.values()} == {Watermarks(TOPIC_ID, everything).to_bytes()}


def test_an_empty_offline_store_is_said_in_a_line(tmp_path: Path) -> None:
    done = states("--offline", f"file://{tmp_path}/offline", "--out", str(tmp_path / "states"))
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")
    assert "has no record" in done.output
    assert not (tmp_path / "states").exists()


def test_one_source_has_to_be_given(tmp_path: Path) -> None:
    events = tmp_path / "events.parquet"
    pq.write_table(event_table(make_events(5)), events)
    assert "give one of" in states().output
    assert "give one of" in states("--events", str(events), "--offline", "file:///x").output
