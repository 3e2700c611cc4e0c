"""The Spark executor where Spark cannot run, and its final states, computed on DuckDB."""

from collections import Counter
from pathlib import Path

import pytest

from reprise.features.exceptions import ExecutorUnavailableError, FeatureEngineError
from reprise.features.executors.batch import BatchExecutor
from reprise.features.executors.spark import SparkExecutor
from support.hard_histories import largest_amount, random_history
from support.histories import entity_states, event_table
from support.parity import state_mismatches
from support.plans import checked_in_plan

PLAN = checked_in_plan()
EVENTS = random_history(3, 400, users=6, products=5, years=2.0)


@pytest.mark.parametrize("size", ["4GiB", "1.5GB", "16G", "512 MiB"])
def test_without_java_or_pyspark_the_error_says_what_to_install_whatever_size_of_duckdbs_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ExecutorUnavailableError, match=r"install reprise\[spark\] and Java 17"):
        SparkExecutor(PLAN, temp_directory=tmp_path, memory_limit=size)
    assert list(tmp_path.iterdir()) == []


def test_a_master_that_spark_does_not_know_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = pytest.importorskip("pyspark.sql", reason="needs PySpark (make test-tools)").SparkSession
    protocol = pytest.importorskip("py4j.protocol")

    def refuse(_builder: object) -> None:
        raise protocol.Py4JError("Could not parse Master URL")

    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.touch(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setattr(sessions, "getActiveSession", lambda: None)
    monkeypatch.setattr(sessions.Builder, "getOrCreate", refuse)
    with pytest.raises(ExecutorUnavailableError, match="did not start on sprk://typo: Could not parse"):
        SparkExecutor(PLAN, master="sprk://typo")


def test_a_memory_limit_that_is_no_size_is_refused() -> None:
    with pytest.raises(FeatureEngineError, match="'plenty' is no size"):
        SparkExecutor(PLAN, memory_limit="plenty")


def test_a_folder_for_files_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExecutorUnavailableError, match="missing"):
        SparkExecutor(PLAN, files=str(tmp_path / "missing"))


class SmallWindows(BatchExecutor):
    """Spark's query of final states on DuckDB, with few rows in a window."""

    max_rows: int
    _hot_lasts = SparkExecutor._hot_lasts

    def _max_rows(self, _table: str) -> int:
        return self.max_rows


@pytest.mark.parametrize("max_rows", [0, 15, 1_000])
def test_states_of_hot_entities_are_those_of_one_window(max_rows: int) -> None:
    with BatchExecutor(PLAN) as plain, SmallWindows(PLAN) as in_small_windows:
        in_small_windows.max_rows = max_rows
        for executor in (plain, in_small_windows):
            executor.load_events(event_table(EVENTS))
        for entity in PLAN.entities:
            expected, found = (entity_states(each, entity) for each in (plain, in_small_windows))
            assert state_mismatches(entity, found, expected, largest_amount(EVENTS)) == []
            [(hot,)] = in_small_windows._run(f"SELECT count(*) FROM {entity.name}_lasts")
            numbers = Counter(tuple(getattr(each, key) for key in entity.view.join_keys) for each in EVENTS)
            assert hot == sum(count > max_rows for count in numbers.values())
