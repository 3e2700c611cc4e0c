"""Which engine computes the rows of how many events."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
from structlog.testing import capture_logs

from reprise.features.executors.batch import BatchExecutor
from reprise.features.executors.executor_choice import executor_opener
from reprise.runtime.executor_settings import ExecutorSettings

MASTER = "spark://spark:7077"


def pyspark(monkeypatch: pytest.MonkeyPatch, *, installed: bool) -> None:
    module = ModuleType("pyspark")
    module.__spec__ = ModuleSpec("pyspark", None)
    monkeypatch.setitem(sys.modules, "pyspark", module if installed else None)


def test_auto_takes_duckdb_up_to_the_maximum_and_spark_above(monkeypatch: pytest.MonkeyPatch) -> None:
    pyspark(monkeypatch, installed=True)
    settings = ExecutorSettings(duckdb_max_events=1_000, spark_master=MASTER)
    with capture_logs() as logs:
        assert [settings.choose_executor(events) for events in (1_000, 1_001)] == ["duckdb", "spark"]
    assert logs == []


@pytest.mark.parametrize(
    ("installed", "master", "reason"),
    [(False, MASTER, "reprise[spark] is not installed"), (True, None, "no Spark master is given")],
)
def test_auto_without_spark_stays_with_duckdb_and_warns(
    monkeypatch: pytest.MonkeyPatch, installed: bool, master: str | None, reason: str
) -> None:
    pyspark(monkeypatch, installed=installed)
    settings = ExecutorSettings(duckdb_max_events=1_000, spark_master=master)
    with capture_logs() as logs:
        assert [settings.choose_executor(events) for events in (1_000, 1_001)] == ["duckdb", "duckdb"]
    [warning] = logs
    assert (warning["log_level"], warning["reason"]) == ("warning", reason)
    assert (warning["events"], warning["maximum"]) == (1_001, 1_000)


@pytest.mark.parametrize("executor", ["duckdb", "spark"])
def test_a_named_executor_is_taken_whatever_the_number(executor: str) -> None:
    settings = ExecutorSettings(executor=executor, duckdb_max_events=10)
    assert {settings.choose_executor(events) for events in (1, 11)} == {executor}


def test_duckdb_opens_without_anything_of_spark() -> None:
    assert executor_opener(ExecutorSettings(), "duckdb") is BatchExecutor
