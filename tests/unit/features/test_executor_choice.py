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


@pytest.mark.parametrize(
    ("installed", "master", "reason"),
    [
        (True, MASTER, None),
        (False, MASTER, "reprise[spark] is not installed"),
        (True, None, "no Spark master is given"),
    ],
)
def test_auto_takes_spark_above_the_maximum_or_warns_that_there_is_none(
    monkeypatch: pytest.MonkeyPatch, installed: bool, master: str | None, reason: str | None
) -> None:
    module = ModuleType("pyspark")
    module.__spec__ = ModuleSpec("pyspark", None)
    monkeypatch.setitem(sys.modules, "pyspark", module if installed else None)
    settings = ExecutorSettings(duckdb_max_events=1_000, spark_master=master)
    with capture_logs() as logs:
        chosen = [settings.choose_executor(events) for events in (1_000, 1_001)]
    assert chosen == ["duckdb", "duckdb" if reason else "spark"]
    warnings = [(each["log_level"], each["reason"], each["events"], each["maximum"]) for each in logs]
    assert warnings == ([("warning", reason, 1_001, 1_000)] if reason else [])


@pytest.mark.parametrize("executor", ["duckdb", "spark"])
def test_a_named_executor_is_taken_whatever_the_number(executor: str) -> None:
    settings = ExecutorSettings(executor=executor, duckdb_max_events=10)
    assert {settings.choose_executor(events) for events in (1, 11)} == {executor}


def test_duckdb_opens_without_anything_of_spark() -> None:
    assert executor_opener(ExecutorSettings(), "duckdb") is BatchExecutor
